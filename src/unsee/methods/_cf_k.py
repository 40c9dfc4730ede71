from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from unsee.data import as_floats, batches, steps_per_epoch
from unsee.errors import ModelError
from unsee.methods._method import method
from unsee.models import stage_of_weights, stages
from unsee.nouns import Data
from unsee.training import answers, descend, switched_off


@method(
    title="Forgetting in the last k stages", paper="https://arxiv.org/abs/2201.06640", data="all"
)
def cf_k(
    model: nn.Module,
    forget: Data,
    retain: Data,
    *,
    rng: torch.Generator,
    k: int = 2,
    epochs: int = 5,
    lr: float = 0.1,
    batch: int = 64,
    anew: bool = False,
) -> nn.Module:
    """Keep training the output layer and the last ``k`` stages; nothing before them changes.

    ``anew``: draw their weights again first (EU-k instead of CF-k).
    """
    early, late = divided(model, as_floats(forget.take(torch.arange(1))), k)
    for module in late if anew else ():
        if not hasattr(module, "reset_parameters"):
            raise ModelError(
                f"Expected layers that can start anew, got {type(module).__name__}: anew=false"
            )
        module.reset_parameters()  # type: ignore[operator]

    def losses() -> Iterator[Tensor]:
        for module in early:
            module.training = False  # it alone, and not what it holds
        for x, y in batches(retain, epochs=epochs, size=batch, rng=rng):
            yield cross_entropy(answers(model, x), y)

    steps = epochs * steps_per_epoch(len(retain), batch)
    with switched_off([w for module in early for w in module.parameters(False)], "requires_grad"):
        return descend(model, losses(), lr=lr, steps=steps)


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
