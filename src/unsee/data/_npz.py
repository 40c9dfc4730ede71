"""Arrays of images and labels in one file of numpy, or in a folder of such files."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unsee.data._arrays import Array, Stored, stored, to_fit
from unsee.data._labels import numbered, numbered_ids
from unsee.data._pixels import resized
from unsee.data._store import Mapped, Pieces
from unsee.errors import DataError
from unsee.nouns import Data

if TYPE_CHECKING:
    from unsee.nouns import Images

PREFIXES = {"train": ("train",), "validation": ("validation", "val"), "test": ("test",)}
IMAGES = ("{}_images", "x_{}", "X_{}", "{}_x")
LABELS = ("{}_labels", "y_{}", "Y_{}", "{}_y")
Kept = TypeVar("Kept")


def npz(place: Path, *, size: int | None = None, classes: tuple[str, ...] | None = None) -> Data:
    """Images and labels from the arrays of an ``.npz`` file, or of a folder of ``.npy`` files.

    ``train_images`` (or ``x_train``) is ``[N, H, W]``, ``[N, H, W, C]`` or ``[N, C, H, W]``: the
    shorter one of the two is taken for the channels.  uint8 becomes 0..1 when batched; floats are
    taken as they come, as float32.  ``train_labels`` (or ``y_train``) is ``[N]`` or ``[N, 1]``,
    whole numbers or names.  The same for ``test`` and, if there is one, ``validation`` (``val``).
    ``train_ids`` and ``classes``, both of text, are optional.  Nothing in it is unpickled.

    Images of more than 64 MiB that are not packed (``numpy.savez``, or ``.npy``) are mapped and
    read when asked for: they may be larger than memory.

    Raises:
        DataError: if an array is missing, damaged, or of another shape or kind.

    """
    arrays = stored(place)
    pictures = {part: _named(arrays, IMAGES, names) for part, names in PREFIXES.items()}
    maps = {part: None if x is None else x.mapped() for part, x in pictures.items()}
    apart = [x for part, x in pictures.items() if maps[part] is not None]
    to_fit(sum(array.space for array in arrays.values() if array not in apart))
    small = {name: x.all() for name, x in arrays.items() if x not in pictures.values()}
    images, values, ids, parts = list[_Part](), [], [], []
    for part, prefixes in PREFIXES.items():
        pixels, truth = pictures[part], _named(small, LABELS, prefixes)
        if pixels is None or truth is None:
            if pixels is None and truth is None and part == "validation":
                continue
            raise DataError(
                f"Expected {part}_images and {part}_labels in {place}, got {sorted(arrays)}"
            )
        images.append(_Part(pixels, maps[part], part, place))
        n = pixels.shape[0]
        if truth.shape not in ((n,), (n, 1)):
            raise DataError(
                f"Expected one label per image in {place}, got {part}_labels {truth.shape} for {n}"
            )
        values += truth.reshape(-1).tolist()
        named = _named(small, ("{}_ids",), prefixes)
        if named is not None and named.shape != (n,):
            raise DataError(f"Expected {n} ids in {part}_ids of {place}, got {named.shape}")
        ids += (numbered_ids([part] * n) if named is None else _texts(named, place)).tolist()
        parts += [part] * n
    if len(kinds := {(x.shape[1:], x.dtype) for x in images}) > 1:
        raise DataError(f"Expected images of one shape and kind in {place}, got {kinds}")
    known = small.get("classes")
    names = classes or (None if known is None else tuple(_texts(known.reshape(-1), place).tolist()))
    labels, names = numbered(values, names, place)
    return Data(
        images=_together(images, size),
        labels=torch.from_numpy(labels),
        ids=np.array(ids),
        parts=np.array(parts),
        classes=names,
        name=f"npz:{place.stem}",
        augment=("crop",) if images[0].dtype == torch.uint8 else (),
    )


def _named(
    arrays: Mapping[str, Kept], forms: tuple[str, ...], prefixes: tuple[str, ...]
) -> Kept | None:
    names = (form.format(prefix) for form in forms for prefix in prefixes)
    return next((arrays[name] for name in names if name in arrays), None)


def _texts(array: Array, place: Path) -> NDArray[np.str_]:
    """Return text of an array; bytes, as HDF5 has them, are UTF-8."""
    if array.dtype.kind != "S":
        return array.astype(str)
    try:
        return np.char.decode(array, "utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"Expected text in UTF-8 in {place}, got {error}") from error


class _Part:
    """The images of one part, in whatever order of dimensions they are stored."""

    def __init__(self, pixels: Stored, mapped: Array | None, part: str, place: Path) -> None:
        self.pixels, self.mapped, self.part, self.place = pixels, mapped, part, place
        shape = pixels.shape
        if len(shape) not in (3, 4) or not pixels.space or 0 in shape:
            raise DataError(
                f"Expected {part}_images [N, H, W, C], [N, C, H, W] or [N, H, W] in {place}, got "
                f"{list(shape)}"
            )
        if pixels.dtype != np.uint8 and not np.issubdtype(pixels.dtype, np.floating):
            raise DataError(
                f"Expected {part}_images of uint8 or floats in {place}, got {pixels.dtype}: "
                "convert them with .astype('uint8')"
            )
        self.dtype = torch.uint8 if pixels.dtype == np.uint8 else torch.float32
        last = len(shape) == 4 and shape[3] < shape[1]
        self.order = (0, 3, 1, 2) if last else (0, 1, 2, 3)
        whole = shape if len(shape) == 4 else (shape[0], 1, *shape[1:])
        self.shape = tuple(whole[n] for n in self.order)  # [N, C, H, W]

    def blocks(self) -> Iterator[Tensor]:
        """Yield the images ``[n, C, H, W]`` a few at a time, looking at every number."""
        kind = np.uint8 if self.dtype == torch.uint8 else np.float32
        for some in self.pixels.rows():
            if self.dtype != torch.uint8 and not np.isfinite(some).all():
                raise DataError(
                    f"Expected finite numbers in {self.part}_images of {self.place}, got NaN or "
                    "infinity"
                )
            yield torch.from_numpy(np.array(self._first(some), dtype=kind, order="C"))

    def lazily(self, size: int | None) -> Mapped | None:
        """Return the images as they are in their file, if it is mapped."""
        if self.mapped is None:
            return None
        if self.dtype != torch.uint8:
            for _ in self.blocks():  # to know that all numbers are finite
                pass
        return Mapped(self._first(self.mapped), self.dtype, size)

    def _first(self, pixels: Array) -> Array:
        """Bring channels to the front of ``[n, H, W, C]``; give some to ``[n, H, W]``."""
        return pixels[:, None] if pixels.ndim == 3 else pixels.transpose(self.order)


def _together(parts: list[_Part], size: int | None) -> "Images":
    """Return all images, those that are not mapped in one piece of memory and read into it."""
    if all(part.mapped is None for part in parts):
        return _filled(parts, size)
    return Pieces(tuple(part.lazily(size) or _filled([part], size) for part in parts))


def _filled(parts: list[_Part], size: int | None) -> Tensor:
    _, channels, height, width = parts[0].shape
    n = sum(part.shape[0] for part in parts)
    images = torch.empty((n, channels, size or height, size or width), dtype=parts[0].dtype)
    end = 0
    for part in parts:
        for some in part.blocks():
            images[end : end + len(some)] = resized(some, size)
            end += len(some)
    return images
