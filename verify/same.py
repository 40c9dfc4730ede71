"""Show that numbers are the same after a change to what all methods share.

A change there makes every table stale, and to measure all of them again takes hours.  So one cell
of each data set is drawn from the main job's by lot, by the digest of the new sources, is computed
anew and is compared with the committed one.  If both agree within TOLERANCE, the new sources are
written down as the same in ``docs/evidence/same.json``; the tables stand.  If not, all is stale.

Another machine rounds otherwise, and what trains long ends elsewhere.  ``--beside COMMIT`` computes
the cells by the sources of that commit, too, on this machine, and compares with those.  ``--data``
names the sets that are drawn from, where there is no time for all; the record says which were.

The files of a method alone change, too.  ``--methods`` names some of which that is so: each is
compared in a cell of digits, besides what was drawn, and their files before and after are the same.
``--redefined`` names figures that mean something else since, which no table may show: the record
says which, and they are not compared.

Sums that come in another order (``--rounding``) are another matter: what trains on them ends
elsewhere, as it does on another machine and with another number of threads.  The sources of before
compute the cell with another number of threads then, too.  The new ones stand if models that are
given as files come out the same, and of the others no more than twice as many figures are beyond
TOLERANCE; all of these are written down, both times.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import main_job
import provenance
import torch

from unsee import run

TOLERANCE = 0.02  # of a figure: of 1, or of itself where it is larger
COMPARED = ("models", "image_gradients")
EMPTY: Mapping[str, str] = {}
DIGITS, BY = "digits-class3-seed0", "@"  # the cell for a method that is not drawn: CELL@METHOD


def drawn(
    cells: dict[str, Any], after: str, kinds: Sequence[str] = (), own: Mapping[str, str] = EMPTY
) -> tuple[str, list[str]]:
    """Return the sources by which cells were made, and one such cell of each data set, or of some.

    Only cells count that trained something and that nothing but common sources makes stale, or the
    files of methods whose digests before were those in ``own``.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for name, cell in cells.items():
        made, method = cell["common"], cell["config"]["method"]
        stale = made != provenance.earliest()
        trained = cell["image_gradients"].get("unlearn")  # what trains nothing shows too little
        asked = not kinds or cell["config"]["data"].partition(":")[0] in kinds
        known = cell["sources"] == provenance.digest(method, made, own.get(method, ""))
        if asked and stale and trained and known:
            groups.setdefault((made, cell["config"]["data"]), []).append(name)
    before = max((made for made, _ in groups), default="")
    some = [names for (made, _), names in groups.items() if made == before]
    return before, [random.Random(after).choice(sorted(names)) for names in some]


def figures(cell: dict[str, Any], but: Sequence[str] = ()) -> dict[str, float]:
    """Return every number that is compared, by where it is; but those of some measurements."""
    found = _numbers({key: cell[key] for key in COMPARED}, "")
    return {where: value for where, value in found if not {*but} & {*where.split("/")}}


