"""``unsee bench check``: measure kept cells again, and let them stand where they come out alike."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from unsee.benchmark._cell import Task, key_of, measure, search, tuned_name
from unsee.benchmark._grid import Cell, Grid, named
from unsee.benchmark._models import make, needed, unique
from unsee.benchmark._results import KEPT, MODELS, Record, read_record, value, write_record
from unsee.benchmark._sources import digest_of_sources
from unsee.benchmark._turns import lock_of, threads, turn
from unsee.benchmark.running import models_of, searches
from unsee.errors import RunError
from unsee.machine import instructions, kept_to
from unsee.parallel import cores, fan_out

TOLERANCE = 0.02  # of figures in 0..1
SPENT = 0.01  # of image gradients, as a share
ENDS = ("value", "low", "high")
ROUNDS = ("instructions", "threads", "torch")  # precision goes by the first


@dataclass(frozen=True)
class Compared:
    """One figure of a cell, as it was kept and as it came out now."""

    name: str
    before: float | None
    now: float | None
    tolerance: float
    end: str = "value"  # or the "low" or "high" of its interval

    @property
    def inside(self) -> bool:
        """Whether the two are as near as the tolerance says."""
        if self.before is None or self.now is None:
            return self.before is self.now
        return abs(self.before - self.now) <= self.tolerance


@dataclass(frozen=True)
class Checked:
    """A cell that was measured again."""

    name: str
    figures: tuple[Compared, ...]
    same_code: bool
    same_options: bool
    failed: tuple[str | None, str | None]  # before and now
    tolerance: float = TOLERANCE
    other: tuple[tuple[str, str, str], ...] = ()  # what decides how sums round: before and now

    @property
    def furthest(self) -> float:
        """The largest difference of a figure in 0..1; 0 where there is none to compare."""
        figures = [x for x in self.figures if x.tolerance <= self.tolerance]
        pairs = [(x.before, x.now) for x in figures if x.before is not None and x.now is not None]
        return round(max((abs(before - now) for before, now in pairs), default=0.0), 6)

    @property
    def inside(self) -> bool:
        """Whether every figure is, by the same options; of a cell that failed, for the same reason.

        What has neither a figure nor a reason was not compared, and is not inside.
        """
        alike = self.same_options and self.failed[0] == self.failed[1]
        some = bool(self.figures) or self.failed[0] is not None
        return alike and some and all(figure.inside for figure in self.figures)


def drawn(cells: Sequence[Cell], results: Path, seed: int, only: Sequence[str] = ()) -> Cell:
    """Draw one of the cells that have figures; where none has, of those that failed.

    Raises:
        RunError: if none has a result.

    """
    there = kept(cells, results, only)
    whole = [cell for cell, record in there if not record["failed"]]
    some = whole or [cell for cell, _ in there]
    return random.Random(seed).choice(sorted(some, key=lambda cell: cell.name))


def kept(
    cells: Sequence[Cell], results: Path, only: Sequence[str] = ()
) -> list[tuple[Cell, Record]]:
    """Return the cells that have results, with these; ``only``: parts of names; none: all.

    Raises:
        RunError: if none has a result.

    """
    found = [(cell, read_record(results / f"{cell.name}.json")) for cell in named(cells, only)]
    there = [(cell, record) for cell, record in found if record is not None]
    if not there:
        raise RunError(f"Expected results of such cells in {results}, got none: unsee bench run")
    return there


def check(
    cell: Cell,
    results: Path,
    work: Path,
    *,
    tolerance: float = TOLERANCE,
    jobs: int = 1,
    anew: bool = False,
) -> Checked:
    """Measure a cell again and compare every figure with the one that was kept; nothing is written.

    It is computed with as many threads and, where this processor has them, with the instructions
    that it was computed with, since sums round by both.  Seconds are another machine's, and are not
    compared.

    Args:
        cell: of a grid.
        results: the folder that keeps its result.
        work: for the models that it shares, which are trained where they are not there.
        tolerance: of figures in 0..1.
        jobs: processes that train those models.
        anew: search for its options again, too, where a search has found them; else take those.

    Raises:
        RunError: if there is no result of it.

    """
    path = results / f"{cell.name}.json"
    before = read_record(path)
    if before is None:
        raise RunError(f"Expected a result in {path}, got none")
    ran, usual = before.get("environment", {}), instructions()
    number = int(ran.get("threads", 0))
    with kept_to(ran.get("instructions", "")):
        used = instructions()

        def out(do: Callable[[Any], Any], items: Sequence[object], jobs: int) -> Iterator[Any]:
            apart = used != usual  # a process that has begun goes on with what it had
            return fan_out(partial(_with, number, do), items, jobs=jobs, apart=apart)

        both = [cell, *(searches([cell]) if anew else ())]
        wanted = unique([m for each in both for m in needed(each, work / "models", number)])
        most = max(1, cores() // max(1, number))  # processes that find as many threads
        models = out(make, [*wanted.values()], min(jobs or most, most))
        made = dict(zip(wanted, models, strict=True))
        place = str(work / "check")
        tasks = [Task(x, str(results), place, models_of(x, work, made, number)) for x in both]
        if not tasks[1:]:
            tasks[0] = replace(tasks[0], tuned=_options_of(cell, before, results))
        (now,) = out(_measured, [tasks], 1)
    return Checked(
        cell.name,
        (*_measurements(before, now, tolerance), *_costs(before, now)),
        same_code=before["key"] == now["key"],
        same_options=before.get("options") == now.get("options"),
        failed=(before["failed"], now["failed"]),
        tolerance=tolerance,
        other=tuple(_otherwise(ran, now.get("environment", {}))),
    )


def _otherwise(before: dict[str, str], now: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    for name in ROUNDS:
        was, found = before.get(name), now.get(name)
        if was and found and was != found:
            yield name, was, found


def _with(number: int, do: Callable[[Any], Any], item: object) -> Any:
    with threads(number):
        return do(item)


def _measured(tasks: Sequence[Task]) -> Record:
    """Measure a cell by the options of its search, which comes second if it is to be made."""
    task, *others = tasks
    for other in others:
        task = replace(task, tuned=search(other))
    return measure(task)


def _measurements(before: Record, now: Record, tolerance: float) -> Iterator[Compared]:
    """Compare every measurement: of one beyond 1, a ratio to little, by a share of it."""
    for model, name, end in product(MODELS, KEPT, ENDS):
        if model in before.get("models", {}):
            was, found = value(before, name, model, end), value(now, name, model, end)
            allowed = tolerance * max(1.0, abs(was or 0.0))
            yield Compared(f"{model}/{name}", was, found, allowed, end)


def _costs(before: Record, now: Record) -> Iterator[Compared]:
    for name in ("image_gradients", "retain_share"):
        if (was := before.get(name)) is not None:
            yield Compared(name, was, now.get(name), SPENT * was)


def _options_of(cell: Cell, before: Record, results: Path) -> Record | None:
    """Return what a cell's search has found, as it was kept; None: nothing is tuned."""
    if not cell.tune:
        return None
    (searched,) = searches([cell])
    found = read_record(results / f"{tuned_name(searched)}.json") or {"failed": None}
    tuned = before.get("tuned") or found  # a cell that failed has none
    return {"failed": None, "on": "", "trials": [], "options": {}} | tuned


