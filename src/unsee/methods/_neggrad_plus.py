from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from unsee.data import batches, steps_per_epoch
from unsee.errors import OptionError
from unsee.methods._method import method
from unsee.nouns import Data
from unsee.training import answers, descend


@method(title="NegGrad+", paper="baseline in https://arxiv.org/abs/2302.09880", data="all")
def neggrad_plus(
    model: nn.Module,
    forget: Data,
    retain: Data,
    *,
    rng: torch.Generator,
    epochs: int = 2,
    lr: float = 2e-2,
    alpha: float = 0.95,
    max_steps: int = 50,
    batch: int = 64,
) -> nn.Module:
    """Climb the loss of the images to forget while descending that of the images to keep.

    ``alpha``, in 0..1: the share of the images to keep in the loss.  An epoch is one pass over
    them; those to forget come round as often as it takes.  Their loss has no upper end: more than
    ``max_steps`` steps climb no farther than so many.
    """
    if alpha > 1:
        raise OptionError(f"Expected neggrad_plus's alpha in 0..1, got {alpha}")
    if max_steps < 1:
        raise OptionError(f"Expected neggrad_plus's max_steps as 1 or more, got {max_steps}")
    steps = epochs * steps_per_epoch(len(retain), batch)
    climb = (1 - alpha) * min(1.0, max_steps / steps)
    others = batches(forget, size=batch, rng=rng)

    def losses() -> Iterator[Tensor]:
        for x_r, y_r in batches(retain, epochs=epochs, size=batch, rng=rng):
            x_f, y_f = next(others)
            kept = cross_entropy(answers(model, x_r), y_r)
            yield alpha * kept - climb * cross_entropy(answers(model, x_f), y_f)

    return descend(model, losses(), lr=lr, steps=steps)
