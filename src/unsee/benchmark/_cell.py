"""One cell: a call of ``pipeline.run`` beside shared models, and what is kept of it."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from unsee.benchmark._budget import Allowance, allowance
from unsee.benchmark._grid import Cell
from unsee.benchmark._held import held
from unsee.benchmark._models import Made, alone
from unsee.benchmark._recipe import recipe
from unsee.benchmark._results import FORMAT, Record, kept, read_record, words_of, write_record
from unsee.benchmark._sources import digest_of_sources
from unsee.benchmark._turns import at_most, lock_of, turn
from unsee.erasure import unlearned
from unsee.errors import BusyError, ModelError, StorageError
from unsee.machine import instructions
from unsee.methods import find
from unsee.nouns import Config
from unsee.pipeline import run
from unsee.preparation import prepare

SHARES = {"all": 1.0, "forget": 0.0}


@dataclass(frozen=True)
class Task:
    """A cell, or a search on its behalf, with the models that it shares."""

    cell: Cell
    results: str  # the folder of result files, if they are to be written
    work: str  # the folder of run folders
    models: dict[str, Made] = field(default_factory=dict)  # original and retrained
    tuned: Record | None = None  # what a search on another rule found
    keep: bool = False  # the run folder, with its report and models
    threads: int = 0  # to compute with, at most; 0: as many as there are
    again: bool = False  # even if it is there and failed
    wait: bool = True  # where another process measures the same one


def key_of(cell: Cell, code: str | None = None) -> str:
    """Return the digest of all that decides a cell: what it asks, and the code, else today's."""
    made_by = digest_of_sources(cell.config.method) if code is None else code
    words = json.dumps([cell.asked(), made_by], sort_keys=True)
    return hashlib.sha256(words.encode()).hexdigest()


def up_to_date(path: Path, cell: Cell, *, again: bool = False) -> Record | None:
    """Return what a file holds of a cell, or of a search, if it is of these settings and this code.

    With ``again`` nothing that failed is.
    """
    record = read_record(path)
    if record is None or record.get("key") != key_of(cell) or (again and record["failed"]):
        return None
    return record


def measure_once(task: Task) -> Record | None:
    """Measure one cell, or say why it cannot be, and write its result, unless it is there.

    Returns:
        Its record; None: another process measures it, and the task does not wait.

    Raises:
        BusyError: if another process works in its run folder.
        StorageError: if the disk refuses.

    """
    return _once(task, task.cell.name, measure)


def search_once(task: Task) -> Record | None:
    """Search on behalf of a cell, as :func:`search` does, and as :func:`measure_once` writes."""
    return _once(task, tuned_name(task.cell), search)


def _once(task: Task, name: str, work: Callable[[Task], Record]) -> Record | None:
    file = Path(task.results, f"{name}.json")
    with turn(lock_of(Path(task.work).parent, name), wait=task.wait) as ours:
        if not ours:
            return None
        if (there := up_to_date(file, task.cell, again=task.again)) is not None:
            return there
        with at_most(task.threads):
            record = work(task)
        write_record(Path(task.results), name, record)
    return record


def measure(task: Task) -> Record:
    """Measure one cell, or say why it cannot be; nothing is written.  Raises as measure_once."""
    cell = task.cell
    method = find(cell.config.method)
    record: Record = {
        "format": FORMAT,
        "cell": words_of(cell),
        "key": key_of(cell),
        "settings": cell.settings,
        "sources": digest_of_sources(cell.config.method),
        "shown": method.data,
        "retain_share": SHARES.get(method.data, cell.config.retain_fraction),
        "reference": {
            stage: task.models[model].cost
            for stage, model in (("train", "original"), ("retrain", "retrained"))
            if model in task.models
        },
        "failed": None,
    }
    return record | alone(lambda: _outcome(task))


