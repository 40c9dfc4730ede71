"""``unsee bench run``: measure the cells of a grid that are not there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from unsee import events
from unsee.benchmark._cell import Task, key_of, measure, search, tuned_name
from unsee.benchmark._grid import Cell, Grid, own_methods, read_grid as read_grid
from unsee.benchmark._models import Made, make, needed, unique
from unsee.benchmark._results import Record, cells_in, is_unsuited, read_record
from unsee.errors import OptionError
from unsee.parallel import fan_out
from unsee.testing import check_method


@dataclass(frozen=True)
class Done:
    """What a call of :func:`bench` did."""

    there: int  # cells that were up to date
    measured: int
    failed: tuple[str, ...]  # names with reasons, of all cells of the grid
    unsuited: int  # cells of methods that are not for their rule
    left: int  # cells that were not asked for and are not there
    strange: tuple[str, ...] = ()  # results in the folder that are of no cell of the grid


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
    tuned = _tuned(todo, results, work, made, jobs, again=again)
    place = str(results), str(work / "runs")
    tasks = [
        Task(cell, *place, of(cell, work, made), tuned.get(_searched_for(cell)), keep)
        for cell in todo
    ]
    _each("cells", measure, tasks, jobs, _told)
    found = {cell.name: read_record(results / f"{cell.name}.json") for cell in cells}
    lacking = {name: r["failed"] for name, r in found.items() if r and r["failed"]}
    failed = [f"{name}: {why}" for name, why in lacking.items() if not is_unsuited(why)]
    missing = sum(record is None for record in found.values())
    strange = tuple(sorted({x["cell"]["name"] for x in cells_in(results)} - found.keys()))
    unsuited = len(lacking) - len(failed)
    return Done(len(asked) - len(todo), len(todo), tuple(failed), unsuited, missing, strange)


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
    if record["failed"] and not is_unsuited(record["failed"]):
        name = record["cell"]["name"] if "cell" in record else f"tuning {record['tuned']}"
        events.warn(f"{name} failed: {record['failed']}")


def _shared(cells: list[Cell], work: Path, jobs: int) -> dict[Path, Made]:
    """Train what several cells share: each model once."""
    wanted = [model for cell in cells for model in needed(cell, work / "models")]
    wanted += [m for cell in searches(cells) for m in needed(cell, work / "models")]
    models = unique(wanted)
    if not models:
        return {}
    with events.stage("models"):
        return dict(zip(models, fan_out(make, [*models.values()], jobs=jobs), strict=True))


def of(cell: Cell, work: Path, made: dict[Path, Made]) -> dict[str, Made]:
    """Return the models that a cell uses, by their kind."""
    return {model.kind: made[model.place] for model in needed(cell, work / "models")}


def _searched_for(cell: Cell) -> str:
    """Return the name of the search whose options a cell takes."""
    return f"{cell.data}/{cell.config.method}" if cell.tune else ""


def searches(cells: list[Cell]) -> list[Cell]:
    """Return the searches that cells need: of each method on each data set one, with one seed."""
    found: dict[str, Cell] = {}
    for cell in cells:
        if cell.tune:
            config = replace(cell.config, forget=cell.tune_on, oracle="none", seed=0)
            found.setdefault(_searched_for(cell), replace(cell, config=config))
    return [*found.values()]


def _tuned(
    cells: list[Cell], results: Path, work: Path, made: dict[Path, Made], jobs: int, *, again: bool
) -> dict[str, Record]:
    found: dict[str, Record] = {}
    tasks = []
    for cell in searches(cells):
        known = read_record(results / f"{tuned_name(cell)}.json")
        if known and known["key"] == key_of(cell) and not (again and known["failed"]):
            found[_searched_for(cell)] = known
        else:
            tasks.append(Task(cell, str(results), str(work / "runs"), of(cell, work, made)))
    for task, record in zip(tasks, _each("tuning", search, tasks, jobs, _told), strict=True):
        found[_searched_for(task.cell)] = record
    return found
