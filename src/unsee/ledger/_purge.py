"""Delete what was kept of a closed request's images, and retire the models that knew them."""

import json
import re
import zipfile
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import Connection, Engine, inspect, select, text, update

from unsee.errors import LedgerError
from unsee.ledger._jobs import RUN
from unsee.ledger._learned import (
    Trained,
    all_jobs,
    learners,
    named_by_open_requests,
    trained_files,
)
from unsee.ledger._models import Model
from unsee.ledger._open import stem_of_copies
from unsee.ledger._schema import jobs, models, requests
from unsee.ledger._states import CLOSED
from unsee.ledger._sweep import cleaned, removed, without_earlier
from unsee.ledger._traces import ERROR

if TYPE_CHECKING:
    from unsee.ledger._ledger import Ledger

CONFIG, EVENTS = "config.json", "events.jsonl"  # as unsee.folder calls them, which needs torch
AGAIN = "purge again when that is done"
OF_A_BUFFER = {"images.npy", "ids.npy", "counts.npy", "facts.npy"}


@dataclass(frozen=True)
class Purged:
    """What went, and what a person has to see to."""

    files: int
    retired: tuple[int, ...]  # models
    left: tuple[str, ...]  # what stays for now, and why


class Swept(NamedTuple):
    """A part of that: how many files went, and what stays."""

    files: int
    left: list[str]


def purge(ledger: "Ledger", number: int, who: str, also: Sequence[Path] = ()) -> Purged:
    """Purge a closed request.

    Args:
        ledger: of the request.
        number: of it.
        who: does so.
        also: runs, fleets and buffers that were made of the images elsewhere.

    Raises:
        LedgerError: if the request is open, or ``also`` names what unsee did not make or what is in
            use; nothing is deleted then.

    """
    request = ledger.show(number)
    if request.open:
        raise LedgerError(
            f"Expected a closed request to purge, got {number}, which is {request.state}: its "
            "images are still needed to serve it"
        )
    made_by, rows = all_jobs(ledger), ledger.entries(number)
    found = ledger.models()  # after the jobs: of one that has ended by then the model is here
    doomed = [_ours(Path(path).resolve(), _needed(ledger, found)) for path in also]
    own = [job for job in made_by if number in job.requests]
    shared = _still_needed(ledger, own)
    family = _ancestors(found, [job.model for job in own if job.model is not None])
    of_others = _made_for_open(ledger, made_by)
    retired = [model for model in family if model.number not in of_others]
    gone = [model.number for model in retired if model.state != "retired"]  # those of today
    kept = [model for model in found if model.number not in gone and model.state != "retired"]
    files = sum(cleaned(job.folder) for job in own if job.number not in shared)
    after = [job for job in made_by if job.line == request.line and job not in own]
    files += sum(without_earlier(job.folder) for job in after if job.state != "running")
    busy = [
        f"{job.folder}: job {job.number} has the rules of requests before in its settings: {AGAIN}"
        for job in after
        if job.state == "running"
    ]
    before = _retire(retired, {job.folder for job in made_by})
    learned = learners(made_by, request, rows)
    others = _unlearned(learned, [model.path for model in kept], named_by_open_requests(ledger))
    files += before.files + others.files + _talk(learned) + removed(doomed)
    with ledger.writing() as log:
        log.connection.execute(update(models).where(models.c.id.in_(gone)).values(state="retired"))
        copies = _drop_schemas(log.connection)
        log.append(number, who, "purged", files=files, retired=gone)
    files += copies + removed(_backups(ledger.engine))
    waiting = [
        f"{model.path}: model {model.number}, which serves request {of_others[model.number]}, that "
        f"is open: {AGAIN}"
        for model in family
        if model.number in of_others
    ]
    stay = [*shared.values(), *busy, *waiting, *_that_stay(learned, kept, request.line)]
    return Purged(files, tuple(gone), (*before.left, *others.left, *stay))


def _retire(retired: Sequence[Model], folders: Collection[Path]) -> Swept:
    """Delete models that were replaced where a worker made them, and name the others."""
    mine = [model.path for model in retired if _own(model, folders)]
    left = [model.path for model in retired if model.path not in mine and model.path.exists()]
    files = removed(model.with_suffix(end) for model in mine for end in (".safetensors", ".pt"))
    return Swept(files, [f"{x}: a model that was replaced and is not ours to delete" for x in left])


def _unlearned(
    learned: Sequence[Trained], versions: Sequence[Path], named: Sequence[Path]
) -> Swept:
    """Delete models of no version that jobs which have ended left, but those that are ``named``."""
    ended = [job.folder for job in learned if job.state != "running"]
    files = removed(path for x in ended for path in trained_files(x, [*versions, *named]))
    left = [path for folder in ended for path in trained_files(folder, versions)]
    return Swept(files, [f"{path}: an open request names it: {AGAIN}" for path in left])


def _talk(learned: Iterable[Trained]) -> int:
    """Delete what jobs have said that have ended and had the images before them: it names some."""
    ended = [job.folder for job in learned if job.state != "running"]
    return removed(path for x in ended for path in (x / ERROR, x / RUN / EVENTS))


