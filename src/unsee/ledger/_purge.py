"""Delete what was kept of a closed request's images, and retire the models that knew them."""

import json
import shutil
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, inspect, select, text, update

from unsee.errors import LedgerError
from unsee.ledger._chain import Entry
from unsee.ledger._jobs import RUN
from unsee.ledger._models import Model
from unsee.ledger._schema import jobs, models

if TYPE_CHECKING:
    from unsee.ledger._ledger import Ledger

AUDIT, CONFIG = "audit.json", "config.json"
OF_A_RUN = (  # what may name or show images, by their ids, pixels or digests
    *("arrays.npz", "references", CONFIG, "stages.json", "events.jsonl", ".lock"),
    "original.safetensors",
)
OF_A_BUFFER = {"images.npy", "ids.npy", "counts.npy", "facts.npy"}
LEFT_OUT = "(destroyed)"


@dataclass(frozen=True)
class Purged:
    """What went, and what a person has to see to."""

    files: int
    retired: tuple[int, ...]  # models
    left: tuple[str, ...]


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
    request, found = ledger.show(number), ledger.models()
    if request.open:
        raise LedgerError(
            f"Expected a closed request to purge, got {number}, which is {request.state}: its "
            "images are still needed to serve it"
        )
    doomed = [_ours(Path(path).resolve(), _needed(ledger, found)) for path in also]
    folders, made = _served(ledger, ledger.entries(number))
    retired = _ancestors(found, made)
    files = sum(_cleaned(folder) for folder in folders)
    others = [m.path for m in retired if not _own(m, folders) and m.path.exists()]
    left = tuple(f"{path}: a model that was replaced and is not ours to delete" for path in others)
    for model in retired:
        files += _own(model, folders) and _removed([model.path, model.path.with_suffix(".pt")])
    files += _removed(doomed)
    with ledger.writing() as log:
        gone = [model.number for model in retired]
        log.connection.execute(update(models).where(models.c.id.in_(gone)).values(state="retired"))
        kept = _drop_schemas(log.connection)
        log.append(number, who, "purged", files=files, retired=gone)
    files += kept + _removed(_backups(ledger.engine))
    return Purged(files, tuple(gone), left)


def _needed(ledger: "Ledger", found: Iterable[Model]) -> list[Path]:
    """Return what must stay: models in use, folders of running jobs, the ledger itself."""
    with ledger.reading() as connection:
        query = select(jobs.c.folder).where(jobs.c.state == "running")
        running = [Path(folder) for folder in connection.execute(query).scalars()]
    if ledger.engine.dialect.name == "sqlite":
        running.append(Path(str(ledger.engine.url.database)))
    return [*running, *(model.path for model in found if model.state == "in use")]


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


def _served(ledger: "Ledger", rows: Iterable[Entry]) -> tuple[list[Path], list[int]]:
    """Return the folders of all jobs that a request had, and the models that they made."""
    told = {json.loads(row.details).get("job") for row in rows} - {None}
    with ledger.reading() as connection:
        found = connection.execute(select(jobs).where(jobs.c.id.in_(told))).all()
    return [Path(row.folder) for row in found], [row.model for row in found if row.model]


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


def _own(model: Model, folders: Sequence[Path]) -> bool:
    """Tell whether a worker made a model, in a folder beside these; other files are people's."""
    job = model.path.parent.parent
    return model.path.parent.name == RUN and any(job.parent == f.parent for f in folders)


def _cleaned(folder: Path) -> int:
    """Delete what a job keeps of images, and take the digest of their ids out of the rest."""
    run = folder / RUN
    parts = folder.rglob("*.part")  # of files that a killed worker had begun
    count = _removed([*folder.glob("*.txt"), *parts, *(run / name for name in OF_A_RUN)])
    audit = run / AUDIT
    if audit.exists():
        from unsee.folder import write

        record = json.loads(audit.read_text())
        digest = record.get("forget", {}).get("ids_digest")
        pages = [path for path in (audit, run / "report.html") if digest and path.exists()]
        for path in pages:
            content = path.read_bytes().replace(str(digest).encode(), LEFT_OUT.encode())
            write(path, content)
    return count


def _removed(paths: Iterable[Path]) -> int:
    """Delete files and folders that are there, and return how many files that were."""
    count = 0
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            count += sum(not inner.is_dir() for inner in path.rglob("*"))
            shutil.rmtree(path)
        elif path.exists() or path.is_symlink():
            count += 1
            path.unlink()
    return count


def _backups(engine: Engine) -> list[Path]:
    """Return the copies of an SQLite ledger that upgrades made: they hold ids of then."""
    if engine.dialect.name != "sqlite":
        return []
    path = Path(str(engine.url.database))
    return [*path.parent.glob(f"{path.name}.before-*.bak")]


def _drop_schemas(connection: Connection) -> int:
    """Drop the copies of a PostgreSQL ledger that upgrades made, and return how many."""
    if connection.dialect.name != "postgresql":
        return 0
    here = connection.execute(text("SELECT current_schema()")).scalar_one()
    names = inspect(connection).get_schema_names()
    copies = [name for name in names if name.startswith(f"{here}_before_m")]
    for name in copies:
        connection.execute(text(f'DROP SCHEMA "{name}" CASCADE'))
    return len(copies)
