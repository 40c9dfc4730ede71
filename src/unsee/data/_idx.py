"""MNIST and its likes: idx files, gzipped or not (format: http://yann.lecun.com/exdb/mnist)."""

import gzip
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

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
    images, labels, ids, parts = [], [], [], []
    for part, prefix in (("train", "train"), ("test", "t10k")):
        pixels = _read(_find(place, f"{prefix}-images-idx3-ubyte"), 3)
        truth = _read(_find(place, f"{prefix}-labels-idx1-ubyte"), 1)
        if len(pixels) != len(truth) or not len(truth):
            raise DataError(
                f"Expected one label per image in {place}, got {len(truth)} labels for {len(pixels)} {part} images"
            )
        if truth.max() >= len(classes):
            raise DataError(f"Expected labels below {len(classes)} in {place}, got {truth.max()}")
        images.append(resized(torch.from_numpy(pixels)[:, None], size or 32))
        labels.append(torch.from_numpy(truth.astype(np.int64)))
        ids += [f"{part}/{n:05d}" for n in range(len(truth))]
        parts += [part] * len(truth)
    return Data(
        images=torch.cat(images),
        labels=torch.cat(labels),
        ids=np.array(ids),
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
            shape = tuple(int(x) for x in np.frombuffer(head[4:], ">i4"))
            if head[:4] != bytes([0, 0, 8, dimensions]) or len(shape) != dimensions:
                raise DataError(
                    f"Expected an idx file of bytes in {dimensions} dimensions, got another header in {path}"
                )
            length = int(np.prod(shape, dtype=object))
            if min(shape) < 0 or length > LIMIT:
                raise DataError(
                    f"Expected at most {LIMIT} bytes in {path}, got a header of {shape}"
                )
            content = file.read(length + 1)
    except (OSError, EOFError) as error:
        raise DataError(f"Expected a whole idx file, got {path}: {error}") from error
    if len(content) != length:
        raise DataError(
            f"Expected {length} bytes after the header of {path}, got {'more' if len(content) > length else len(content)}"
        )
    return np.frombuffer(content, np.uint8).reshape(shape).copy()
