"""Labels as files hold them to numbers from 0, with the doubts that a label file deserves."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unsee.errors import DataError
from unsee.events import warn
from unsee.nouns import Data

MOST = 100_000  # classes; a larger label is a mistake, such as an id


def numbered(
    values: Sequence[Any], classes: tuple[str, ...] | None, place: object
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return labels ``[N]`` in 0..K - 1 and the K class names.

    Args:
        values: whole numbers from 0, or text: the name of a class.
        classes: the names in the order of the labels; None: "0", "1", ... for numbers, sorted for
            text.
        place: where the labels come from, for errors.

    Raises:
        DataError: if a label is missing, of another kind, or has no class name.

    """
    if not len(values):
        raise DataError(f"Expected labels in {place}, got none")
    if classes and len({*classes}) < len(classes):
        raise DataError(f"Expected class names of which no two are alike, got {classes[:12]}")
    if missing := sum(x is None for x in values):
        raise DataError(f"Expected a label for every image of {place}, got {missing} without")
    if all(isinstance(x, str) for x in values):
        known = classes or tuple(sorted({*values}))
        if unknown := sorted({*values} - {*known}):
            raise DataError(f"Expected labels among {known[:12]} in {place}, got {unknown[:5]}")
        number = {name: n for n, name in enumerate(known)}
        return np.array([number[x] for x in values], dtype=np.int64), known
    if odd := [x for x in values if not _is_whole(x)]:
        raise DataError(
            f"Expected whole numbers or names as labels in {place}, got {odd[:3]}: .long() or "
            ".argmax() makes numbers of them"
        )
    low, high = int(min(values)), int(max(values))
    top = len(classes) if classes else MOST
    if low < 0 or high >= top:
        raise DataError(
            f"Expected labels from 0 to {top - 1}, one per class name, got {low} to {high} in "
            f"{place}: do they start at 1, or is a name missing in --classes?"
        )
    labels = np.array([int(x) for x in values], dtype=np.int64)
    return labels, classes or tuple(str(n) for n in range(high + 1))


def _is_whole(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, (bool, np.bool_))


def numbered_ids(parts: Sequence[str]) -> NDArray[np.str_]:
    """Return ids by position within the part: ``train/00042``."""
    count = dict.fromkeys(parts, -1)
    ids = []
    for part in parts:
        count[part] += 1
        ids.append(f"{part}/{count[part]:05d}")
    return np.array(ids)


def doubt(data: Data, *, some: bool = False) -> Data:
    """Return ``data``, and say what about its labels is probably a mistake.

    With ``some`` it is not all there is: classes may be lacking.

    Raises:
        DataError: if training or test images are missing.

    """
    train, test = (
        {*data.labels.numpy()[data.parts == part].tolist()} for part in ("train", "test")
    )
    if not train or not test:
        raise DataError(f"Expected training and test images in {data.name}, got only one of them")
    if len(data.classes) < 2 and not some:
        raise DataError(f"Expected two classes or more in {data.name}, got {[*data.classes]}")
    absent = sorted({*range(len(data.classes))} - train)
    if absent and not some:
        names = [data.classes[n] for n in absent[:5]]
        warn(
            f"{len(absent)} of {len(data.classes)} classes have no training image, such as "
            f"{names}: do the labels start at 1, or are the class names of another data set?"
        )
    return data
