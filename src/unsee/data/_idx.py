"""MNIST and its likes: idx files, gzipped or not (format: http://yann.lecun.com/exdb/mnist)."""

import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import torch
from numpy.typing import NDArray

from unsee.data._labels import numbered, numbered_ids
from unsee.data._pixels import resized
from unsee.errors import DataError
from unsee.nouns import Data

FASHION = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
STEP = 4096  # images to read at a time
LIMIT = 1 << 30  # bytes that one unpacked file may have; MNIST's largest has 47 MB


def mnist(place: Path, *, size: int | None = None, classes: tuple[str, ...] | None = None) -> Data:
    """MNIST from its four idx files in ``place`` or ``place/MNIST/raw``, brought to 32 x 32."""
    return _idx(place, size, classes or tuple("0123456789"), "mnist")


def fashion_mnist(
    place: Path, *, size: int | None = None, classes: tuple[str, ...] | None = None
) -> Data:
    """Fashion-MNIST from the same four files in ``place`` or ``place/FashionMNIST/raw``."""
    return _idx(place, size, classes or FASHION, "fashion-mnist")


def _idx(place: Path, size: int | None, classes: tuple[str, ...], name: str) -> Data:
    files = [
        (
            _find(place, f"{prefix}-images-idx3-ubyte"),
            _find(place, f"{prefix}-labels-idx1-ubyte"),
        )
        for prefix in ("train", "t10k")
    ]
    truths = [_whole(labels) for _, labels in files]
    counts, parts = [], list[str]()
    for (path, _), truth, part in zip(files, truths, ("train", "test"), strict=True):
        with _opened(path, 3) as (_, shape):
            counts.append(shape[0])
        if shape[0] != len(truth):
            raise DataError(
                f"Expected one label per image in {place}, got {len(truth)} labels for "
                f"{shape[0]} {part} images"
            )
        parts += [part] * len(truth)
    side = size or 32
    images, end = torch.empty((sum(counts), 1, side, side), dtype=torch.uint8), 0
    for path, _ in files:
        for rows in _rows(path, 3):
            images[end : end + len(rows)] = resized(torch.from_numpy(rows)[:, None], side)
            end += len(rows)
    labels, classes = numbered(np.concatenate(truths).tolist(), classes, place)
    return Data(
        images=images,
        labels=torch.from_numpy(labels),
        ids=numbered_ids(parts),
        parts=np.array(parts),
        classes=classes,
        name=name,
        augment=("crop",) if name == "mnist" else ("crop", "flip"),
    )


def _find(place: Path, name: str) -> Path:
    places = [place, place / "raw", place / "MNIST" / "raw", place / "FashionMNIST" / "raw"]
    spelled = [name, name.replace("-idx", ".idx")]
    for path in (p / (s + end) for p in places for s in spelled for end in ("", ".gz")):
        if path.is_file():
            return path
    raise DataError(f"Expected {name} or {name}.gz in {place}, got neither")


@contextmanager
def _opened(path: Path, dimensions: int) -> Iterator[tuple[BinaryIO, tuple[int, ...]]]:
    """Open an idx file behind its header, which tells the shape of what it has to hold."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            head = file.read(4 + 4 * dimensions)
            if head[:4] != bytes([0, 0, 8, dimensions]) or len(head) != 4 + 4 * dimensions:
                raise DataError(
                    f"Expected an idx file of bytes in {dimensions} dimensions, got another header "
                    f"in {path}"
                )
            shape = struct.unpack(f">{dimensions}I", head[4:])
            if not 0 < math.prod(shape) <= LIMIT:
                raise DataError(
                    f"Expected 1 to {LIMIT} bytes in {path}, got a header of {list(shape)}"
                )
            yield cast("BinaryIO", file), shape
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"Expected a whole idx file, got {path}: {error}") from error


def _rows(path: Path, dimensions: int) -> Iterator[NDArray[np.uint8]]:
    """Yield the array of an idx file a few rows at a time."""
    with _opened(path, dimensions) as (file, shape):
        each, length, found = math.prod(shape[1:]), math.prod(shape), 0
        for start in range(0, shape[0], STEP):
            n = min(STEP, shape[0] - start)
            content = bytearray(file.read(n * each))
            found += len(content)
            if len(content) != n * each:
                raise DataError(f"Expected {length} bytes after the header of {path}, got {found}")
            yield np.frombuffer(content, np.uint8).reshape(n, *shape[1:])
        if file.read(1):
            raise DataError(f"Expected {length} bytes after the header of {path}, got more")


def _whole(path: Path) -> NDArray[np.uint8]:
    return np.concatenate([*_rows(path, 1)])
