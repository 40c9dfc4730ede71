"""Open a source by name: ``digits``, ``mnist:DIR``, ``parquet:DIR``, ..."""

from collections.abc import Callable
from pathlib import Path

from unsee.data._cifar10 import cifar10
from unsee.data._digits import digits
from unsee.data._folder import folder
from unsee.data._idx import fashion_mnist, mnist
from unsee.data._npz import npz
from unsee.data._parquet import parquet
from unsee.errors import DataError
from unsee.nouns import Data

Source = Callable[..., Data]  # (place, *, size, classes) -> Data
SOURCES: dict[str, Source] = {
    "digits": digits,
    "mnist": mnist,
    "fashion-mnist": fashion_mnist,
    "cifar10": cifar10,
    "parquet": parquet,
    "folder": folder,
    "npz": npz,
}


def load(name: str, *, size: int | None = None, classes: str | Path | None = None) -> Data:
    """Open a source by name.

    Args:
        name: ``digits``, or one of the other SOURCES with a place: ``mnist:DIR``.
        size: pixels of the square that images are brought to; None: as the source has it.
        classes: a file of class names, one a line, in the order of the labels.

    Raises:
        DataError: if the name is unknown or the place does not hold what it should.

    """
    kind, _, place = name.partition(":")
    if kind not in SOURCES:
        raise DataError(f"Expected data among {list(SOURCES)}, got {name!r}")
    if (kind == "digits") is bool(place):
        form = "digits" if kind == "digits" else f"{kind}:PATH"
        raise DataError(f"Expected data given as {form!r}, got {name!r}")
    if "://" in place:
        raise DataError(
            f"Expected a path on this machine, got the URL {place!r}: unsee never fetches"
        )
    if size is not None and not 4 <= size <= 2048:
        raise DataError(f"Expected a size of 4 to 2048 pixels, got {size}")
    names = None if classes is None else _class_names(Path(classes))
    return SOURCES[kind](Path(place), size=size, classes=names)


def _class_names(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeError) as error:
        raise DataError(f"Expected a text file of class names at {path}, got {error}") from error
    names = tuple(line.strip() for line in lines if line.strip())
    if len(set(names)) != len(names) or not names:
        raise DataError(f"Expected class names in {path}, one a line and no two alike")
    return names
