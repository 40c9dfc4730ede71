"""Show that numbers are the same after a change to what all methods share.

A change there makes every table stale, and to measure all of them again takes hours.  So one cell
of each data set is drawn from the main job's by lot, by the digest of the new sources, is computed
anew and is compared with the committed one.  If both agree within TOLERANCE, the new sources are
written down as the same in ``docs/evidence/same.json``; the tables stand.  If not, all is stale.
"""

import json
import random
import sys
from collections.abc import Iterator
from typing import Any

import main_job
import provenance

from unsee import run

TOLERANCE = 0.02  # of a figure: of 1, or of itself where it is larger
COMPARED = ("models", "image_gradients")


def drawn(cells: dict[str, Any], after: str) -> tuple[str, list[str]]:
    """Return the sources by which cells were made, and one such cell of each data set.

    Only cells count that trained something and that nothing but common sources makes stale.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for name, cell in cells.items():
        made, method = cell["common"], cell["config"]["method"]
        stale = made != provenance.earliest()
        trained = cell["image_gradients"].get("unlearn")  # what trains nothing shows too little
        if stale and trained and cell["sources"] == provenance.digest(method, made):
            groups.setdefault((made, cell["config"]["data"]), []).append(name)
    before = max((made for made, _ in groups), default="")
    some = [names for (made, _), names in groups.items() if made == before]
    return before, [random.Random(after).choice(sorted(names)) for names in some]


def figures(cell: dict[str, Any]) -> dict[str, float]:
    """Return every number that is compared, by where it is."""
    return dict(_numbers({key: cell[key] for key in COMPARED}, ""))


def _numbers(value: Any, place: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _numbers(inner, f"{place}/{key}")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield place, float(value)


def furthest(before: dict[str, float], after: dict[str, float]) -> tuple[float, str]:
    """Return the largest difference, in shares of 1 or of a figure above, and where it is."""
    if before.keys() != after.keys():
        return float("inf"), f"{sorted(before.keys() ^ after.keys())[:3]}, on one side alone"
    return max(
        (abs(after[key] - value) / max(1.0, abs(value)), key) for key, value in before.items()
    )


def main() -> None:
    """Compare, and write down what came out the same."""
    cells = json.loads(main_job.RESULTS.read_text())
    after = provenance.digest_of_common()
    before, names = drawn(cells, after)
    if not names:
        raise SystemExit("no cell of the main job is stale by common sources alone")
    compared = {}
    for name in names:
        folder = main_job.ROOT / "runs" / "verify" / f"{name}-same-{after[:8]}"
        config = main_job.CELLS[name]
        again = main_job.row(config, run(config, folder), folder)
        old, new = figures(cells[name]), figures(json.loads(json.dumps(again)))
        far, where = furthest(old, new)
        print(f"{name}: {len(old)} figures, furthest apart {far:g} in {where}", file=sys.stderr)
        if far > TOLERANCE:
            raise SystemExit("not the same: make verify")
        compared[name] = {"figures": len(old), "furthest_apart": far, "where": where}
    records = [*provenance.records(), {"before": before, "after": after, "cells": compared}]
    provenance.SAME.write_text(json.dumps(records, indent=1) + "\n")


if __name__ == "__main__":
    main()
