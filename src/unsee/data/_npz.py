"""Arrays of images and labels in one file of numpy."""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unsee.data._labels import numbered, numbered_ids
from unsee.data._pixels import resized
from unsee.data._store import fits
from unsee.errors import DataError
from unsee.nouns import Data

Array = NDArray[Any]
PREFIXES = {"train": ("train",), "validation": ("validation", "val"), "test": ("test",)}
IMAGES = ("{}_images", "x_{}", "X_{}", "{}_x")
DAMAGED = (  # what zipfile and numpy raise; RuntimeError: encrypted, or packed in an unknown way
    *(OSError, ValueError, EOFError, KeyError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error),
)
LABELS = ("{}_labels", "y_{}", "Y_{}", "{}_y")


def npz(place: Path, *, size: int | None = None, classes: tuple[str, ...] | None = None) -> Data:
    """Images and labels from the arrays of an ``.npz`` file.

    ``train_images`` (or ``x_train``) is ``[N, H, W]``, ``[N, H, W, C]`` or ``[N, C, H, W]``: the
    shorter one of the two is taken for the channels.  uint8 becomes 0..1 when batched; floats are
    taken as they come, as float32.  ``train_labels`` (or ``y_train``) is ``[N]`` or ``[N, 1]``,
    whole numbers or names.  The same for ``test`` and, if there is one, ``validation`` (``val``).
    ``train_ids`` and ``classes``, both of text, are optional.  Nothing in it is unpickled.

    Raises:
        DataError: if an array is missing, damaged, or of another shape or kind.

    """
    arrays = arrays_of(place)
    images, values, ids, parts = [], [], [], []
    for part, prefixes in PREFIXES.items():
        pixels, truth = (_named(arrays, kind, prefixes) for kind in (IMAGES, LABELS))
        if pixels is None or truth is None:
            if pixels is None and truth is None and part == "validation":
                continue
            raise DataError(
                f"Expected {part}_images and {part}_labels in {place}, got {sorted(arrays)}"
            )
        images.append(_channels_first(pixels, part, place))
        n = len(pixels)
        if truth.shape not in ((n,), (n, 1)):
            raise DataError(
                f"Expected one label per image in {place}, got {part}_labels {truth.shape} for {n}"
            )
        values += truth.reshape(-1).tolist()
        named = _named(arrays, ("{}_ids",), prefixes)
        if named is not None and named.shape != (n,):
            raise DataError(f"Expected {n} ids in {part}_ids of {place}, got {named.shape}")
        ids += (numbered_ids([part] * n) if named is None else named.astype(str)).tolist()
        parts += [part] * n
    if len(kinds := {(x.shape[1:], x.dtype) for x in images}) > 1:
        raise DataError(f"Expected images of one shape and kind in {place}, got {kinds}")
    known = arrays.get("classes")
    names = classes or (None if known is None else tuple(map(str, known.reshape(-1).tolist())))
    labels, names = numbered(values, names, place)
    return Data(
        images=resized(torch.cat(images), size),
        labels=torch.from_numpy(labels),
        ids=np.array(ids),
        parts=np.array(parts),
        classes=names,
        name=f"npz:{place.stem}",
        augment=("crop",) if images[0].dtype == torch.uint8 else (),
    )


def arrays_of(place: Path) -> dict[str, Array]:
    """Return all arrays of the file, none of which may be a pickle, if they fit in memory."""
    try:
        with zipfile.ZipFile(place) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if not fits(size):
            raise DataError(f"Expected arrays that fit in half of the memory, got {size} bytes")
        with np.load(place, allow_pickle=False) as found:
            return {name: np.asarray(found[name]) for name in found.files}
    except DataError:
        raise
    except DAMAGED as error:
        raise DataError(f"Expected an .npz file of plain arrays at {place}, got {error}") from error


def _named(
    arrays: Mapping[str, Array], forms: tuple[str, ...], prefixes: tuple[str, ...]
) -> Array | None:
    names = (form.format(prefix) for form in forms for prefix in prefixes)
    return next((arrays[name] for name in names if name in arrays), None)


def _channels_first(pixels: Array, part: str, place: Path) -> Tensor:
    """Return ``[N, C, H, W]``."""
    if pixels.ndim == 3:
        pixels = pixels[:, None]
    if pixels.ndim != 4 or not pixels.size:
        raise DataError(
            f"Expected {part}_images [N, H, W, C], [N, C, H, W] or [N, H, W] in {place}, got "
            f"{list(pixels.shape)}"
        )
    if pixels.shape[3] < pixels.shape[1]:
        pixels = pixels.transpose(0, 3, 1, 2)
    if pixels.dtype == np.uint8:
        return torch.from_numpy(np.ascontiguousarray(pixels))
    if not np.issubdtype(pixels.dtype, np.floating):
        raise DataError(
            f"Expected {part}_images of uint8 or floats in {place}, got {pixels.dtype}: convert "
            "them with .astype('uint8')"
        )
    if not np.isfinite(pixels).all():
        raise DataError(f"Expected finite numbers in {part}_images of {place}, got NaN or infinity")
    return torch.from_numpy(np.ascontiguousarray(pixels, dtype=np.float32))
