from collections.abc import Iterator
from dataclasses import replace
from math import log
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from unsee.data import batches
from unsee.methods._gradients import gradients, weights_of
from unsee.methods._method import method
from unsee.methods._mixed import mixed
from unsee.nouns import Data

Importance = Literal["loss", "outputs"]
Select = Literal["alpha", "adaptive"]


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
    place = (1 - log(1 + 100 * share) / 100) * (len(ratio) - 1)
    low, part = ratio[int(place)], place % 1
    return float(torch.lerp(low, ratio[min(int(place) + 1, len(ratio) - 1)], part))


@method(
    title="Selective synaptic dampening",
    paper="https://arxiv.org/abs/2308.07707",
    data="all",
    search={"alpha": (1 / 8, 8.0), "lam": (1 / 8, 1.0)},
)
def ssd(
    model: nn.Module,
    forget: Data,
    retain: Data,
    *,
    rng: torch.Generator,
    alpha: float = 10.0,
    lam: float = 1.0,
    importance_of: Importance = "loss",
    select: Select = "alpha",
    batch: int = 16,
) -> nn.Module:
    """Shrink the weights that matter far more for the images to forget than for all of them.

    A weight whose importance is more than ``alpha`` times as high there is multiplied by ``lam``
    times the inverse of that ratio, at most by 1.  ``select`` adaptive finds alpha by itself.
    """
    mine, others = (replace(data, augment=()) for data in (forget, retain))
    both = ((x, y) for x, y, _ in mixed(mine, others, rng=rng, size=batch))
    everything = importance(model, both, importance_of)
    own = importance(model, batches(mine, epochs=1, size=batch, rng=rng), importance_of)
    if select == "adaptive":
        alpha = adapted(own, everything, len(forget) / (len(forget) + len(retain)))
    dampen(weights_of(model), own, everything, alpha, lam)
    return model


def _norm(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.square().sum(1).mean()
