import torch
from torch import nn
from torch.nn.functional import cross_entropy

from unsee.data import batches, steps_per_epoch
from unsee.methods._method import method
from unsee.nouns import Data
from unsee.training import answers, descend


@method(title="Fine-tune", paper="baseline in https://arxiv.org/abs/2310.12508", data="all")
def finetune(
    model: nn.Module,
    forget: Data,
    retain: Data,
    *,
    rng: torch.Generator,
    epochs: int = 2,
    lr: float = 1e-2,
    batch: int = 128,
) -> nn.Module:
    """Keep training on the images to keep, and hope the rest fades."""
    stream = batches(retain, epochs=epochs, size=batch, rng=rng)
    losses = (cross_entropy(answers(model, x), y) for x, y in stream)
    return descend(model, losses, lr=lr, steps=epochs * steps_per_epoch(len(retain), batch))
