"""How much each weight matters on some images, and what dampening makes of it."""

from collections.abc import Iterator
from math import inf, log
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from unsee.methods._gradients import gradients, weights_of

Importance = Literal["loss", "outputs"]


def importance(
    model: nn.Module, stream: Iterator[tuple[Tensor, Tensor]], kind: Importance
) -> list[Tensor]:
    """Return per weight how much it matters on some images.

    loss: mean over batches of the squared gradient of cross-entropy, an estimate of Fisher's
    information.  outputs: of |gradient| of the squared norm of the logits, which needs no labels.
    """
    labelled = kind == "loss"
    total, count = [torch.zeros_like(weight) for weight in weights_of(model)], 0
    for found in gradients(model, stream, cross_entropy if labelled else _norm):
        sizes = (each.square() if labelled else each.abs() for each in found)
        total, count = [one + other for one, other in zip(total, sizes, strict=True)], count + 1
    return [each / count for each in total]


@torch.no_grad()
def dampen(
    weights: list[nn.Parameter],
    forget: list[Tensor],
    everything: list[Tensor],
    alpha: float,
    lam: float,
) -> None:
    """Shrink each weight that matters ``alpha`` times more on ``forget``, in place."""
    for weight, mine, all_ in zip(weights, forget, everything, strict=True):
        factor = (lam * all_ / mine).clamp_max(1)
        weight.copy_(torch.where(mine > alpha * all_, weight * factor, weight))


def adapted(forget: list[Tensor], everything: list[Tensor], share: float) -> float:
    """Return alpha: the percentile 100 - ln(1 + 100 share) of all relative importances."""
    pairs = zip(forget, everything, strict=True)
    ratio = torch.cat([(mine / all_).flatten() for mine, all_ in pairs])
    ratio = ratio[ratio.isfinite()].sort().values
    if not len(ratio):
        return inf  # no weight matters to anything
    place = (1 - log(1 + 100 * share) / 100) * (len(ratio) - 1)
    low, part = ratio[int(place)], place % 1
    return float(torch.lerp(low, ratio[min(int(place) + 1, len(ratio) - 1)], part))


def _norm(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.square().sum(1).mean()
