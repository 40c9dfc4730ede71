"""``unsee bench run`` and ``unsee bench check``: what needs torch of a benchmark."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from unsee import events
from unsee.benchmark._cell import Task, key_of, measure, search, tuned_name
from unsee.benchmark._grid import Cell, Grid, own_methods, read_grid as read_grid
from unsee.benchmark._models import Made, make, needed, unique
from unsee.benchmark._results import KEPT, MODELS, Record, read_record, value
from unsee.errors import OptionError, RunError
from unsee.parallel import fan_out
from unsee.testing import check_method

TOLERANCE = 0.02  # of figures in 0..1
SPENT = 0.01  # of image gradients, as a share


@dataclass(frozen=True)
class Done:
    """What a call of :func:`bench` did."""

    there: int  # cells that were up to date
    measured: int
    failed: tuple[str, ...]  # names with reasons, of all cells of the grid
    left: int  # cells that were not asked for and are not there


def bench(
    grid: Grid,
    results: Path,
    work: Path,
    *,
    jobs: int = 0,
    only: Sequence[str] = (),
    again: bool = False,
    keep: bool = False,
) -> Done:
    """Measure the cells of a grid that are not there, or were made by other code or settings.

    A cell that fails is written down with its reason, and the others go on.  Methods from files of
    their own have to keep every promise of :mod:`unsee.testing` first.

    Args:
        grid: of :func:`read_grid`.
        results: a folder of one file per cell.
        work: for models that cells share, and for run folders while they run.
        jobs: processes; 0: one a core.
        only: parts of cells' names; none: all cells.
        again: measure cells that failed once more.
        keep: leave the run folders, with their reports and models.

    Raises:
        OptionError: if ``only`` fits no cell.
        PromiseError: if a method of one's own breaks a promise.

    """
    cells = grid.cells()
    asked = [cell for cell in cells if not only or any(part in cell.name for part in only)]
    if not asked:
        names = [cell.name for cell in cells][:3]
        raise OptionError(f"Expected parts of names such as {names} for --only, got {[*only]}")
    todo = [cell for cell in asked if not _is_there(cell, results, again)]
    for name in own_methods(grid) if todo else ():
        check_method(name)
    made = _shared(todo, work, jobs)
    tuned = _tuned(todo, results, work, made, jobs)
    place = str(results), str(work / "runs")
    tasks = [
        Task(cell, *place, _of(cell, work, made), tuned.get(_searched_for(cell)), keep)
        for cell in todo
    ]
    _each("cells", measure, tasks, jobs, _told)
    found = {cell.name: read_record(results / f"{cell.name}.json") for cell in cells}
    failed = [f"{name}: {r['failed']}" for name, r in found.items() if r and r["failed"]]
    missing = sum(record is None for record in found.values())
    return Done(len(asked) - len(todo), len(todo), tuple(failed), missing)


def _is_there(cell: Cell, results: Path, again: bool) -> bool:
    record = read_record(results / f"{cell.name}.json")
    if record is None or record.get("key") != key_of(cell):
        return False
    return not (again and record["failed"])


def _each(
    stage: str,
    work: Callable[[Task], Record],
    tasks: list[Task],
    jobs: int,
    tell: Callable[[Record], None],
) -> list[Record]:
    found: list[Record] = []
    if tasks:
        with events.stage(stage):
            for record in fan_out(work, tasks, jobs=jobs):
                tell(record)
                found.append(record)
    return found


def _told(record: Record) -> None:
    if record["failed"]:
        name = record["cell"]["name"] if "cell" in record else f"tuning {record['tuned']}"
        events.warn(f"{name} failed: {record['failed']}")


def _shared(cells: list[Cell], work: Path, jobs: int) -> dict[Path, Made]:
    """Train what several cells share: each model once."""
    wanted = [model for cell in cells for model in needed(cell, work / "models")]
    wanted += [m for cell in _searches(cells) for m in needed(cell, work / "models")]
    models = unique(wanted)
    if not models:
        return {}
    with events.stage("models"):
        return dict(zip(models, fan_out(make, [*models.values()], jobs=jobs), strict=True))


def _of(cell: Cell, work: Path, made: dict[Path, Made]) -> dict[str, Made]:
    return {model.kind: made[model.place] for model in needed(cell, work / "models")}


def _searched_for(cell: Cell) -> str:
    """Return the name of the search whose options a cell takes."""
    return f"{cell.data}/{cell.config.method}" if cell.tune else ""


def _searches(cells: list[Cell]) -> list[Cell]:
    """Return the searches that cells need: of each method on each data set one, with one seed."""
    found: dict[str, Cell] = {}
    for cell in cells:
        if cell.tune:
            config = replace(cell.config, forget=cell.tune_on, oracle="none", seed=0)
            found.setdefault(_searched_for(cell), replace(cell, config=config))
    return [*found.values()]


def _tuned(
    cells: list[Cell], results: Path, work: Path, made: dict[Path, Made], jobs: int
) -> dict[str, Record]:
    found: dict[str, Record] = {}
    tasks = []
    for cell in _searches(cells):
        known = read_record(results / f"{tuned_name(cell)}.json")
        if known is not None and known["key"] == key_of(cell):
            found[_searched_for(cell)] = known
        else:
            tasks.append(Task(cell, str(results), str(work / "runs"), _of(cell, work, made)))
    for task, record in zip(tasks, _each("tuning", search, tasks, jobs, _told), strict=True):
        found[_searched_for(task.cell)] = record
    return found


@dataclass(frozen=True)
class Compared:
    """One figure of a cell, as it was kept and as it came out now."""

    name: str
    before: float | None
    now: float | None
    tolerance: float

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
    failed: tuple[str | None, str | None]  # before and now

    @property
    def inside(self) -> bool:
        """Whether every figure is, and it failed as before or not at all."""
        both = tuple(why and why.partition(":")[0] for why in self.failed)
        return both[0] == both[1] and all(figure.inside for figure in self.figures)


def drawn(grid: Grid, results: Path, seed: int, only: Sequence[str] = ()) -> Cell:
    """Draw one of the cells that have a result.

    Raises:
        RunError: if none has.

    """
    there = [
        cell
        for cell in grid.cells()
        if (results / f"{cell.name}.json").exists()
        and (not only or any(part in cell.name for part in only))
    ]
    if not there:
        raise RunError(f"Expected results of {grid.name} in {results}, got none: unsee bench run")
    return random.Random(seed).choice(sorted(there, key=lambda cell: cell.name))


def check(
    cell: Cell, results: Path, work: Path, *, tolerance: float = TOLERANCE, jobs: int = 1
) -> Checked:
    """Measure a cell again and compare every figure with the one that was kept; nothing is written.

    Seconds are another machine's, and are not compared.
    """
    path = results / f"{cell.name}.json"
    before = read_record(path)
    if before is None:
        raise RunError(f"Expected a result in {path}, got none")
    wanted = unique(needed(cell, work / "models"))
    made = dict(zip(wanted, fan_out(make, [*wanted.values()], jobs=jobs), strict=True))
    task = Task(cell, "", str(work / "check"), _of(cell, work, made))
    if cell.tune:
        (searched,) = _searches([cell])
        found = read_record(results / f"{tuned_name(searched)}.json") or {"failed": None}
        kept = before.get("tuned") or {"failed": found["failed"]}  # a search that failed has none
        task = replace(task, tuned={"failed": None, "on": "", "trials": [], "options": {}} | kept)
    now = measure(task)
    figures = [
        Compared(f"{model}/{name}", value(before, name, model), value(now, name, model), tolerance)
        for model in MODELS
        for name in KEPT
        if model in before.get("models", {})
    ]
    spent = before.get("image_gradients")
    if spent is not None:
        figures.append(
            Compared("image_gradients", spent, now.get("image_gradients"), SPENT * spent)
        )
    same = before["key"] == now["key"]
    return Checked(cell.name, tuple(figures), same, (before["failed"], now["failed"]))
