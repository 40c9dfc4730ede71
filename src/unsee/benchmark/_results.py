"""What is kept of a cell: one JSON file each, read without torch."""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unsee.errors import RunError
from unsee.folder import write
from unsee.nouns import Measurement, Run

if TYPE_CHECKING:
    from unsee.benchmark._grid import Cell

FORMAT = 1
ASKED = "grid.json"  # beside the results: what the grid asked for when it was last run
CONTROLS = ("noop", "head_only", "random_head", "retrain")  # rows of their own, never tuned
KEPT = (  # of every model
    *("forget_accuracy", "retain_accuracy", "test_accuracy", "forgotten_test_accuracy"),
    *("membership_auc", "probe_recall", "few_shot_recall", "relearn_recall"),
    *("js_distance", "evidence_remaining"),
)
MODELS = ("original", "unlearned", "retrained")
UNSUITED = "SplitError: Expected whole classes to forget with "  # as Method.suits says it
PLACES = 6  # after the point
IMAGES = 10_000  # forgotten images of which the distance is kept one by one, at most
Record = dict[str, Any]


def kept(run: Run) -> Record:
    """Return what a cell keeps of its run."""
    measured = {
        model: {name: _plain(run.measurements[model].get(name)) for name in KEPT}
        for model in MODELS
        if model in run.measurements
    }
    apart = run.arrays.get("unlearned/forget/js_distance")
    return {
        "models": measured,
        "apart": [] if apart is None else [round(float(x), 4) for x in apart[:IMAGES]],
        "seconds": _rounded(run.seconds.get("unlearn")),
        "image_gradients": _rounded(run.image_gradients.get("unlearn")),
        "options": run.options,
        "fingerprint": run.data["fingerprint"],
        "counts": run.data["counts"],
        "gone": run.forget["gone"],
        "notes": list(run.notes),
        "ids_digest": run.forget["ids_digest"],
        "environment": run.environment,
        "tried": len(run.tuning.get("trials", [])),
    }


def _plain(found: Measurement | None) -> Record | None:
    return None if found is None else {k: _rounded(x) for k, x in asdict(found).items()}


def _rounded(value: float | None) -> float | None:
    return round(value, PLACES) if isinstance(value, float) else value


def write_record(folder: Path, name: str, record: Record) -> None:
    """Write a result file whole, with sorted keys.  Raises StorageError."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(record, sort_keys=True, allow_nan=False)
    write(folder / f"{name}.json", f"{text}\n".encode())


def read_record(path: Path) -> Record | None:
    """Return a result, None if there is none.

    Raises:
        RunError: if the file holds anything else.

    """
    try:
        record: Record = json.loads(path.read_text())
        if record["format"] == FORMAT and ("cell" in record or "tuned" in record):
            return record
        found = f"format {record['format']}"
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        found = repr(error)
    raise RunError(f"Expected a result of unsee bench in {path}, got {found}: delete it")


def read_results(folder: Path) -> list[Record]:
    """Return the results of a grid's cells, in the order of their names.

    Raises:
        RunError: if there is none.

    """
    cells = cells_in(folder)
    if not cells:
        raise RunError(
            f"Expected results of cells in {folder}, got none: unsee bench run GRID.toml"
        )
    return cells


def cells_in(folder: Path) -> list[Record]:
    """Return the results of cells in a folder, in the order of their files; perhaps none."""
    files = (path for path in sorted(folder.glob("*.json")) if path.name != ASKED)
    found = (read_record(path) for path in files)
    return [record for record in found if record and "cell" in record]


@dataclass(frozen=True)
class Asked:
    """What a grid asks for: a table says what of it is missing or of other settings."""

    title: str
    cells: tuple[Record, ...]  # name, data, forget, method, seed, and a digest of the settings

    def of(self, data: str, forget: str) -> list[Record]:
        """Return the cells of one table."""
        return [x for x in self.cells if (x["data"], x["forget"]) == (data, forget)]


def words_of(cell: "Cell") -> Record:
    """Return what a cell is called: of which data, rule, method and seed."""
    config = cell.config
    words = {"name": cell.name, "data": cell.data, "method": cell.method}
    return words | {"forget": config.forget, "seed": config.seed}


def write_asked(folder: Path, title: str, cells: Iterable["Cell"]) -> None:
    """Write beside the results what is asked for.  Raises StorageError."""
    asked = [words_of(cell) | {"settings": cell.settings} for cell in cells]
    text = json.dumps({"title": title, "cells": asked}, sort_keys=True, indent=0)
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / ASKED, f"{text}\n".encode())


def read_asked(folder: Path) -> Asked | None:
    """Return what the grid of a folder asked for; None: nobody wrote it down.

    Raises:
        RunError: if the file holds anything else.

    """
    path = folder / ASKED
    try:
        record = json.loads(path.read_text())
        return Asked(record["title"], tuple(record["cells"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"Expected a grid's cells in {path}, got {error!r}: delete it") from error


def is_unsuited(why: str | None) -> bool:
    """Tell whether a cell has no figures because its method is not for such a rule: no failure."""
    return (why or "").startswith(UNSUITED)


def picture_file(data: str, rule: str) -> str:
    """Return the name of a rule's picture: one that a link may hold, and no other rule's.

    >>> picture_file("digits", "random=10%"), picture_file("digits", "random=10")
    ('pareto-digits-random-10pc.svg', 'pareto-digits-random-10.svg')
    """
    plain = f"{data}-{rule}".replace("%", "pc").replace("=", "-", 1)
    name = re.sub(r"[^A-Za-z0-9.-]+", "-", plain)
    if name != plain:
        name += f"-{hashlib.sha256(plain.encode()).hexdigest()[:6]}"
    return f"pareto-{name}.svg"


def value(record: Record, name: str, model: str = "unlearned", end: str = "value") -> float | None:
    """Return a measurement of a cell's model, or its "low" or "high"; None where there is none."""
    found = record.get("models", {}).get(model, {}).get(name)
    return None if found is None else float(found[end])


def gap(record: Record, name: str = "membership_auc") -> float | None:
    """Return how far a measurement is from the retrained model's."""
    ours, theirs = (value(record, name, model) for model in ("unlearned", "retrained"))
    return None if ours is None or theirs is None else abs(ours - theirs)


def interval(record: Record, name: str, model: str = "unlearned") -> tuple[float, float] | None:
    """Return a measurement's own interval, over images."""
    found = record.get("models", {}).get(model, {}).get(name)
    return None if found is None else (float(found["low"]), float(found["high"]))
