"""Where pixels are kept: in one piece of memory, or read whenever they are asked for."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unsee.errors import DataError

SHARE = 0.5  # of the available memory that decoded images may take: models need the rest

Pixels = NDArray[np.uint8]
Read = Callable[[list[int]], Iterable[Tensor]]  # rows -> images [C, H, W]


@dataclass(frozen=True, eq=False)
class Lazy:
    """Stands in for a tensor ``[N, C, H, W]``: it has a shape, and gives rows when asked."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Read
    device: torch.device = torch.device("cpu")

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> Tensor:
        numbers = torch.arange(len(self))[rows.cpu() if isinstance(rows, Tensor) else rows]
        images = torch.empty((len(numbers), *self.shape[1:]), dtype=self.dtype)
        for place, image in zip(images, self.read(numbers.tolist()), strict=True):
            place.copy_(image)
        return images.to(self.device)

    def to(self, device: torch.device) -> "Lazy":
        """Return the same images, handed out on ``device``."""
        return replace(self, device=device)


class Block:
    """uint8 images of one size in one piece of memory, as long as they fit.

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
            return Lazy((self.count, channels, height, width), torch.uint8, read)
        return torch.from_numpy(self.pixels[: self.count]).permute(0, 3, 1, 2)

    def _room(self) -> Pixels | None:
        size = self.capacity * int(np.prod(self.shape))
        return np.empty((self.capacity, *self.shape), np.uint8) if fits(size) else None


def fits(size: int) -> bool:
    """Say whether ``size`` bytes of pixels may be kept in memory."""
    return size <= SHARE * available_memory()


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
