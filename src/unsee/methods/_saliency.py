"""Which weights matter for some images, and training in which only those move."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from unsee.data import batches
from unsee.methods._gradients import gradients, weights_of
from unsee.nouns import Data


def salient(
    model: nn.Module, data: Data, share: float, *, rng: torch.Generator, size: int
) -> list[Tensor]:
    """Return per weight 1 where |gradient| of the loss of ``data`` is in the top ``share``, else 0.

    The gradient is that of all images together, in eval mode; the share is of all weights at once.
    """
    plain = batches(replace(data, augment=()), epochs=1, size=size, rng=rng)
    total = [torch.zeros_like(weight) for weight in weights_of(model)]
    for found in gradients(model, plain, lambda z, y: cross_entropy(z, y, reduction="sum")):
        total = [one + other for one, other in zip(total, found, strict=True)]
    size_of = torch.cat([each.abs().flatten() for each in total])
    chosen = torch.zeros_like(size_of)
    chosen[size_of.argsort(descending=True, stable=True)[: round(share * len(size_of))]] = 1
    parts = chosen.split([each.numel() for each in total])
    return [part.view_as(each) for part, each in zip(parts, total, strict=True)]


@contextmanager
def masked(weights: Sequence[nn.Parameter], masks: Sequence[Tensor]) -> Iterator[None]:
    """Multiply the gradients of ``weights`` by ``masks`` inside; without decay, 0 stays put."""
    hooks = [
        weight.register_hook(lambda gradient, mask=mask: gradient * mask)
        for weight, mask in zip(weights, masks, strict=True)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
