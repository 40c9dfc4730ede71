"""The table beside a folder of images: what is known of each, for ``where=COLUMN:VALUE``."""

import csv
import io
from pathlib import Path
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray

from unsee.data._text import text_of
from unsee.errors import DataError
from unsee.events import warn

KEYS = ("id", "path", "file_name")  # of the column that holds ids
Row = dict[str, str]


def columns(root: Path, ids: NDArray[np.str_]) -> dict[str, NDArray[np.str_]]:
    """Return the columns ``[N]`` of the table in ``root`` for these images; {} without a table.

    An image that the table does not name has empty values.

    Raises:
        DataError: if there are several tables, or it is damaged, or names no image, or tells two
            things of one.

    """
    found = _table(root)
    if found is None:
        return {}
    path, key, names, rows = found
    exact = {*ids.tolist()}
    equal = {normalize("NFC", name): name for name in exact}  # Unicode holds both forms for equal
    told: dict[str, Row] = {}
    for row in rows:
        given = row[key].removeprefix("./")
        name = given if given in exact else equal.get(normalize("NFC", given), given)
        if told.setdefault(name, row) != row:
            raise DataError(f"Expected one row per image in {path.name}, got two for {name!r}")
    if not exact & told.keys():
        raise DataError(
            f"Expected ids like {ids[:2].tolist()} in the column {key!r} of {path.name}, got "
            f"{[*told][:2]}"
        )
    if strange := [*told.keys() - exact]:
        warn(f"{len(strange)} rows of {path.name} name no image, such as {sorted(strange)[:3]}")
    empty = dict.fromkeys(names, "")
    return {
        name: np.array([told.get(x, empty)[name] for x in ids.tolist()])
        for name in names
        if name != key
    }


def _table(root: Path) -> tuple[Path, str, list[str], list[Row]] | None:
    """Return path, key, names of the columns and rows of the one table in ``root``."""
    named = root / "metadata.csv"
    paths = [named] if named.is_file() else sorted(p for p in root.glob("*.csv") if p.is_file())
    tables = [(path, *_rows(path)) for path in paths]
    found = [
        (path, next(key for key in KEYS if key in names), names, rows)
        for path, names, rows in tables
        if not {*KEYS}.isdisjoint(names)
    ]
    if len(found) > 1:
        listed = [path.name for path, *_ in found]
        raise DataError(f"Expected one table in {root}, got {listed}: call one metadata.csv")
    if named in paths and not found:
        raise DataError(f"Expected a column among {list(KEYS)} in {named}, got {tables[0][1]}")
    return found[0] if found else None


def _rows(path: Path) -> tuple[list[str], list[Row]]:
    reader = csv.reader(io.StringIO(text_of(path, "a table", DataError), newline=""), strict=True)
    try:
        names, *rows = [row for row in reader if row]
    except (csv.Error, ValueError) as error:  # ValueError: no line at all
        raise DataError(f"Expected a table with a line of names in {path}, got {error}") from error
    if len({*names}) != len(names):
        raise DataError(f"Expected columns of different names in {path}, got {names}")
    if odd := next((row for row in rows if len(row) != len(names)), None):
        raise DataError(f"Expected {len(names)} values in each row of {path}, got {odd}")
    return names, [dict(zip(names, row, strict=True)) for row in rows]
