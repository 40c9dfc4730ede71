from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from unsee.data import as_floats, batches, steps_per_epoch
from unsee.methods._adversarial import fixed, others, uphill, within
from unsee.methods._method import method
from unsee.nouns import Data
from unsee.training import Statistics, answers, descend


@method(title="Boundary shrink", paper="https://arxiv.org/abs/2303.11570", data="forget")
def boundary_shrink(
    model: nn.Module,
    forget: Data,
    retain: Data,
    *,
    rng: torch.Generator,
    gone: tuple[int, ...],
    epochs: int = 10,
    lr: float = 1e-3,
    bound: float = 0.1,
    batch: int = 128,
    statistics: Statistics = "shared",
) -> nn.Module:
    """Teach images to forget the class behind their nearest boundary, and so draw it over them.

    ``bound``: the step to it, in units of a pixel's range 0..1.  ``statistics``: of batch norm,
    whose batches hold forgotten images alone.
    """
    told = replace(forget, labels=behind(model, forget, bound, gone))
    losses = (
        cross_entropy(answers(model, x, statistics), y)
        for x, y in batches(told, epochs=epochs, size=batch, rng=rng)
    )
    steps = epochs * steps_per_epoch(len(forget), batch)
    return descend(model, losses, lr=lr, steps=steps, weight_decay=0.0)


def behind(model: nn.Module, images: Data, bound: float, gone: tuple[int, ...]) -> Tensor:
    """Return ``[N]`` the likeliest wrong class after one signed step of ``bound`` (equation 4).

    It is a wrong one even where the step does not leave the class.
    """
    model, found = fixed(model), []
    for rows in torch.arange(len(images)).split(256):
        x, y = as_floats(images.take(rows)), images.labels[rows]
        _, slope = uphill(model, x, y, gone)
        with torch.no_grad():
            moved = (x + bound * slope.sign()).clamp(*within(x))
            found.append(others(model(moved).float(), y, gone).argmax(1))
    return torch.cat(found)
