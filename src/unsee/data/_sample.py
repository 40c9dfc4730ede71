"""Some of the images that stay, so that audits of many images cost less."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from unsee.errors import OptionError
from unsee.nouns import Data, Split


def with_fewer(split: Split, most: int | None, rng: torch.Generator) -> Split:
    """Return ``split`` with at most so many images that stay, of each class its share.

    Each class keeps one image at least: which classes have gone does not change.

    Args:
        split: of all images; it stays as it is.
        most: how many; None, or more than there are: all.
        rng: draws them.

    Raises:
        OptionError: if there are more classes than that.

    """
    if most is None or most >= len(split.retain):
        return split
    labels = split.retain.labels.cpu()
    own = labels if labels.ndim == 1 else labels.argmax(1)
    counts = np.bincount(own.numpy(), minlength=len(split.classes))
    if most < (counts > 0).sum():
        raise OptionError(
            f"Expected --audit-retain of {(counts > 0).sum()} or more, an image of each class that "
            f"stays, got {most}"
        )
    order = torch.randperm(len(own), generator=rng)
    rows = [
        order[own[order] == number][:n].numpy() for number, n in enumerate(_shares(counts, most))
    ]
    retain: Data = split.retain[np.sort(np.concatenate(rows))]
    return replace(split, retain=retain, stays=len(split.retain))


def _shares(counts: NDArray[np.int64], most: int) -> list[int]:
    """Divide ``most`` among classes in proportion, one at least to each that has images.

    >>> _shares(np.array([50, 30, 0, 1]), 8)
    [4, 3, 0, 1]
    """
    exact = counts * most / counts.sum()
    whole = np.maximum(np.floor(exact), counts > 0).astype(int)
    while whole.sum() < most:
        whole[np.argmax(np.where(whole < counts, exact - whole, -np.inf))] += 1
    while whole.sum() > most:
        whole[np.argmax(np.where(whole > 1, whole - exact, -np.inf))] -= 1
    return [int(n) for n in whole]