def _outcome(task: Task) -> Record:
    """Return what a cell measured, or why it failed."""
    for made in task.models.values():
        if made.failed:
            return {"failed": made.failed, "recipe": _line(task.cell, task.cell.config)}
    if task.tuned is not None and task.tuned["failed"]:
        why = f"no setting was found on {task.cell.tune_on}: {task.tuned['failed']}"
        return {"failed": why, "recipe": _line(task.cell, task.cell.config)}
    config = task.cell.config
    try:
        if task.tuned is not None:
            config = replace(config, options=dict(config.options) | task.tuned["options"])
        config, allowed = _within_budget(task, config)
        return _run(task, config, allowed)
    except (BusyError, StorageError):
        raise
    except Exception as error:  # whatever a method does, the other cells go on
        told = f"{type(error).__name__}: {error}"
        return {"failed": told, "recipe": _line(task.cell, config)}


def _run(task: Task, config: Config, allowed: Allowance | None) -> Record:
    beside = _beside(task, config)
    words = json.dumps([key_of(task.cell), asdict(beside), instructions()], sort_keys=True)
    mark = hashlib.sha256(words.encode()).hexdigest()[:8]  # a run goes on where its own was stopped
    folder = Path(task.work, f"{task.cell.name}-{mark}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    done = run(beside, folder, jobs=1)
    if not task.keep:
        shutil.rmtree(folder)
    more = {
        "digests": _digests(beside),
        "recipe": _line(task.cell, config),
        "budget": allowed and asdict(allowed),
        "tuned": task.tuned and {key: task.tuned[key] for key in ("on", "trials", "options")},
    }
    if done.buffer and find(config.method).data == "buffer":  # in the place of a share drawn now
        more["retain_share"] = done.buffer["share"]
    return kept(done) | more


def _beside(task: Task, config: Config) -> Config:
    """Return the same run with the models that are there instead of those that it would train."""
    paths = {name: made.path for name, made in task.models.items()}
    return replace(
        config,
        model=paths.get("original", config.model),
        oracle=paths.get("retrained", config.oracle),
    )


def _digests(config: Config) -> dict[str, str]:
    """Return what the original and the retrained models hold that a cell was measured beside."""
    named = {"original": config.model, "retrained": config.oracle}
    return {name: held(Path(x)) for name, x in named.items() if x and x not in ("none", "retrain")}


def _within_budget(task: Task, config: Config) -> tuple[Config, Allowance | None]:
    if task.cell.budget is None:
        return config, None
    allowed = allowance(prepare(_beside(task, config)), task.cell.budget)
    return replace(config, options=dict(config.options) | allowed.options), allowed


def _line(cell: Cell, config: Config) -> str:
    return recipe(config, f"runs/{cell.name}")


def search(task: Task) -> Record:
    """Try settings of a cell's method on the rule that tuning may look at; nothing is audited.

    Returns:
        The options that it chose, and of every trial what it fell short of; or why there is none.

    """
    cell = task.cell
    record: Record = {
        "format": FORMAT,
        "tuned": cell.method,
        "on": cell.config.forget,
        "key": key_of(cell),
        "sources": digest_of_sources(cell.config.method),
        "failed": None,
        "options": {},
        "trials": [],
    }
    return record | alone(lambda: _found(task))


def _found(task: Task) -> Record:
    """Return what a search chose, or why it could not."""
    cell = task.cell
    for made in task.models.values():
        if made.failed:
            return {"failed": made.failed}
    try:
        config, _ = _within_budget(task, replace(cell.config, oracle="none", tune=cell.tune))
        job, told = prepare(_beside(task, config)), dict[str, Any]()
        if job.given is None:
            raise ModelError(f"Expected the original to tune on, got none for {cell.name}")
        unlearned(job, job.load(job.given), facts=told)
        tried = told["tuning"]
        chosen = tried["trials"][tried["chosen"]]["options"]
        return {"options": chosen, "trials": tried["trials"]}
    except (BusyError, StorageError):
        raise
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {error}"}


def tuned_name(cell: Cell) -> str:
    """Return the name of the file that keeps what a search found."""
    return f"tuned-{cell.name}"