def _numbers(value: Any, place: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _numbers(inner, f"{place}/{key}")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield place, float(value)


def apart(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """Return how far figures are apart, of 1 or of a larger one; one alone is infinitely far."""
    return {
        key: abs(after[key] - before[key]) / max(1.0, abs(before[key]))
        if key in before and key in after
        else float("inf")
        for key in sorted(before.keys() | after.keys())
    }


def furthest(before: dict[str, float], after: dict[str, float]) -> tuple[float, str]:
    """Return the largest difference, and where it is."""
    return max((far, key) for key, far in apart(before, after).items())


def astray(
    before: dict[str, float], after: dict[str, float]
) -> dict[str, tuple[float | None, float | None]]:
    """Return the figures that are further apart than TOLERANCE, before and after."""
    far = apart(before, after)
    return {key: (before.get(key), after.get(key)) for key in far if far[key] > TOLERANCE}


def given(config: dict[str, Any]) -> tuple[str, ...]:
    """Return where the figures of models stand that nobody trained: files, whatever rounds."""
    if not config["model"]:
        return ()
    control = ("/models/original/", "/models/control/")
    return control if config["oracle"] == "retrain" else (*control, "/models/retrained/")


def rounded(
    before: dict[str, float],
    after: dict[str, float],
    threads: dict[str, float],
    fixed: tuple[str, ...],
) -> dict[str, Any] | None:
    """Return what differs by rounding alone, as with another number of threads; None: by more."""
    found, usual = astray(before, after), astray(before, threads)
    if len(found) > 2 * len(usual) or any(key.startswith(fixed) for key in found):
        return None
    return {"astray": found, "astray_by_threads": usual}


def row(name: str, mark: str) -> dict[str, Any]:
    """Compute a cell by the sources that are imported; a stopped one goes on."""
    folder = main_job.ROOT / "runs" / "verify" / f"{name}-same-{mark[:8]}"
    base, _, method = name.partition(BY)
    config = main_job.CELLS[base]
    config = replace(config, method=method) if method else config
    found = main_job.row(config, run(config, folder), folder)
    return dict(json.loads(json.dumps(found)))


def by(commit: str, expression: str, **more: str) -> Any:
    """Return what an expression gives by the sources of a commit, in a process of its own.

    Args:
        commit: its sources.
        expression: of these modules.
        more: of the environment.

    """
    root = main_job.ROOT
    git = ["git", "-C", str(root), "worktree"]
    with tempfile.TemporaryDirectory() as place:
        subprocess.run([*git, "add", "--detach", "--force", place, commit], check=True)
        try:
            path = os.pathsep.join([f"{place}/src", os.environ.get("PYTHONPATH", "")])
            code = f"import json, provenance, same, sys; print(json.dumps({expression}))"
            done = subprocess.run(
                [sys.executable, "-c", f"import unsee; assert {place!r} in unsee.__file__; {code}"],
                env=os.environ | {"PYTHONPATH": f"{path}{os.pathsep}{root / 'verify'}"} | more,
                cwd=root,
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            )
        finally:
            subprocess.run([*git, "remove", "--force", place], check=True)
    return json.loads(done.stdout.splitlines()[-1])


def before_of(name: str, threads: str = "") -> str:
    """Return the expression for a cell by other sources, in a folder that is theirs alone."""
    return f"same.row({name!r}, {threads!r} + provenance.digest_of_common())"


def on_digits(name: str) -> bool:
    """Tell whether a cell is of digits."""
    return main_job.CELLS[name.partition(BY)[0]].data == "digits"


def changed(methods: Sequence[str], commit: str) -> dict[str, dict[str, str]]:
    """Return the digests of methods' own files, before and after; there has to be a change."""
    before = by(commit, f"{{name: provenance.earliest_own(name) for name in {[*methods]}}}")
    found = {name: {"before": before[name], "after": provenance.own(name)} for name in methods}
    if alike := [name for name, pair in found.items() if pair["before"] == pair["after"]]:
        raise SystemExit(f"nothing has changed in the files of {alike}")
    return found


def with_threads(name: str, commit: str) -> Any:
    """Return a cell by the sources of a commit, with two threads instead of one or one of two."""
    other = "2" if torch.get_num_threads() == 1 else "1"
    return by(commit, before_of(name, other), OMP_NUM_THREADS=other)


def calibrated(commit: str) -> dict[str, str]:
    """Return the digests of what decides the verdict's simulation, before and after."""
    before = str(by(commit, "provenance.digest_of_calibration()"))
    return {"before": before, "after": provenance.digest_of_calibration()}


def compare(name: str, after: str, asked: argparse.Namespace) -> dict[str, Any]:
    """Compute a cell by both sources, and return how far apart they are; too far ends it all."""
    committed = json.loads(main_job.RESULTS.read_text())[name.partition(BY)[0]]
    new = figures(row(name, after), asked.redefined)
    other = by(asked.beside, before_of(name)) if asked.beside else committed
    old = figures(other, asked.redefined)
    far, where = furthest(old, new)
    print(f"{name}: {len(old)} figures, furthest apart {far:g} in {where}", file=sys.stderr)
    found = {"figures": len(old), "furthest_apart": far, "where": where}
    if far <= TOLERANCE:
        return found
    more = None
    if asked.rounding:
        by_threads = figures(with_threads(name, asked.beside), asked.redefined)
        more = rounded(old, new, by_threads, given(committed["config"]))
    if more is None:
        raise SystemExit(f"not the same, make verify: {astray(old, new)}")
    return found | more


def main() -> None:
    """Compare, and write down what came out the same."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--beside", metavar="COMMIT", help="compare with what that commit gives")
    parser.add_argument("--data", metavar="NAME", nargs="+", default=[], help="these sets alone")
    parser.add_argument("--rounding", action="store_true", help="with --beside: see above")
    parser.add_argument("--methods", metavar="NAME", nargs="+", default=[], help="with --beside")
    parser.add_argument("--redefined", metavar="NAME", nargs="+", default=[], help="see above")
    asked = parser.parse_args()
    if (asked.rounding or asked.methods) and not asked.beside:
        parser.error("expected --beside COMMIT with --rounding and --methods")
    cells = json.loads(main_job.RESULTS.read_text())
    after = provenance.digest_of_common()
    methods = changed(asked.methods, asked.beside) if asked.methods else {}
    were = {name: pair["before"] for name, pair in methods.items()}
    before, names = drawn(cells, after, asked.data, were)
    if not names:
        raise SystemExit("no cell of the main job is stale by common sources alone")
    shown = {main_job.CELLS[name].method for name in names if on_digits(name)}
    names += [f"{DIGITS}{BY}{method}" for method in methods if method not in shown]
    compared = {name: compare(name, after, asked) for name in names}
    how = "both on this machine" if asked.beside else "the committed ones"
    record = {"before": before, "after": after, "cells": compared, "compared": how}
    if asked.redefined:
        record["redefined"] = asked.redefined
    if methods:
        record["methods"] = methods
    if asked.beside and any(map(on_digits, names)):
        record["calibration"] = calibrated(asked.beside)  # whose numbers are of digits, too
    records = [*provenance.records(), record]
    provenance.SAME.write_text(json.dumps(records, indent=1) + "\n")


if __name__ == "__main__":
    main()
