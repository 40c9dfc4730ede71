"""The user's own ``torch.utils.data.Dataset``, taken as it answers."""

import math
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import IterableDataset, Subset

from unsee.data._decode import pixels_of
from unsee.data._labels import numbered, numbered_ids
from unsee.data._store import Lazy, fits
from unsee.errors import DataError
from unsee.events import warn


def read(
    train: Any, test: Any, classes: Sequence[str] | None, ids: Sequence[str] | None
) -> dict[str, Any]:
    """Return the fields of a ``Data``: images, labels, ids, parts and classes.

    Every item is asked for once.  Where all images would take more than half of the free memory,
    each is asked for again whenever it is needed, and has to be the same then.

    Args:
        train: map-style dataset of ``(image, label)``; images are tensors or arrays ``[C, H, W]``
            of uint8 or floats, or PIL images; labels whole numbers from 0.
        test: the same, of images that the model never saw.
        classes: one name per label; None: ``train.classes``, else "0", "1", ...
        ids: one per image of ``train``, then ``test``; None: ``train/00042``.

    Raises:
        DataError: if an item is anything else, or images differ in shape or type.

    """
    sources = {"train": train, "test": test}
    parts = [part for part, dataset in sources.items() for _ in range(_length(dataset, part))]
    first = len(parts) - _length(test, "test")  # row of the first test image
    places = numbered_ids(parts)
    if ids is not None and len(ids) != len(parts):
        raise DataError(f"Expected {len(parts)} ids, one per image, got {len(ids)}")

    def item(row: int) -> tuple[Tensor, Any]:
        pair = train[row] if row < first else test[row - first]
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            several = f" of {len(pair)}" if isinstance(pair, (tuple, list)) else ""
            got = f"{type(pair).__name__}{several}"
            raise DataError(f"Expected (image, label) as {places[row]}, got a {got}")
        return _tensor(pair[0], places[row]), _whole(pair[1])

    images, labels = _kept(item, places)
    names = _class_names(train) if classes is None else tuple(map(str, classes))
    theirs = _class_names(test)
    if classes is None and names and theirs and names[: len(theirs)] != theirs:
        raise DataError(
            f"Expected test images numbered as {list(names)[:12]}, those of train, got "
            f"{list(theirs)[:12]}: bring their labels to one order, and give classes="
        )
    if names is not None and len({*names}) != len(names):
        raise DataError(f"Expected class names of which no two are alike, got {list(names)[:12]}")
    numbers, found = numbered(labels, names, "the datasets")
    if names is None and isinstance(labels[0], str):
        warn(
            f"classes are in the order of the alphabet, {list(found)[:5]}, ...: if the model's "
            "outputs have another one, give it as classes="
        )
    return {
        "images": images,
        "labels": torch.from_numpy(numbers),
        "ids": places if ids is None else np.array([str(x) for x in ids]),
        "parts": np.array(parts),
        "classes": found,
    }


def _length(dataset: Any, part: str) -> int:
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__"):
        raise DataError(f"Expected a map-style dataset for {part}, got {type(dataset).__name__}")
    if not hasattr(dataset, "__len__") or not len(dataset):
        raise DataError(f"Expected a dataset with a length above 0 for {part}, got none")
    return len(dataset)


def _kept(
    item: Callable[[int], tuple[Tensor, Any]], places: NDArray[np.str_]
) -> tuple[Tensor | Lazy, list[Any]]:
    """Ask for every item once; return images ``[N, C, H, W]``, lazy if they do not fit, labels."""
    first, first_label = item(0)
    labels, shape = list[Any](), (len(places), *first.shape)
    block = torch.empty(shape, dtype=first.dtype) if fits(len(places) * first.nbytes) else None
    rest = map(item, range(1, len(places)))
    for row, (image, label) in enumerate(chain([(first, first_label)], rest)):
        if image.shape != first.shape or image.dtype != first.dtype:
            raise DataError(
                f"Expected images of one shape and type, got {[*first.shape]} {first.dtype} "
                f"({places[0]}) and {[*image.shape]} {image.dtype} ({places[row]}): bring them to "
                "one in the dataset's transform"
            )
        labels.append(label)
        if block is not None:
            block[row] = image
    if block is not None:
        return block, labels
    return Lazy(shape, first.dtype, lambda rows: (item(row)[0] for row in rows)), labels


def _tensor(image: Any, place: str) -> Tensor:
    """Return one image as ``[C, H, W]``, its values as they are."""
    if isinstance(image, Image.Image):
        try:
            return torch.from_numpy(pixels_of(image).transpose(2, 0, 1).copy())
        except DataError as error:
            raise DataError(f"Expected an image of 8 bits as {place}, got {error}") from error
    if isinstance(image, np.ndarray) and image.dtype.kind in "uif":
        image = torch.from_numpy(image.copy())  # a copy: theirs may be read-only
    if not isinstance(image, Tensor):
        raise DataError(
            f"Expected a tensor, array or PIL image as {place}, got {type(image).__name__}"
        )
    if image.ndim != 3 or not image.numel():
        raise DataError(f"Expected an image [C, H, W] as {place}, got {[*image.shape]}")
    if image.shape[2] in (1, 3) and image.shape[0] not in (1, 3):
        raise DataError(
            f"Expected channels first as {place}, got {[*image.shape]}: use .permute(2, 0, 1)"
        )
    if image.dtype != torch.uint8 and not image.is_floating_point():
        raise DataError(f"Expected uint8 or floats as {place}, got {image.dtype}")
    if image.is_floating_point() and not bool(image.isfinite().all()):
        raise DataError(f"Expected finite numbers as {place}, got NaN or infinity")
    return image.detach().cpu()


def _whole(label: Any) -> Any:
    """Unpack a number from a tensor or array of one element; ``numbered`` judges it."""
    several = isinstance(label, (Tensor, np.ndarray, np.generic))
    return label.item() if several and math.prod(label.shape) == 1 else label


def _class_names(dataset: Any) -> tuple[str, ...] | None:
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    names = getattr(dataset, "classes", None)
    return tuple(map(str, names)) if isinstance(names, (list, tuple)) and names else None
