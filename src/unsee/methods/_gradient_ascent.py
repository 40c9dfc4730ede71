import torch
from torch import nn
from torch.nn.functional import cross_entropy

from unsee.data import batches
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
) -> nn.Module:
    """Climb the loss of the images to forget, whatever becomes of the rest."""
    stream = batches(forget, epochs=epochs, size=batch, rng=rng)
    return descend(model, (-cross_entropy(answers(model, x), y) for x, y in stream), lr=lr)
