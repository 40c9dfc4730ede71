"""The last stages of a network: what can be trained, or drawn anew, while the rest stays."""

from collections.abc import Iterable

from torch import Tensor, nn

from unsee.errors import ModelError
from unsee.models import stage_of_weights, stages


def divided(model: nn.Module, images: Tensor, k: int) -> tuple[list[nn.Module], list[nn.Module]]:
    """Return the modules with weights or statistics that stay, and those of the last k stages."""
    of = stage_of_weights(model, images, names := stages(model, images))
    names = tuple(name for name in names if name in of.values())  # pooling has no weights
    stay = names[: max(0, len(names) - k)]
    early: list[nn.Module] = []
    late: list[nn.Module] = []
    for name, module in model.named_modules():
        mine = [f"{name}.{key}".lstrip(".") for key, _ in module.named_parameters(recurse=False)]
        if mine:
            (early if of.get(mine[0]) in stay else late).append(module)
        elif next(module.buffers(recurse=False), None) is not None:
            early.append(module)  # statistics alone: they would move
    return early, late


def draw_anew(modules: Iterable[nn.Module], *, instead: str) -> None:
    """Draw weights again as a new network's are, statistics too.

    Raises:
        ModelError: if one of them cannot start anew; ``instead`` says what to do then.

    """
    for module in modules:
        if not hasattr(module, "reset_parameters"):
            raise ModelError(
                f"Expected layers that can start anew, got {type(module).__name__}: {instead}"
            )
        module.reset_parameters()  # type: ignore[operator]
