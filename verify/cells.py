"""Cells of evidence: one small JSON file each, so that a stopped script goes on where it was."""

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from main_job import SHARED

from unsee.folder import write

Cell = dict[str, Any]
# Fields of records that came after cells were measured, as they were before there was a choice: a
# cell that leaves them so is asked for what it was asked for then.
LATER = (("audits", ()), ("audit_retain", None), ("rivals", ()))
PLACES = 6  # after the point: what a file keeps of a number


def read_all(folder: Path) -> dict[str, Cell]:
    """Return every finished cell of a folder, by name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def measure(
    folder: Path, made_by: dict[str, str], make: Callable[[str], Cell], asked: Iterable[str] = ()
) -> None:
    """Make the cells that are asked for and not up to date.

    Args:
        folder: of the files.
        made_by: by the name of each cell, in order, the digest of the sources that decide it.
        make: what a cell says, but for its digest.
        asked: beginnings of names; none: all cells.

    """
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [name for name in made_by if not asked or name.startswith((*asked,))]
    if not wanted:
        raise SystemExit(f"Expected beginnings of names such as {[*made_by][:3]}, got {[*asked]}")
    for number, name in enumerate(wanted, 1):
        file = folder / f"{name}.json"
        told = f"{number} of {len(wanted)}: {name}"
        if file.exists() and json.loads(file.read_text())["sources"] == made_by[name]:
            print(f"{told}: up to date", file=sys.stderr)
            continue
        cell = rounded({"sources": made_by[name], **make(name)})
        write(file, (json.dumps(cell, sort_keys=True, allow_nan=False) + "\n").encode())
        print(f"{told}: done", file=sys.stderr)


def command(
    doc: str | None,
    folder: Path,
    digests: Callable[[], dict[str, str]],
    make: Callable[[str], Cell],
    publish: Callable[[dict[str, Cell]], None],
    *,
    missing: Path | None = None,
) -> None:
    """Do what a command line asks for: measure cells, unless the page alone is wanted; publish.

    Args:
        doc: says what the script does.
        folder: of the files.
        digests: gives the digest of the sources of each cell, by name and in order.
        make: what a cell says, but for its digest.
        publish: writes what readers see, from all finished cells.
        missing: a folder without which nothing can be measured; the page is written all the same.

    """
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("cells", nargs="*", help="beginnings of the names of cells; none: all")
    parser.add_argument("--page", action="store_true", help="write what readers see, alone")
    asked = parser.parse_args()
    if not asked.page and missing is not None and not missing.exists():
        print(f"skipped, {missing} is missing", file=sys.stderr)
    elif not asked.page:
        measure(folder, digests(), make, asked.cells)
    publish(read_all(folder))


def made_by(*sources: str, asked: Any = None) -> str:
    """Return a digest of sources and of what a cell asks of them, wherever the data are."""
    words = json.dumps(asked, sort_keys=True, default=_fields).replace(str(SHARED), "shared")
    return hashlib.sha256("\n".join([*sources, words]).encode()).hexdigest()


def _fields(record: Any) -> dict[str, Any]:
    """Return the fields of a record, and of those in it, but for what is LATER."""
    return asdict(
        record, dict_factory=lambda pairs: {k: v for k, v in pairs if (k, v) not in LATER}
    )


def rounded(value: Any) -> Any:
    """Return JSON-able data with every float cut to as many places as anybody reads."""
    if isinstance(value, float):
        return round(value, PLACES)
    if isinstance(value, dict):
        return {key: rounded(x) for key, x in value.items()}
    return [rounded(x) for x in value] if isinstance(value, list | tuple) else value


def mean(values: Iterable[float]) -> float:
    """Return the mean, added up exactly, so that a page is the same on every machine."""
    found = [*values]
    return math.fsum(found) / len(found)


def machines(found: Iterable[Cell]) -> str:
    """Say on which machines cells were measured."""
    return "; ".join(sorted({place(cell["environment"]) for cell in found})) or "none"


def place(words: Mapping[str, str]) -> str:
    """Return in one phrase what an environment says of the machine."""
    return f"{words['device']}, threads: {words['threads']}, {words['precision']}"