def changed(grid: Grid, results: Path, only: Sequence[str] = ()) -> dict[str, list[Cell]]:
    """Return the kept cells that ask what they asked, and were made by other code.

    They are grouped by method, by the code that made them and by what they forget, whole classes
    or images of classes that stay: code that does the same to the one may do something else to the
    other.  Cells that failed are alike where their reasons are.

    Args:
        grid: of :func:`read_grid`.
        results: its folder.
        only: parts of names, of which each group has to have a cell; none: all groups.

    """
    found: dict[str, list[Cell]] = {}
    for cell in grid.cells():
        record = read_record(results / f"{cell.name}.json")
        if record is not None and _by_other_code(cell, record):
            what = "whole classes" if record.get("gone") else "other images"
            if record["failed"]:
                what = f"failed: {record['failed']}"
            group = f"{cell.method}, {what}, by code {record['sources'][:8]}"
            found.setdefault(group, []).append(cell)
    parts = [*only] or [""]
    return {
        m: c for m, c in found.items() if any(part in cell.name for part in parts for cell in c)
    }


def _by_other_code(cell: Cell, record: Record) -> bool:
    made_by: str = record["key"]
    return made_by != key_of(cell) and made_by == key_of(cell, record["sources"])


def as_kept(cells: Sequence[Cell], results: Path, there: Path) -> list[Cell]:
    """Return the cells whose results in another folder were made by the code of the kept ones."""
    found = []
    for cell in cells:
        ours, other = (read_record(place / f"{cell.name}.json") for place in (results, there))
        if ours and other and ours["key"] == other["key"]:
            found.append(cell)
    return found


def stand(cells: Sequence[Cell], results: Path, work: Path, done: Checked) -> None:
    """Let the cells of a group stand for the code of today, of which one came out alike.

    Each says which cell it was, by how much that differed and might have, and which code made it
    itself.

    Raises:
        RunError: if ``done`` is outside its tolerance.

    """
    if not done.inside:
        raise RunError(f"Expected a cell that came out alike, got {done.name}, which did not")
    for cell in cells:
        for name, one in {cell.name: cell, **_searched(cell)}.items():
            with turn(lock_of(work, name)):  # another process may measure it anew
                record = read_record(results / f"{name}.json")
                if record is None or not _by_other_code(one, record):
                    continue
                before = {"sources": record["sources"], "checked": done.name}
                before |= {"furthest": done.furthest, "tolerance": done.tolerance}
                record["stands"] = [*record.get("stands", []), before]
                record["sources"] = digest_of_sources(one.config.method)
                record["key"] = key_of(one)
                write_record(results, name, record)


def _searched(cell: Cell) -> dict[str, Cell]:
    return {tuned_name(each): each for each in searches([cell])}
