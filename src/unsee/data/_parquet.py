"""Parquet files in the schema of Hugging Face's image data sets."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as arrow
import pyarrow.parquet
import torch
from numpy.typing import NDArray

from unsee.data._decode import stack
from unsee.errors import DataError
from unsee.nouns import PARTS, Data

IMAGE, LABEL = ("img", "image"), ("label", "labels", "fine_label")


def parquet(
    place: Path, *, size: int | None = None, classes: tuple[str, ...] | None = None
) -> Data:
    """Images from ``train*.parquet`` and ``test*.parquet`` in ``place`` or ``place/data``.

    The columns are ``img`` or ``image`` (bytes and path), ``label``, and perhaps ``id``; all other
    columns of text or whole numbers can be asked for with ``where=COLUMN:VALUE``.  Class names come
    from ``classes``, else from the file's metadata, else from the labels where these are text.
    """
    tables = {part: table for part in PARTS if (table := _table(place, part)) is not None}
    if missing := {"train", "test"} - tables.keys():
        raise DataError(
            f"Expected {' and '.join(f'{p}*.parquet' for p in sorted(missing))} in {place}, got none"
        )
    image, label = (_column(tables["train"], names, place) for names in (IMAGE, LABEL))
    parts = np.concatenate([[part] * len(table) for part, table in tables.items()])
    ids = np.concatenate([_ids(part, table) for part, table in tables.items()])
    kept = [name for name in tables["train"].column_names if name not in (image, label, "id")]
    columns = {name: _text(tables, name, place) for name in kept if _is_text(tables["train"], name)}
    labels, known = _labels(tables, label, place)
    classes = classes or _class_names(tables["train"], label) or known
    if not 0 <= labels.min() <= labels.max() < len(classes):
        raise DataError(
            f"Expected labels from 0 to {len(classes) - 1}, one per class name, got {labels.min()} to {labels.max()} in {place}"
        )

    encoded = [_bytes(item) for table in tables.values() for item in table[image]]
    images, read = stack(ids.tolist(), lambda n: encoded[n], size)
    return Data(
        images=images,
        labels=torch.from_numpy(labels[read]),
        ids=ids[read],
        parts=parts[read],
        classes=classes,
        name=f"parquet:{place.resolve().name}",
        augment=("crop", "flip"),
        columns={name: column[read] for name, column in columns.items()},
    )


def _table(place: Path, part: str) -> arrow.Table | None:
    paths = sorted([*place.glob(f"{part}*.parquet"), *place.glob(f"data/{part}*.parquet")])
    if not paths:
        return None
    try:
        return arrow.concat_tables([arrow.parquet.read_table(path) for path in paths])
    except (arrow.ArrowException, OSError) as error:
        raise DataError(
            f"Expected whole Parquet files of one schema, got {paths}: {error}"
        ) from error


def _column(table: arrow.Table, names: tuple[str, ...], place: Path) -> str:
    for name in names:
        if name in table.column_names:
            return name
    raise DataError(f"Expected a column among {list(names)} in {place}, got {table.column_names}")


def _bytes(item: Any) -> bytes:
    value = item.as_py()
    content = value.get("bytes") if isinstance(value, dict) else value
    return content if isinstance(content, bytes) else b""


def _ids(part: str, table: arrow.Table) -> NDArray[np.str_]:
    if "id" in table.column_names:
        return np.array([str(x) for x in table["id"].to_pylist()])
    return np.array([f"{part}/{n:05d}" for n in range(len(table))])


def _is_text(table: arrow.Table, name: str) -> bool:
    kind = table.schema.field(name).type
    return any(
        test(kind)
        for test in (
            arrow.types.is_string,
            arrow.types.is_large_string,
            arrow.types.is_integer,
            arrow.types.is_boolean,
        )
    )


def _text(tables: dict[str, arrow.Table], name: str, place: Path) -> NDArray[np.str_]:
    for part, table in tables.items():
        if name not in table.column_names:
            raise DataError(
                f"Expected the column {name!r} in all parts of {place}, got none in {part}"
            )
    return np.array([str(x) for table in tables.values() for x in table[name].to_pylist()])


def _labels(
    tables: dict[str, arrow.Table], label: str, place: Path
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return labels as numbers, and the class names that they show by themselves."""
    values = [x for table in tables.values() for x in table[label].to_pylist()]
    if any(x is None for x in values):
        raise DataError(
            f"Expected a label for every image of {place}, got {values.count(None)} without"
        )
    if isinstance(values[0], str):
        classes, numbers = np.unique(np.array(values), return_inverse=True)
        return numbers.astype(np.int64), tuple(classes.tolist())
    labels = np.array(values, dtype=np.int64)
    return labels, tuple(str(n) for n in range(int(labels.max()) + 1))


def _class_names(table: arrow.Table, label: str) -> tuple[str, ...] | None:
    metadata = (table.schema.metadata or {}).get(b"huggingface")
    try:
        return tuple(json.loads(metadata)["info"]["features"][label]["names"]) if metadata else None
    except (ValueError, KeyError, TypeError):
        return None
