"""A ledger as files for others: JSON in full; the log as CSV in which nothing is a formula."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from typing import Any

from unsee.ledger._chain import Checked, Entry

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def as_json(requests: Iterable[Any], entries: Iterable[Entry], found: Checked) -> str:
    """Return requests and log as one JSON document; ids and keys are no part of it."""
    record = {
        "schema": 1,
        "last_hash": found.last,
        "requests": [asdict(request) for request in requests],
        "events": [asdict(entry) for entry in entries],
    }
    return json.dumps(record, indent=1, sort_keys=True, default=str) + "\n"


def as_csv(entries: Sequence[Entry]) -> str:
    """Return the log as CSV, a row per event."""
    file = io.StringIO()
    writer = csv.writer(file, quoting=csv.QUOTE_ALL)
    names = [field.name for field in fields(Entry)]
    writer.writerow(names)
    for entry in entries:
        writer.writerow(plain(getattr(entry, name)) for name in names)
    return file.getvalue()


def plain(value: Any) -> str:
    """Return a cell that a spreadsheet shows and does not compute.

    >>> plain("=1+1"), plain(" @x"), plain(7), plain(None)
    ("'=1+1", "' @x", '7', '')

    """
    if value is None:
        return ""
    text = str(value)
    return f"'{text}" if text.lstrip().startswith(FORMULA) or text.startswith(FORMULA) else text
