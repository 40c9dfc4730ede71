"""Parquet or Arrow files in the schema of Hugging Face's image data sets."""

import json
import tempfile
from bisect import bisect
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as arrow
import pyarrow.compute
import torch
from numpy.typing import NDArray

from unsee.data._arrow import files_of, first_of, sizes_of, table_of
from unsee.data._decode import decode, stack
from unsee.data._labels import numbered, numbered_ids
from unsee.data._store import MAPPED, stays
from unsee.errors import DataError, StorageError
from unsee.events import warn
from unsee.nouns import PARTS, Data

IMAGE, LABEL = ("img", "image"), ("label", "labels", "fine_label")
Tables = dict[str, arrow.Table]


def parquet(
    place: Path, *, size: int | None = None, classes: tuple[str, ...] | None = None
) -> Data:
    """Images from ``train*.parquet`` and ``test*.parquet`` in ``place`` or ``place/data``.

    Or from ``train*.arrow`` and ``test*.arrow``, which are mapped, there or in ``place/train`` and
    ``place/test``.

    The columns are ``img`` or ``image`` (bytes and path), ``label``, and perhaps ``id``; all other
    columns of text or whole numbers can be asked for with ``where=COLUMN:VALUE``.  Class names come
    from ``classes``, else from the file's metadata, else from the labels where these are text.

    Raises:
        DataError: if a part, a column, a label or more than 1 % of the images cannot be read.

    """
    tables = _tables(place, size)
    image, label = (_column(tables["train"], names, place) for names in (IMAGE, LABEL))
    for part, table in tables.items():
        if absent := {*tables["train"].column_names} - {*table.column_names}:
            raise DataError(
                f"Expected the same columns in all parts of {place}, got no {sorted(absent)} in "
                f"{part}*.parquet"
            )
    kept = [
        field.name
        for field in tables["train"].schema
        if field.name not in (image, label, "id") and _is_text(field.type)
    ]
    noted = {part: x for part, t in tables.items() if (x := _class_names(t, label))}
    if classes is None and len({*noted.values()}) > 1:
        raise DataError(
            f"Expected the same names of classes in all parts of {place}, got {noted}: bring "
            "their labels to one order, and give that with --classes"
        )
    named = classes or noted.get("train")
    values = [x for table in tables.values() for x in _listed(table[label], place)]
    labels, names = numbered(values, named, place)
    ids = np.concatenate([_ids(part, table, place) for part, table in tables.items()])
    parts = np.concatenate([[part] * len(table) for part, table in tables.items()])
    columns = {
        name: np.concatenate([_text(t[name], place) for t in tables.values()]) for name in kept
    }

    encoded = _Encoded([_bytes(table[image], place) for table in tables.values()])
    images, read = stack(ids.tolist(), encoded, size)
    return Data(
        images=images,
        labels=torch.from_numpy(labels[read]),
        ids=ids[read],
        parts=parts[read],
        classes=names,
        name=f"parquet:{place.resolve().name}",
        augment=("crop", "flip"),
        columns={name: column[read] for name, column in columns.items()},
    )


def _tables(place: Path, size: int | None) -> Tables:
    """Return the rows of each part, in memory or laid out in a file."""
    files = {part: found for part in PARTS if (found := files_of(place, part))}
    if missing := {"train", "test"} - files.keys():
        wanted = " and ".join(f"{part}*.parquet" for part in sorted(missing))
        raise DataError(f"Expected {wanted} in {place}, got none")
    kept, tables = _are_kept(place, files, size), {}
    for part, paths in files.items():
        with _readable(place, paths):
            tables[part] = table = table_of(paths, kept=kept)
            table.validate(full=True)  # text that is none would fail wherever it is first looked at
        if len({*table.column_names}) != len(table.column_names):
            raise DataError(
                f"Expected columns of different names in {place}, got {table.column_names}"
            )
    return tables


