"""Ids that came in over the wire, as the file that a forget rule wants, for a moment."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def ids_file(ids: Sequence[str]) -> Iterator[Path]:
    """Write ids to a file of our own naming, readable by its owner, and delete it afterwards."""
    handle, name = tempfile.mkstemp(prefix="unsee-", suffix=".txt")
    path = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write("".join(f"{x}\n" for x in ids))
        yield path
    finally:
        path.unlink(missing_ok=True)
