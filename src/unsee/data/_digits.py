"""The digits that come with scikit-learn: data that need no file."""

from pathlib import Path

import numpy as np
import torch

from unsee.data._labels import numbered, numbered_ids
from unsee.data._pixels import resized
from unsee.nouns import Data

DIGITS = tuple("0123456789")


def digits(
    place: Path | None = None, *, size: int | None = None, classes: tuple[str, ...] | None = None
) -> Data:
    """scikit-learn's 1,797 handwritten digits, 8 x 8, brought to 32 x 32: 1,437 train, 360 test.

    The split is stratified and always the same.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    found = load_digits()
    rows = np.arange(len(found.target))
    train, test = train_test_split(rows, test_size=360, stratify=found.target, random_state=0)
    order = np.concatenate([np.sort(train), np.sort(test)])
    images = torch.from_numpy((found.images[order] * 255 / 16).round().astype(np.uint8))[:, None]
    parts = ["train"] * 1437 + ["test"] * 360
    labels, classes = numbered(found.target[order].tolist(), classes or DIGITS, "digits")
    return Data(
        images=resized(images, size or 32),
        labels=torch.from_numpy(labels),
        ids=numbered_ids(parts),
        parts=np.array(parts),
        classes=classes,
        name="digits",
        augment=("crop",),
    )
