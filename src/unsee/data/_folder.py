"""Image files in ``train/CLASS`` and ``test/CLASS``, perhaps with a table beside them."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from unsee.data._decode import stack
from unsee.data._labels import numbered
from unsee.data._table import columns
from unsee.errors import DataError
from unsee.events import warn
from unsee.nouns import Data

FOLDERS = {"train": ("train",), "validation": ("validation", "val"), "test": ("test",)}
LIMIT = 1 << 28  # bytes of one encoded image
IGNORED = {"thumbs.db", "desktop.ini"}  # what file managers leave behind; and all hidden files


def folder(place: Path, *, size: int | None = None, classes: tuple[str, ...] | None = None) -> Data:
    r"""Images below ``train/CLASS``, ``test/CLASS`` and, if there is one, ``validation/CLASS``.

    An image's id is its path below ``place``, with ``/`` between the parts; bytes of a name that
    are not UTF-8 are written as ``\xff``.  A table ``metadata.csv``, or any one ``*.csv`` in
    ``place``, with a column ``id``, ``path`` or ``file_name`` of such ids gives the columns for
    ``where=COLUMN:VALUE``.  Links that lead to a folder or out of ``place`` are left out with a
    warning.

    Raises:
        DataError: if a part is missing or empty, a class of the test images is unknown, more than
            1 % of the files are no images, or they differ in size and ``size`` is None.

    """
    root = place.resolve()
    links: list[str] = []
    found = {part: _listed(root, names, links) for part, names in FOLDERS.items()}
    if links:
        warn(
            f"{len(links)} links and special files of {place} are left out, such as "
            f"{sorted(links)[:3]}: copy what they point to"
        )
    if missing := [part for part in ("train", "test") if not found[part]]:
        raise DataError(
            f"Expected images in {place}/{missing[0]}/CLASS, got none: name the folders train and "
            "test, and in them one folder per class"
        )
    known = classes or _class_folders(root / "train")
    paths = {name: path for part in found.values() for name, path in sorted(part.items())}
    ids = np.array([*paths])
    parts = np.array([part for part, files in found.items() for _ in files])
    labels, names = numbered([name.split("/")[1] for name in paths], known, place)
    files = [*paths.values()]
    images, read = stack(ids.tolist(), lambda n: _bytes(files[n]), size)
    return Data(
        images=images,
        labels=torch.from_numpy(labels[read]),
        ids=ids[read],
        parts=parts[read],
        classes=names,
        name=f"folder:{root.name}",
        augment=("crop", "flip"),
        columns={name: column[read] for name, column in columns(root, ids).items()},
    )


def _listed(root: Path, names: tuple[str, ...], links: list[str]) -> dict[str, Path]:
    """Return the files below ``root/name/CLASS`` by id; what is left out goes to ``links``."""
    tops = [root / name for name in names if (root / name).is_dir()]
    found, strays = dict[str, Path](), list[str]()
    for top in tops:
        for path in _below(top, root, links):
            name = _id(path, root)
            if len(path.relative_to(top).parts) == 1:
                strays.append(name)
            elif name in found:
                raise DataError(f"Expected names of files that differ in {root}, got {name} twice")
            else:
                found[name] = path
    if strays:
        warn(
            f"{len(strays)} files lie in no folder of a class and are left out, such as "
            f"{sorted(strays)[:3]}"
        )
    return found


def _below(top: Path, root: Path, links: list[str]) -> Iterator[Path]:
    """Yield the ordinary files below ``top``; never follow a link to a folder: it may be a loop."""
    waiting = [top]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                path = Path(entry.path)
                if entry.name.startswith(".") or entry.name.lower() in IGNORED:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(path)
                elif entry.is_file(follow_symlinks=False) or _stays(path, root):
                    yield path
                else:
                    links.append(_id(path, root))


def _stays(path: Path, root: Path) -> bool:
    """Say whether a link leads to an ordinary file below ``root``."""
    try:
        return path.is_symlink() and path.is_file() and path.resolve().is_relative_to(root)
    except (OSError, RuntimeError):  # a loop of links
        return False


def _class_folders(train: Path) -> tuple[str, ...]:
    """Return the class names in order; an emptied folder keeps its number."""
    with os.scandir(train) as entries:
        found = [x for x in entries if x.is_dir(follow_symlinks=False) and x.name[0] != "."]
    return tuple(sorted(_id(Path(entry.path), train) for entry in found))


def _id(path: Path, root: Path) -> str:
    return os.fsencode(path.relative_to(root).as_posix()).decode("utf-8", "backslashreplace")


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(LIMIT + 1)
    except OSError as error:
        raise DataError(str(error)) from error
    if len(content) > LIMIT:
        raise DataError(f"a file of more than {LIMIT} bytes")
    return content
