from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from unsee.data import batches, steps_per_epoch
from unsee.methods._gradients import weights_of
from unsee.methods._method import method
from unsee.nouns import Data
from unsee.training import answers, descend


@method(title="L1-sparse", paper="https://arxiv.org/abs/2304.04934", data="all")
def l1_sparse(
    model: nn.Module,
    forget: Data,
    retain: Data,
    *,
    rng: torch.Generator,
    epochs: int = 4,
    lr: float = 5e-2,
    strength: float = 0.5,
    batch: int = 64,
) -> nn.Module:
    """Keep training on the images to keep, while weights shrink towards none at all.

    The sum of all |weights| counts gamma = ``strength`` * mean |weight| / (``lr`` * steps): in any
    network, and in few steps as in many, it shrinks them by the same share.  It falls to 0: the
    last steps mend.
    """
    steps = epochs * steps_per_epoch(len(retain), batch)
    size = sum(float(weight.detach().abs().sum()) for weight in weights_of(model))
    mean = size / max(1, sum(weight.numel() for weight in weights_of(model)))
    gamma = strength * mean / (lr * steps) if lr else 0.0

    def losses() -> Iterator[Tensor]:
        stream = batches(retain, epochs=epochs, size=batch, rng=rng)
        for step, (x, y) in enumerate(stream):
            norm = torch.stack([weight.abs().sum() for weight in weights_of(model)]).sum()
            yield cross_entropy(answers(model, x), y) + gamma * (1 - step / steps) * norm

    return descend(model, losses(), lr=lr, steps=steps)
