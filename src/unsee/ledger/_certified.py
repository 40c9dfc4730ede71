"""Certificates of runs that served requests: each is a row of the log, and names the row before.

The row is there first.  A process that is killed between the two, or a disk that is full, leaves a
row without a file; the same is then signed again, which gives the same bytes, and no second row.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, select

from unsee.errors import LedgerError
from unsee.ledger._chain import Log
from unsee.ledger._home import identity, marked
from unsee.ledger._jobs import RUN, served_by
from unsee.ledger._replay import entries
from unsee.ledger._schema import jobs

if TYPE_CHECKING:
    from unsee.certificate._certify import Draft
    from unsee.ledger._ledger import Ledger

CERTIFIED = "certified"
TIE = ("requests", "row", "hash")
NAME = re.compile(r"job-(\d{5,9})")  # of a job's folder


def certify(
    ledger: "Ledger", folder: Path, key: Path, who: str, out: Path | None, passphrase: bytes | None
) -> Path:
    """Certify a run that served requests.

    Args:
        ledger: of the requests.
        folder: of the run.
        key: the file of a private key.
        who: does so.
        out: the certificate to write; None: in the folder.
        passphrase: of an encrypted key.

    """
    from unsee import certificate
    from unsee.folder import CERTIFICATE, write

    with ledger.reading() as connection:
        _needed(connection, folder)
    draft = certificate.draft(folder, key, passphrase=passphrase)
    path = out or folder / CERTIFICATE
    with ledger.writing() as log:
        numbers = _needed(log.connection, folder)
        lost = _lost(log.connection, numbers, draft, path)
        content = lost or _noted(log, numbers, draft, who, certificate.now())
    write(path, content)
    return path


def served(connection: Connection, folder: Path) -> list[int]:
    """Return the requests that a run is of; none: it is no run of this ledger."""
    job = _job(connection, folder)
    return [] if job is None else served_by(connection, job.id)


def _job(connection: Connection, folder: Path) -> Any:
    """Return the job whose run a folder is, wherever that was moved to; None: there is none."""
    run = folder.resolve()
    place = run.parent
    number = NAME.fullmatch(place.name)
    if run.name != RUN or not number or marked(place.parent) != identity(connection):
        return None
    query = select(jobs.c.id, jobs.c.state).where(jobs.c.id == int(number[1]))
    return connection.execute(query).one_or_none()


def _needed(connection: Connection, folder: Path) -> list[int]:
    """Return the requests that a run has served.  Raises LedgerError."""
    job = _job(connection, folder)
    if job is None:
        raise LedgerError(
            f"Expected the run of a request of this ledger, got {folder}: such runs are "
            "JOBS/job-00001/run, where JOBS is the folder of its workers; any other is certified "
            "without a ledger, --ledger ''"
        )
    if job.state != "done":
        raise LedgerError(
            f"Expected the run of an audited request, got that of job {job.id}, which is "
            f"{job.state}: wait until a worker has finished it"
        )
    return served_by(connection, job.id)


def _noted(log: Log, numbers: list[int], draft: "Draft", who: str, made: str) -> bytes:
    """Sign, with the end of the log in it, and write down that it was."""
    tie = {"requests": numbers, "row": log.seq, "hash": log.hash}
    content = draft.signed(made, tie)
    facts = {"certificate": _sha256(content), "made": made, **tie}
    for number in numbers:
        log.append(number, who, CERTIFIED, **facts)
    return content


def _lost(connection: Connection, numbers: list[int], draft: "Draft", path: Path) -> bytes | None:
    """Sign again what the last row says was signed; None: it is there, or was another key's."""
    rows = [row for row in entries(connection, numbers[0]) if row.what == CERTIFIED]
    if not rows:
        return None
    facts: dict[str, Any] = json.loads(rows[-1].details)
    if path.exists() and _sha256(path.read_bytes()) == facts["certificate"]:
        return None
    content = draft.signed(facts["made"], {name: facts[name] for name in TIE})
    return content if _sha256(content) == facts["certificate"] else None


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
