"""How the numbers of a model's weights lie in memory."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def channels_last(model: nn.Module) -> Iterator[None]:
    """Let the weights of convolutions lie inside as images do, and afterwards as they lay.

    Kernels follow the layout of images, but one channel alone looks alike in both: then that of
    the weights decides.  Values and their sums stay; the slower kernel is not taken.
    """
    weights = [w for w in model.parameters() if w.dim() == 4]
    before = [w.data for w in weights]
    try:
        for weight in weights:
            weight.data = weight.data.to(memory_format=torch.channels_last)
        yield
    finally:
        for weight, lay in zip(weights, before, strict=True):
            weight.data = lay
