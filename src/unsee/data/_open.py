"""Open a source by name: ``digits``, ``mnist:DIR``, ``parquet:DIR``, ..."""

import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from unsee.data._cifar10 import cifar10
from unsee.data._digits import digits
from unsee.data._folder import folder
from unsee.data._idx import fashion_mnist, mnist
from unsee.data._labels import doubt
from unsee.data._npz import npz
from unsee.data._parquet import parquet
from unsee.data._spoiled import SPOILED
from unsee.data._text import lines_of
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


def load(
    name: str,
    *,
    size: int | None = None,
    classes: str | Path | None = None,
    some: bool = False,
) -> Data:
    """Open a source by name.

    Args:
        name: ``digits``, or one of the other SOURCES with a place: ``mnist:DIR``; with one of
            SPOILED before it, ``backdoor:digits``, the same with a known harm.
        size: pixels of the square that images are brought to; None: as the source has it.
        classes: a file of class names, one a line, in the order of the labels.
        some: whether these are some of the images alone, and a buffer has the others: then no
            doubt is told about classes that lack.

    Raises:
        DataError: if the name is unknown or the place does not hold what it should.

    """
    if "://" in name:
        raise DataError(
            f"Expected a path on this machine, got the URL {name!r}: unsee never fetches"
        )
    kind, _, place = name.partition(":")
    if kind in SPOILED:
        if place.partition(":")[0] in SPOILED:
            raise DataError(f"Expected data with one harm, got {name!r}")
        return SPOILED[kind](load(place, size=size, classes=classes))
    if kind not in SOURCES:
        raise DataError(f"Expected data among {[*SOURCES, *SPOILED]}, got {name!r}")
    if (kind == "digits") is bool(place):
        form = "digits" if kind == "digits" else f"{kind}:PATH"
        raise DataError(f"Expected data given as {form!r}, got {name!r}")
    if size is not None and not 4 <= size <= 2048:
        raise DataError(f"Expected a size of 4 to 2048 pixels, got {size}")
    if place:
        _check(kind, Path(place))
    names = None if classes is None else _class_names(Path(classes))
    return doubt(SOURCES[kind](Path(place), size=size, classes=names), some=some)


def _check(kind: str, place: Path) -> None:
    """Refuse a place that is missing, an archive, or a file where a folder belongs."""
    wanted = "a file" if kind == "npz" else "a folder"
    try:
        found = "a folder" if place.is_dir() else "a file" if place.is_file() else "nothing there"
        if kind == "npz" and found == "a folder" and any(place.glob("*.npy")):
            return
        archive = found == "a file" != wanted and (
            tarfile.is_tarfile(place) or zipfile.is_zipfile(place)
        )
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise DataError(f"Expected {wanted} at {str(place)!r}, got {error}") from error
    if archive:
        raise DataError(
            f"Expected {wanted} at {place}, got an archive: unpack it and give the folder"
        )
    if found != wanted:
        raise DataError(f"Expected {wanted} at {place}, got {found}")


def _class_names(path: Path) -> tuple[str, ...]:
    names = tuple(lines_of(path, "class names", DataError))
    if len({*names}) != len(names) or not names:
        raise DataError(f"Expected class names in {path}, one a line and no two alike")
    return names
