"""Put images that were stored elsewhere beside data, each image once."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from unsee.data._store import Pieces
from unsee.data._twins import pixel_digests
from unsee.errors import DataError
from unsee.events import warn
from unsee.nouns import Data


def aligned(data: Data, classes: tuple[str, ...]) -> Data:
    """Return ``data`` with these classes: it may hold images of some of them alone.

    Names go before numbers: a label keeps its class, and only where ``data`` has no names it keeps
    its number.

    Raises:
        DataError: if a class of ``data`` is not among them.

    """
    if data.classes == classes:
        return data
    few = len(data.classes) <= len(classes)
    if few and {*data.classes} <= {*classes}:
        places = torch.tensor([classes.index(name) for name in data.classes])
        return replace(data, labels=places[data.labels], classes=classes)
    if few and data.classes == tuple(map(str, range(len(data.classes)))):
        return replace(data, classes=classes)
    raise DataError(
        f"Expected classes among those of the buffer, {[*classes][:12]}, got "
        f"{[*data.classes][:12]}: give the names in the order of the labels with --classes, or "
        "another buffer"
    )


def joined(data: Data, more: Data) -> tuple[Data, NDArray[np.str_]]:
    """Return ``data`` with those training images of ``more`` that it lacks, and the ids of all.

    An image is in ``data`` if a training image there has its pixels and label, by preference the
    one with its id.  One that is not, but whose id is another image's there, gets a new id.

    Args:
        data: as large as you like; none of its images is copied.
        more: training images of the same classes.

    Returns:
        The data, and the ids in it ``[len(more)]`` of the images of ``more``, in order.

    Raises:
        DataError: if the images are of another shape or kind.

    """
    shapes = [(str(x.images.dtype), *x.images.shape[1:]) for x in (data, more)]
    if shapes[0] != shapes[1]:
        raise DataError(
            f"Expected images of the shape of those in the buffer, {shapes[1]}, got {shapes[0]}: "
            "bring them to its --size, or make another buffer"
        )
    ids = _found(data, more)
    lacking = np.flatnonzero(ids == "")
    if not len(lacking):
        return data, ids
    taken, names = {*data.ids.tolist()}, more.ids[lacking].tolist()
    if others := [name for name in names if name in taken]:
        warn(
            f"{len(others)} ids of the buffer, such as {others[:3]}, are those of other images in "
            "the data: there they are called buffer:ID, and a rule that names ids means the data's"
        )
    free = [f"buffer:{name}" if name in taken else name for name in names]
    ids = ids.astype(object)
    ids[lacking] = free
    return _beside(data, more[lacking], np.array(free)), ids.astype(str)


def _found(data: Data, more: Data) -> NDArray[np.str_]:
    """Return the ids in ``data`` of the images of ``more``; "" where it lacks one."""
    train = data.part("train")
    keys = [
        [*zip(pixel_digests(x).tolist(), x.labels.tolist(), strict=True)] for x in (train, more)
    ]
    by_id = dict(zip(train.ids.tolist(), keys[0], strict=True))
    by_pixels = dict(zip(keys[0], train.ids.tolist(), strict=True))
    found = [
        name if by_id.get(name) == key else by_pixels.get(key, "")
        for name, key in zip(more.ids.tolist(), keys[1], strict=True)
    ]
    return np.array(found, dtype=str)


def _beside(data: Data, new: Data, ids: NDArray[np.str_]) -> Data:
    """Return ``data`` with the rows of ``new`` after its own."""
    count = len(data.images)
    rows = np.arange(len(data)) if data.rows is None else data.rows
    pixels = new.take(torch.arange(len(new)))
    columns = {
        name: np.concatenate([x.columns.get(name, np.full(len(x), "")) for x in (data, new)])
        for name in {**data.columns, **new.columns}
    }
    return replace(
        data,
        images=Pieces.beside(data.images, pixels),
        labels=torch.cat([data.labels, new.labels]),
        ids=np.concatenate([data.ids, ids]),
        parts=np.concatenate([data.parts, new.parts]),
        rows=np.concatenate([rows, np.arange(count, count + len(new))]),
        columns=columns,
    )
