from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from unsee.data import batches
from unsee.errors import OptionError
from unsee.methods._gradients import gradients, weights_of
from unsee.methods._method import method
from unsee.methods._mixed import mixed_steps
from unsee.methods._random_labels import relabelled
from unsee.nouns import Data
from unsee.training import descend


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


@method(title="SalUn", paper="https://arxiv.org/abs/2310.12508", data="all")
def salun(
    model: nn.Module,
    forget: Data,
    retain: Data,
    *,
    rng: torch.Generator,
    gone: tuple[int, ...],
    epochs: int = 2,
    lr: float = 2e-2,
    share: float = 0.5,
    batch: int = 64,
) -> nn.Module:
    """Train with random labels, and only those weights by which the images to forget are known.

    ``share``, in 0..1: how many weights move, those with the largest gradients first.
    """
    if share > 1:
        raise OptionError(f"Expected salun's share in 0..1, got {share}")
    masks = salient(model, forget, share, rng=rng, size=batch)
    losses = relabelled(model, forget, retain, gone, rng=rng, epochs=epochs, batch=batch)
    steps = epochs * mixed_steps(forget, retain, batch)
    with masked(weights_of(model), masks):
        return descend(model, losses, lr=lr, steps=steps, weight_decay=0.0)
