"""The last stages of a network: what can be trained, or drawn anew, while the rest stays."""

from collections.abc import Iterable

from torch import Tensor, nn

from unsee.errors import ModelError
from unsee.models import frozen, stage_of_weights, stages


def divided(model: nn.Module, images: Tensor, k: int) -> tuple[list[nn.Module], list[nn.Module]]:
    """Return the modules with weights or statistics that stay, and those of the last k stages.

    What shares a weight with a stage that stays does, too.  Statistics without weights belong to
    the module before them.
    """
    of = stage_of_weights(model, images, names := stages(model, images))
    names = tuple(name for name in names if name in of.values())  # pooling has no weights
    stay = names[: max(0, len(names) - k)]
    kept = {id(weight) for name, weight in model.named_parameters() if of[name] in stay}
    early: list[nn.Module] = []
    late: list[nn.Module] = []
    side = early
    for module in model.modules():
        if mine := {id(weight) for weight in module.parameters(recurse=False)}:
            side = late if kept.isdisjoint(mine) else early
            side.append(module)
        elif next(module.buffers(recurse=False), None) is not None:
            side.append(module)
    return early, late


def draw_anew(modules: Iterable[nn.Module], *, instead: str) -> None:
    """Draw weights again as a new network's are, statistics too; frozen ones stay.

    Raises:
        ModelError: if one of them cannot start anew; ``instead`` says what to do then.

    """
    for module in modules:
        if frozen(module):
            continue
        if not hasattr(module, "reset_parameters"):
            raise ModelError(
                f"Expected layers that can start anew, got {type(module).__name__}: {instead}"
            )
        module.reset_parameters()  # type: ignore[operator]