def _are_kept(place: Path, files: dict[str, list[Path]], size: int | None) -> bool:
    """Say whether Parquet files are read into memory: not where all parts together are large.

    Nor where their pixels are, unless the files are small: they are decoded again and again then,
    so the files would stay in memory for as long as the data are used.
    """
    encoded = rows = 0
    for paths in files.values():
        with _readable(place, paths):
            more = sizes_of(paths)
            encoded, rows = encoded + more[0], rows + more[1]
    if stays(encoded):
        if encoded <= MAPPED or stays(rows * _decoded(place, files["train"], size)):
            return True
    warn(
        f"{encoded:,} bytes of encoded images are too many for the memory: they are laid out in "
        f"a file in {tempfile.gettempdir()} that has no name and goes with this process (TMPDIR "
        "names another)"
    )
    return False


def _decoded(place: Path, paths: list[Path], size: int | None) -> int:
    """Return the bytes of the first image's pixels; 0 where it cannot be read."""
    with _readable(place, paths):
        first = first_of(paths)
    if not len(first):
        return 0
    image = first.column_names.index(_column(first, IMAGE, place))
    try:
        pixels = decode(_Encoded([_bytes(first.column(image), place)])(0))
    except DataError:
        return 0  # it is told with the others, when all are read
    return pixels.nbytes if size is None else size * size * pixels.shape[2]


@contextmanager
def _readable(place: Path, paths: list[Path]) -> Iterator[None]:
    """Say which files are damaged."""
    try:
        yield
    except StorageError:
        raise
    except (arrow.ArrowException, OSError, ValueError) as error:
        found = [path.name for path in paths]
        raise DataError(
            f"Expected whole Parquet files of one schema in {place}, got {found}: {error}"
        ) from error


def _column(table: arrow.Table, names: tuple[str, ...], place: Path) -> str:
    for name in names:
        if name in table.column_names:
            return name
    raise DataError(f"Expected a column among {list(names)} in {place}, got {table.column_names}")


def _bytes(column: arrow.ChunkedArray, place: Path) -> arrow.ChunkedArray:
    """Return the column of encoded images."""
    kind = column.type
    if arrow.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        column = arrow.compute.struct_field(column, "bytes")
    if not (arrow.types.is_binary(column.type) or arrow.types.is_large_binary(column.type)):
        raise DataError(f"Expected a column of encoded images in {place}, got {kind}")
    return column


class _Encoded:
    """The encoded images of all parts, taken out of their tables one at a time."""

    def __init__(self, columns: list[arrow.ChunkedArray]) -> None:
        self.chunks = [chunk for column in columns for chunk in column.chunks]
        self.ends = [*accumulate(map(len, self.chunks))]

    def __call__(self, row: int) -> bytes:
        """Return the bytes of one image, none where there is none."""
        place = bisect(self.ends, row)
        chunk = self.chunks[place]
        found: bytes | None = chunk[row - self.ends[place] + len(chunk)].as_py()
        return found or b""


def _listed(column: arrow.ChunkedArray, place: Path) -> list[Any]:
    try:
        values: list[Any] = column.to_pylist()
        return values
    except (arrow.ArrowException, OverflowError, ValueError) as error:  # a time in the year 40000
        raise DataError(
            f"Expected labels, ids and columns of numbers or text in {place}, got {column.type}: "
            f"{error}"
        ) from error


def _ids(part: str, table: arrow.Table, place: Path) -> NDArray[np.str_]:
    if "id" in table.column_names:
        return np.array([str(x) for x in _listed(table["id"], place)])
    return numbered_ids([part] * len(table))


def _is_text(kind: arrow.DataType) -> bool:
    tests = ("is_string", "is_large_string", "is_integer", "is_boolean")
    return any(getattr(arrow.types, test)(kind) for test in tests)


def _text(column: arrow.ChunkedArray, place: Path) -> NDArray[np.str_]:
    """Return values ``[N]`` as text, a missing one as an empty one."""
    return np.array(["" if x is None else str(x) for x in _listed(column, place)], dtype=np.str_)


def _class_names(table: arrow.Table, label: str) -> tuple[str, ...] | None:
    metadata = (table.schema.metadata or {}).get(b"huggingface")
    try:
        names = json.loads(metadata)["info"]["features"][label]["names"] if metadata else None
    except (ValueError, KeyError, TypeError):
        return None  # another tool's note: the labels speak for themselves
    named = tuple(map(str, names)) if isinstance(names, list) else ()
    return named if named and len({*named}) == len(named) else None
