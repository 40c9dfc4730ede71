"""MNIST and its likes: idx files, gzipped or not (format: http://yann.lecun.com/exdb/mnist)."""

import gzip
import math
import struct
import zlib
from pathlib import Path

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
    images, values, parts = [], list[int](), list[str]()
    for part, prefix in (("train", "train"), ("test", "t10k")):
        pixels = _read(_find(place, f"{prefix}-images-idx3-ubyte"), 3)
        truth = _read(_find(place, f"{prefix}-labels-idx1-ubyte"), 1)
        if len(pixels) != len(truth):
            raise DataError(
                f"Expected one label per image in {place}, got {len(truth)} labels for "
                f"{len(pixels)} {part} images"
            )
        images.append(resized(torch.from_numpy(pixels)[:, None], size or 32))
        values += truth.tolist()
        parts += [part] * len(truth)
    labels, classes = numbered(values, classes, place)
    return Data(
        images=torch.cat(images),
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


def _read(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Return the array of an idx file; its header says how long it has to be."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            head = file.read(4 + 4 * dimensions)
            if head[:4] != bytes([0, 0, 8, dimensions]) or len(head) != 4 + 4 * dimensions:
                raise DataError(
                    f"Expected an idx file of bytes in {dimensions} dimensions, got another header "
                    f"in {path}"
                )
            shape = struct.unpack(f">{dimensions}I", head[4:])
            length = math.prod(shape)
            if not 0 < length <= LIMIT:
                raise DataError(
                    f"Expected 1 to {LIMIT} bytes in {path}, got a header of {list(shape)}"
                )
            content = file.read(length + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"Expected a whole idx file, got {path}: {error}") from error
    if len(content) != length:
        found = "more" if len(content) > length else len(content)
        raise DataError(f"Expected {length} bytes after the header of {path}, got {found}")
    return np.frombuffer(content, np.uint8).reshape(shape).copy()
