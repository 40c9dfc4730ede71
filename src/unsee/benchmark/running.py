"""``unsee bench run``: measure the cells of a grid that are not there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from unsee import events
from unsee.benchmark._cell import Task, measure_once, search_once, tuned_name, up_to_date
from unsee.benchmark._grid import Cell, Grid, named, own_methods
from unsee.benchmark._models import Made, make, needed, unique
from unsee.benchmark._read import read_grid as read_grid
from unsee.benchmark._results import Record, cells_in, is_unsuited, write_asked
from unsee.benchmark._turns import within
from unsee.errors import OptionError
from unsee.parallel import cores, fan_out
from unsee.testing import check_method


@dataclass(frozen=True)
class Done:
    """What a call of :func:`bench` did."""

    there: int  # cells that were up to date, of those asked for
    measured: int  # the others of them, by this process or another one meanwhile
    failed: tuple[str, ...]  # names with reasons, of all cells of the grid
    unsuited: int  # cells of methods that are not for their rule
    left: int  # cells that were not asked for, and are not there or of other settings or code
    strange: tuple[str, ...] = ()  # results in the folder that are of no cell of the grid
    used: tuple[str, ...] = ()  # instructions that cells were computed with


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
    their own have to keep every promise of :mod:`unsee.testing` first.  All models and cells are
    computed with as many threads, whatever is left to do.

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
    asked = named(cells, only)
    if not asked:
        names = [cell.name for cell in cells][:3]
        raise OptionError(f"Expected parts of names such as {names} for --only, got {[*only]}")
    todo = [cell for cell in asked if not up_to_date(_file(results, cell.name), cell, again=again)]
    for name in own_methods(grid) if todo else ():
        check_method(name)
    write_asked(results, grid.title, cells)
    threads = within(max(1, cores() // (jobs or cores())))
    made = _shared(todo, work, jobs, threads)
    plain = Task(
        cells[0], str(results), str(work / "runs"), keep=keep, threads=threads, again=again
    )
    tuned = _tuned(todo, plain, made, jobs)
    tasks = [
        replace(
            plain,
            cell=cell,
            models=models_of(cell, work, made, threads),
            tuned=tuned[cell.search.name] if cell.search else None,
        )
        for cell in todo
    ]
    _each("cells", measure_once, tasks, jobs)
    return _done(cells, results, asked=len(asked), measured=len(todo))


def _done(cells: Sequence[Cell], results: Path, *, asked: int, measured: int) -> Done:
    found = {cell.name: up_to_date(_file(results, cell.name), cell) for cell in cells}
    lacking = {name: r["failed"] for name, r in found.items() if r and r["failed"]}
    failed = [f"{name}: {why}" for name, why in lacking.items() if not is_unsuited(why)]
    return Done(
        there=asked - measured,
        measured=measured,
        failed=tuple(failed),
        unsuited=len(lacking) - len(failed),
        left=sum(record is None for record in found.values()),
        strange=tuple(sorted({x["cell"]["name"] for x in cells_in(results)} - found.keys())),
        used=tuple(sorted({_used(record) for record in found.values() if record} - {""})),
    )


def _used(record: Record) -> str:
    return str(record.get("environment", {}).get("instructions", ""))


def _file(results: Path, name: str) -> Path:
    return results / f"{name}.json"


def _each(
    stage: str, work: Callable[[Task], Record | None], tasks: list[Task], jobs: int
) -> dict[str, Record]:
    """Return a record for every task, by its cell's name.

    What another process is at is left for the end, and waited for, so that two share the work.
    """
    found: dict[str, Record] = {}
    for wait in (False, True):
        left = [replace(task, wait=wait) for task in tasks if task.cell.name not in found]
        if not left:
            break
        with events.stage(stage):
            for task, record in zip(left, fan_out(work, left, jobs=jobs), strict=True):
                if record is not None:
                    _tell(record)
                    found[task.cell.name] = record
    return found


def _tell(record: Record) -> None:
    if record["failed"] and not is_unsuited(record["failed"]):
        name = record["cell"]["name"] if "cell" in record else f"tuning {record['tuned']}"
        events.warn(f"{name} failed: {record['failed']}")


def _shared(cells: list[Cell], work: Path, jobs: int, threads: int) -> dict[Path, Made]:
    """Train what several cells share: each model once."""
    both = [*cells, *searches(cells)]
    wanted = [model for cell in both for model in needed(cell, work / "models", threads)]
    models = unique(wanted)
    if not models:
        return {}
    with events.stage("models"):
        return dict(zip(models, fan_out(make, [*models.values()], jobs=jobs), strict=True))


def models_of(cell: Cell, work: Path, made: dict[Path, Made], threads: int) -> dict[str, Made]:
    """Return the models that a cell uses, by their kind."""
    return {model.kind: made[model.place] for model in needed(cell, work / "models", threads)}


def searches(cells: Sequence[Cell]) -> list[Cell]:
    """Return the searches that cells need: of each method on each data set one, with one seed."""
    return [*{cell.search.name: cell.search for cell in cells if cell.search}.values()]


def _tuned(cells: list[Cell], plain: Task, made: dict[Path, Made], jobs: int) -> dict[str, Record]:
    """Return what searches have found, by their names; those that are there are not made again."""
    results, work = Path(plain.results), Path(plain.work).parent
    found: dict[str, Record] = {}
    tasks = []
    for cell in searches(cells):
        known = up_to_date(_file(results, tuned_name(cell)), cell, again=plain.again)
        if known:
            found[cell.name] = known
        else:
            models = models_of(cell, work, made, plain.threads)
            tasks.append(replace(plain, cell=cell, models=models))
    return found | _each("tuning", search_once, tasks, jobs)
