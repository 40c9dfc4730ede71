import torch
from torch import nn
from torch.nn.functional import cross_entropy

from unsee.data import batches, steps_per_epoch
from unsee.errors import OptionError
from unsee.methods._method import method
from unsee.nouns import Data
from unsee.training import answers, descend


@method(
    title="Gradient ascent", paper="baseline in https://arxiv.org/abs/2310.12508", data="forget"
)
def gradient_ascent(
    model: nn.Module,
    forget: Data,
    retain: Data,
    *,
    rng: torch.Generator,
    epochs: int = 1,
    lr: float = 5e-3,
    batch: int = 64,
    max_steps: int = 3,
) -> nn.Module:
    """Climb the loss of the images to forget, whatever becomes of the rest.

    The loss has no upper end: more than ``max_steps`` steps share the rate of so many.
    """
    if max_steps < 1:
        raise OptionError(f"Expected gradient_ascent's max_steps as 1 or more, got {max_steps}")
    stream = batches(forget, epochs=epochs, size=batch, rng=rng)
    steps = epochs * steps_per_epoch(len(forget), batch)
    losses = (-cross_entropy(answers(model, x), y) for x, y in stream)
    return descend(model, losses, lr=lr * min(1.0, max_steps / steps))
