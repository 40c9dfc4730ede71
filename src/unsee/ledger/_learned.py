"""Which jobs may have trained on the images of a request, and which models they left of it.

A job trains on what its data has: all images but those that it forgets, those that were served on
its line before it began, and those that were out of the source by then.
"""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import select

from unsee.ledger._chain import Entry
from unsee.ledger._home import is_strange
from unsee.ledger._line import FILES
from unsee.ledger._requests import ErasureRequest
from unsee.ledger._schema import jobs, lines, requests
from unsee.ledger._states import CLOSED

if TYPE_CHECKING:
    from unsee.ledger._ledger import Ledger

ENDINGS = (".safetensors", ".pt")
SERVED = ("completed", "partly_completed")


@dataclass(frozen=True)
class Trained:
    """A job as this module sees it."""

    number: int
    line: int
    state: str  # running, done, failed
    folder: Path
    model: int | None  # that it has made
    requests: frozenset[int]
    begun: int  # row of the log
    data: str  # as the source is called


def all_jobs(ledger: "Ledger") -> list[Trained]:
    """Return all jobs in folders of this ledger's own, with what the log says of them."""
    begun: dict[int, int] = {}
    served: dict[int, set[int]] = defaultdict(set)
    for row in ledger.entries():
        if row.what == "running" and row.request is not None:
            job = int(json.loads(row.details)["job"])
            begun.setdefault(job, row.seq)
            served[job].add(row.request)
    with ledger.reading() as connection:
        rows = connection.execute(select(jobs).order_by(jobs.c.id)).all()
        strange = {x: is_strange(connection, x) for x in {Path(row.folder).parent for row in rows}}
        found = [row for row in rows if not strange[Path(row.folder).parent]]
        told = connection.execute(select(requests.c.id, requests.c.config)).all()
    data = {row.id: str(json.loads(row.config)["data"]) for row in told}
    return [
        Trained(
            number=row.id,
            line=row.line,
            state=row.state,
            folder=Path(row.folder),
            model=row.model,
            requests=frozenset(served[row.id]),
            begun=begun.get(row.id, 0),
            data=data[min(served[row.id])] if served[row.id] else "",
        )
        for row in found
    ]


def learners(
    found: Iterable[Trained], request: ErasureRequest, rows: Sequence[Entry]
) -> list[Trained]:
    """Return the jobs whose models may have been trained on the images of a closed request.

    Args:
        found: all jobs.
        request: that is closed.
        rows: its part of the log.

    """
    found = [*found]
    own = [job for job in found if request.number in job.requests]
    if request.state not in SERVED:
        return own  # its images stay where they are: others may go on to train on them
    served = max(row.seq for row in rows if row.what == "audited")
    closed = max(row.seq for row in rows if row.what in SERVED)
    sources = {job.data for job in own}
    return [
        job
        for job in found
        if (job.line == request.line or job.data in sources)
        and job.begun < (served if job.line == request.line else closed)
        and not (request.number in job.requests and job.state == "done")
    ]


def trained_files(folder: Path, kept: Collection[Path]) -> list[Path]:
    """Return the files of models below a job's folder, whole or half written, but those to keep.

    A file to keep lies in one container or in two: ``model.safetensors``, ``model.pt``.  Of a
    folder to keep all files stay.
    """
    stay = {place for path in kept for place in (path.resolve(), path.resolve().with_suffix(""))}
    return [
        path
        for path in sorted(folder.rglob("*"))
        if any(path.name.endswith(e) or f"{e}." in path.name for e in ENDINGS)
        and not stay & {path.resolve().with_suffix(""), *path.resolve().parents}
    ]


def named_by_open_requests(ledger: "Ledger") -> list[Path]:
    """Return the files that open requests will be served with: of --model, --oracle and so on."""
    with ledger.reading() as connection:
        query = select(requests.c.config, lines.c.original).join(
            lines, requests.c.line == lines.c.id
        )
        rows = connection.execute(query.where(requests.c.state.not_in(CLOSED))).all()
    settings = [json.loads(text) for row in rows for text in (row.config, row.original)]
    return [Path(each[name]) for each in settings for name in FILES if each.get(name)]
