"""What is kept of a cell: one JSON file each, read without torch."""

import json
import math
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from unsee.errors import RunError
from unsee.folder import write
from unsee.nouns import Measurement, Run

FORMAT = 1
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
    found = (read_record(path) for path in sorted(folder.glob("*.json")))
    return [record for record in found if record and "cell" in record]


def is_unsuited(why: str | None) -> bool:
    """Tell whether a cell has no figures because its method is not for such a rule: no failure."""
    return (why or "").startswith(UNSUITED)


def picture_file(data: str, rule: str) -> str:
    """Return the name of a rule's picture: one that a link may hold.

    >>> picture_file("digits", "random=10%")
    'pareto-digits-random-10.svg'
    """
    return f"pareto-{re.sub(r'[^A-Za-z0-9]+', '-', f'{data}-{rule}').strip('-')}.svg"


def value(record: Record, name: str, model: str = "unlearned") -> float | None:
    """Return one measurement of a cell's model, None where there is none."""
    found = record.get("models", {}).get(model, {}).get(name)
    return None if found is None else float(found["value"])


def gap(record: Record, name: str = "membership_auc") -> float | None:
    """Return how far a measurement is from the retrained model's."""
    ours, theirs = (value(record, name, model) for model in ("unlearned", "retrained"))
    return None if ours is None or theirs is None else abs(ours - theirs)


def half(record: Record, name: str, model: str = "unlearned") -> float | None:
    """Return half the width of a measurement's own interval, over images."""
    found = record.get("models", {}).get(model, {}).get(name)
    return None if found is None else math.fabs(found["high"] - found["low"]) / 2
