"""Batches, and what training may do to them, as tensor operations on the data's device."""

from collections.abc import Iterator
from itertools import count

import torch
from torch import Tensor

from unsee.nouns import Data

MARGIN = 4  # pixels that a random crop may be off, as usual for 32 x 32


def as_floats(images: Tensor) -> Tensor:
    """Return uint8 images in 0..1, and floats as they are: their owner has prepared them."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images


def augmented(images: Tensor, how: tuple[str, ...], rng: torch.Generator) -> Tensor:
    """Shift every image ``[B, C, H, W]`` by up to 4 pixels and mirror half of them, as allowed.

    Both are one gather of whole pixels; what comes from outside the image is mirrored in.  The
    result is laid out channels last.
    """
    n, channels, height, width = images.shape
    offsets = torch.full((2, n), MARGIN)
    if "crop" in how and min(height, width) > MARGIN:
        offsets = torch.randint(0, 2 * MARGIN + 1, (2, n), generator=rng)
    flip = torch.rand(n, generator=rng) < 0.5 if "flip" in how else torch.zeros(n) > 0
    rows = _reflected(offsets[0, :, None] + torch.arange(height) - MARGIN, height)
    columns = _reflected(offsets[1, :, None] + torch.arange(width) - MARGIN, width)
    columns = torch.where(flip[:, None], columns.flip(1), columns)
    rows = width * (rows + height * torch.arange(n)[:, None])  # of the first pixel of each row
    rows, columns = (x.to(images.device) for x in (rows, columns))
    places = (rows[:, :, None] + columns[:, None, :]).flatten()
    pixels = images.permute(0, 2, 3, 1).reshape(-1, channels).index_select(0, places)
    return pixels.view(n, height, width, channels).permute(0, 3, 1, 2)


def _reflected(places: Tensor, size: int) -> Tensor:
    """Fold places outside 0..size - 1 back inside, without repeating the border."""
    places = places.abs()
    return torch.where(places >= size, 2 * (size - 1) - places, places)


def batches(
    data: Data, *, rng: torch.Generator, epochs: int | None = None, size: int = 128
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield shuffled ``(images [B, C, H, W], labels [B])``, ``epochs`` times or for ever.

    Images are floats, augmented as ``data.augment`` allows.  The batches of an epoch differ by one
    image at most in length: batch norm cannot train on a remainder of one.
    """
    for _ in range(epochs) if epochs is not None else count():
        order = torch.randperm(len(data), generator=rng)
        for index in order.tensor_split(steps_per_epoch(len(data), size)):
            images = data.take(index)
            if data.augment:
                images = augmented(images, data.augment, rng)
            yield as_floats(images), data.labels[index]


def steps_per_epoch(n: int, size: int) -> int:
    """Return how many batches one pass over ``n`` images makes."""
    return max(1, -(-n // size))