def _still_needed(ledger: "Ledger", own: Sequence[Trained]) -> dict[int, str]:
    """Return, by job, why the run that a request shares with others stays as it is for now."""
    open_ones = _open_by_job(ledger)
    return {
        job.number: f"{job.folder}: the run of request {open_ones[job.number]}, too, which is "
        f"open: {AGAIN}"
        for job in own
        if job.state == "done" and job.number in open_ones
    }


def _made_for_open(ledger: "Ledger", made_by: Iterable[Trained]) -> dict[int, str]:
    """Return, by model, the open requests whose run has made it: a certificate needs its file."""
    open_ones = _open_by_job(ledger)
    return {
        job.model: open_ones[job.number]
        for job in made_by
        if job.model is not None and job.number in open_ones
    }


def _open_by_job(ledger: "Ledger") -> dict[int, str]:
    """Return the numbers of open requests, as text, by the last job that served them."""
    with ledger.reading() as connection:
        query = select(requests.c.id, requests.c.job).where(requests.c.state.not_in(CLOSED))
        rows = connection.execute(query.order_by(requests.c.id)).all()
    found: dict[int, list[str]] = defaultdict(list)
    for row in rows:
        if row.job is not None:
            found[row.job].append(str(row.id))
    return {job: ", ".join(numbers) for job, numbers in found.items()}


def _that_stay(learned: Sequence[Trained], kept: Sequence[Model], line: int) -> list[str]:
    """Return what may have learned the images and stays, in words: what a person decides on."""
    lines = {job.line for job in learned} - {line}
    return [
        *(
            f"{job.folder}: job {job.number} may train on the images: {AGAIN}"
            for job in learned
            if job.state == "running"
        ),
        *(
            f"{model.path}: model {model.number}, {model.state} on line {model.line}, may have "
            "learned the images, too: only a request of its own takes them out"
            for model in kept
            if model.line in lines
        ),
    ]


def _needed(ledger: "Ledger", found: Iterable[Model]) -> list[Path]:
    """Return what must stay: models in use, what open requests and their jobs want, the ledger."""
    with ledger.reading() as connection:
        unfinished = select(requests.c.job).where(requests.c.state.not_in(CLOSED))
        busy = (jobs.c.state == "running") | jobs.c.id.in_(unfinished)
        running = [Path(x) for x in connection.execute(select(jobs.c.folder).where(busy)).scalars()]
    if ledger.engine.dialect.name == "sqlite":
        running.append(Path(str(ledger.engine.url.database)))
    wanted = [*running, *named_by_open_requests(ledger)]
    return [*wanted, *(model.path for model in found if model.state == "in use")]


def _ours(path: Path, needed: Iterable[Path]) -> Path:
    """Check that a path is what unsee made and that nobody needs it.  Raises LedgerError."""
    if not (_is_folder_of_ours(path) if path.is_dir() else _is_buffer(path)):
        raise LedgerError(
            f"Expected the folder of a run, a fleet or a sequence, or a buffer, got {path}: what "
            "unsee did not make is yours to delete"
        )
    for file in needed:
        if file.resolve().is_relative_to(path) or path.is_relative_to(file.resolve()):
            raise LedgerError(f"Expected what nobody needs any more, got {path}, with {file}")
    return path


def _is_folder_of_ours(path: Path) -> bool:
    try:
        words = dict(json.loads((path / CONFIG).read_text()))
    except (OSError, ValueError, TypeError):
        return False
    return words.keys() >= {"data", "retain_fraction", "fingerprint"} or "ids_digest" in words


def _is_buffer(path: Path) -> bool:
    if not path.is_file() or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return {*archive.namelist()} >= OF_A_BUFFER


def _ancestors(found: Sequence[Model], made: Sequence[int]) -> list[Model]:
    """Return the models that came before these and are not in use."""
    parents = {model.number: model.parent for model in found}
    family: set[int | None] = set()
    for number in made:
        parent = parents[number]
        while parent is not None:
            family.add(parent)
            parent = parents[parent]
    return [model for model in found if model.number in family and model.state != "in use"]


def _own(model: Model, folders: Collection[Path]) -> bool:
    """Tell whether a worker made a model, in the folder of a job; other files are people's."""
    return model.path.parent.name == RUN and model.path.parent.parent in folders


def _backups(engine: Engine) -> list[Path]:
    """Return the copies of an SQLite ledger that upgrades made: they hold ids of then."""
    if engine.dialect.name != "sqlite":
        return []
    path = Path(str(engine.url.database)).resolve()
    half = r"(\.\d+\.part)?(-journal)?"
    copies = re.compile(re.escape(path.name) + r"\.before-m\d{4}(\.\d+)?\.bak" + half)
    return [x for x in path.parent.iterdir() if copies.fullmatch(x.name)]


def _drop_schemas(connection: Connection) -> int:
    """Drop the copies of a PostgreSQL ledger that upgrades made, and return how many."""
    if connection.dialect.name != "postgresql":
        return 0
    here = connection.execute(text("SELECT current_schema()")).scalar_one()
    names = inspect(connection).get_schema_names()
    ours = re.compile(re.escape(stem_of_copies(here)) + r"_before_m\d{4}(_\d+)?")
    copies = [name for name in names if ours.fullmatch(name)]
    for name in copies:
        connection.execute(text(f'DROP SCHEMA "{name}" CASCADE'))
    return len(copies)
