"""Batches in which images to forget and images to keep lie side by side."""

from collections.abc import Iterator

import torch
from torch import Tensor

from unsee.data import batches, steps_per_epoch
from unsee.nouns import Data


def mixed(
    forget: Data, retain: Data, *, rng: torch.Generator, size: int, epochs: int = 1
) -> Iterator[tuple[Tensor, Tensor, int]]:
    """Yield shuffled batches of both sets together, as :func:`unsee.data.batches` does of one.

    Returns:
        Images ``[B, C, H, W]`` and labels ``[B]``, and how many of them are to be forgotten: the
        first.  Each image comes once an epoch.

    """
    n, m = len(forget), len(retain)
    for _ in range(epochs):
        order = torch.randperm(n + m, generator=rng)
        for rows in order.tensor_split(steps_per_epoch(n + m, size)):
            mine, others = rows[rows < n], rows[rows >= n] - n
            chosen = [data[x.numpy()] for data, x in ((forget, mine), (retain, others)) if len(x)]
            parts = (next(batches(some, size=len(some), rng=rng)) for some in chosen)
            images, labels = (torch.cat(each) for each in zip(*parts, strict=True))
            yield images, labels, len(mine)


def mixed_steps(forget: Data, retain: Data, size: int) -> int:
    """Return how many batches one epoch of :func:`mixed` makes."""
    return steps_per_epoch(len(forget) + len(retain), size)
