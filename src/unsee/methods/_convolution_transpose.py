import torch
from torch import nn
from torch.nn.functional import cross_entropy

from unsee.data import batches, steps_per_epoch
from unsee.methods._method import method
from unsee.nouns import Data
from unsee.training import answers, descend


@method(title="Convolution transpose", paper="CT in https://arxiv.org/abs/2410.01276", data="all")
def convolution_transpose(
    model: nn.Module,
    forget: Data,
    retain: Data,
    *,
    rng: torch.Generator,
    epochs: int = 3,
    lr: float = 0.1,
    batch: int = 64,
) -> nn.Module:
    """Mirror every square convolution kernel at its diagonal, then train on the images to keep.

    A model without any that trains is fine-tuned alone.
    """
    kernels = (m.weight for m in model.modules() if isinstance(m, nn.Conv2d))
    for kernel in dict.fromkeys(kernels):  # one that several layers share is mirrored once
        if kernel.requires_grad and kernel.shape[2] == kernel.shape[3]:
            with torch.no_grad():
                kernel.copy_(kernel.transpose(2, 3).clone())
    stream = batches(retain, epochs=epochs, size=batch, rng=rng)
    losses = (cross_entropy(answers(model, x), y) for x, y in stream)
    return descend(model, losses, lr=lr, steps=epochs * steps_per_epoch(len(retain), batch))
