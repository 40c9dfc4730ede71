"""Where pixels are kept: in one piece of memory, in mapped files, or read when asked for.

Whoever stands in for a tensor gives rows in the layout that the tensor would give them in: layout
decides how a convolution rounds, and results have to be the same bit for bit.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unsee.data._pixels import resized
from unsee.errors import DataError

if TYPE_CHECKING:
    from unsee.nouns import Images

SHARE = 0.5  # of the available memory that decoded images may take: models need the rest
KEPT = 1 << 29  # bytes of images that can be got again from their files; more is got again
MAPPED = 1 << 26  # bytes; larger arrays stay in their file where they lie there as they are

Pixels = NDArray[np.uint8]
Read = Callable[[list[int]], Iterable[Tensor]]  # rows -> images [C, H, W]


@dataclass(frozen=True, eq=False)
class Lazy:
    """Stands in for a tensor ``[N, C, H, W]``: it has a shape, and gives rows when asked."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Read
    device: torch.device = torch.device("cpu")
    layout: torch.memory_format = torch.contiguous_format

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> Tensor:
        numbers = places(rows, len(self))
        shape = (len(numbers), *self.shape[1:])
        images = torch.empty(shape, dtype=self.dtype, memory_format=self.layout)
        for place, image in zip(images, self.read(numbers.tolist()), strict=True):
            place.copy_(image)
        return images.to(self.device)

    def to(self, device: torch.device) -> "Lazy":
        """Return the same images, handed out on ``device``."""
        return replace(self, device=device)


@dataclass(frozen=True, eq=False)
class Mapped:
    """Stands in for a tensor ``[N, C, H, W]`` whose pixels lie in a file that is mapped.

    Their pages belong to the system, which drops them when memory is short; only the rows that are
    asked for become memory of this process.  Rows are contiguous, as those of a tensor would be.
    """

    array: NDArray[Any]  # [N, C, H, W], a view of the map
    dtype: torch.dtype  # uint8 or float32
    size: int | None = None  # to which rows are brought
    device: torch.device = torch.device("cpu")

    @property
    def shape(self) -> tuple[int, ...]:
        """``[N, C, H, W]``."""
        n, channels, height, width = self.array.shape
        return n, channels, self.size or height, self.size or width

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, rows: Any) -> Tensor:
        found = self.array[places(rows, len(self)).numpy()]  # a copy of these rows
        images = torch.empty(found.shape, dtype=self.dtype)
        images.numpy()[...] = found
        return resized(images, self.size).to(self.device)

    def to(self, device: torch.device) -> "Mapped":
        """Return the same images, handed out on ``device``."""
        return replace(self, device=device)


@dataclass(frozen=True, eq=False)
class Pieces:
    """Stands in for a tensor ``[N, C, H, W]`` made of several, of which none is copied."""

    pieces: "tuple[Images, ...]"
    layout: torch.memory_format = torch.contiguous_format

    @classmethod
    def beside(cls, *pieces: "Images") -> "Pieces":
        """Return pieces that give rows in the layout that their ``torch.cat`` would have."""
        one = torch.cat([piece[:1] for piece in pieces])
        return cls(pieces, torch.contiguous_format if one.is_contiguous() else torch.channels_last)

    @property
    def shape(self) -> tuple[int, ...]:
        """``[N, C, H, W]``."""
        return len(self), *self.pieces[0].shape[1:]

    @property
    def dtype(self) -> torch.dtype:
        """Of the pixels of all pieces."""
        return self.pieces[0].dtype

    def __len__(self) -> int:
        return sum(map(len, self.pieces))

    def __getitem__(self, rows: Any) -> Tensor:
        numbers = places(rows, len(self))
        found, order, first = [], [], 0
        for piece in self.pieces:
            inside = ((numbers >= first) & (numbers < first + len(piece))).nonzero()[:, 0]
            if len(inside) == len(numbers):
                return piece[numbers - first].contiguous(memory_format=self.layout)
            found.append(piece[numbers[inside] - first])
            order.append(inside)
            first += len(piece)
        images = torch.cat(found)[torch.cat(order).argsort()]
        return images.contiguous(memory_format=self.layout)

    def to(self, device: torch.device) -> "Pieces":
        """Return the same images, handed out on ``device``."""
        return replace(self, pieces=tuple(piece.to(device) for piece in self.pieces))


def places(rows: Any, n: int) -> Tensor:
    """Return the numbers ``[B]`` of the rows that an index takes out of ``n``."""
    return torch.arange(n)[rows.cpu() if isinstance(rows, Tensor) else rows]


class Block:
    """uint8 images of one size in one piece of memory, as long as they are to stay there.

    They lie there channels last: as decoders write them, and as convolutions like them best.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity, self.count = capacity, 0
        self.first = ""  # the name of the first image: all have to be of its size
        self.shape: tuple[int, ...] = ()
        self.pixels: Pixels | None = None  # [capacity, H, W, C]; None: they do not fit

    def put(self, name: str, image: Pixels) -> None:
        """Add the next image ``[H, W, C]``; the first colour image turns all into colour."""
        if not self.count:
            self.first, self.shape = name, image.shape
            self.pixels = self._room()
        if image.shape[:2] != self.shape[:2]:
            (h, w), (other_h, other_w) = self.shape[:2], image.shape[:2]
            raise DataError(
                f"Expected images of one size, got {h} x {w} ({self.first!r}) and {other_h} x "
                f"{other_w} ({name!r}): choose one with --size N"
            )
        if image.shape[2] > self.shape[2]:
            self.shape, grey = image.shape, self.pixels
            self.pixels = self._room()
            if self.pixels is not None and grey is not None:
                self.pixels[: self.count] = grey[: self.count]
        if self.pixels is not None:
            self.pixels[self.count] = image
        self.count += 1

    def images(self, read: Read) -> Tensor | Lazy:
        """Return all ``[N, C, H, W]``, or what gets them through ``read`` where they do not fit."""
        if not self.count:
            raise DataError("Expected images, got none")
        if self.pixels is None:
            height, width, channels = self.shape
            shape = self.count, channels, height, width
            return Lazy(shape, torch.uint8, read, layout=torch.channels_last)
        return torch.from_numpy(self.pixels[: self.count]).permute(0, 3, 1, 2)

    def _room(self) -> Pixels | None:
        size = self.capacity * int(np.prod(self.shape))
        return np.empty((self.capacity, *self.shape), np.uint8) if stays(size) else None


def append(whole: Pixels, more: Pixels) -> None:
    """Add images behind the others, in an array that nobody else looks into.

    It grows where it lies: to put pieces together in the end would take their memory twice.
    """
    end = len(whole)
    whole.resize((end + len(more), *whole.shape[1:]), refcheck=False)
    whole[end:] = more


def fits(size: int) -> bool:
    """Say whether ``size`` bytes of pixels may be kept in memory."""
    return size <= SHARE * available_memory()


def stays(size: int) -> bool:
    """Say whether ``size`` bytes of what can be read again from files are kept in memory.

    Training is slower than decoding by far, so a large set need not take the memory of the others.
    """
    return size <= KEPT and fits(size)


def available_memory() -> int:
    """Return the bytes that this process may still take: of the machine or of its container."""
    try:  # control groups, version 2
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        limit = "max"  # no container
    return min(_of_machine(), int(limit)) if limit.isdecimal() else _of_machine()


def _of_machine() -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(1024 * int(x.split()[1]) for x in lines if x.startswith("MemAvailable:"))
    except (OSError, StopIteration):  # not Linux: what is built in is the best guess
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
