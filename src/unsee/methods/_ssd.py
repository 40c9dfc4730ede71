from dataclasses import replace
from typing import Literal

import torch
from torch import nn

from unsee.data import batches
from unsee.methods._gradients import weights_of
from unsee.methods._importance import Importance, adapted, dampen, importance
from unsee.methods._method import method
from unsee.methods._mixed import mixed
from unsee.nouns import Data

Select = Literal["alpha", "adaptive"]


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
