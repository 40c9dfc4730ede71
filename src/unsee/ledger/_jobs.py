"""Jobs: one run that serves one request or several, held by one worker for as long as its lease.

A worker that dies lets its lease end; then another one goes on in the same folder.  Times of leases
are the database's, so that the clocks of workers do not matter.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, extract, func, insert, or_, select, update

from unsee.errors import LeaseError, LedgerError
from unsee.ledger._approved import CHANGED, changed
from unsee.ledger._asked import stand
from unsee.ledger._chain import Log
from unsee.ledger._models import Model
from unsee.ledger._requests import move
from unsee.ledger._schema import jobs, lines, models, requests
from unsee.ledger._states import State
from unsee.ledger._terms import Scope
from unsee.ledger._traces import clear_ids, kept

RUN = "run"  # where a job's folder has that of its run
EARLIER = "earlier-"  # files of ids of requests that were served before
MOST_DEATHS = 10  # of workers in one job: then it is the job that kills them
HANDED_BACK = ""  # in place of a token: nobody died
ALONGSIDE = "a request in the same run was changed"
SKEW = 1.0  # seconds by which a lease may reach further than it should


@dataclass(frozen=True)
class Job:
    """What a worker has to do, and the token by which it may say what became of it."""

    number: int
    token: str
    line: int
    config: str  # JSON: how they are to be served
    folder: Path
    requests: tuple[int, ...]
    scope: Scope  # of all of them
    earlier: tuple[Scope, ...]  # served on this line, and not closed yet
    model: Model | None  # to begin with; None: as the config says


def place_of(job: int) -> str:
    """Return the name of a job's folder, below that of the workers."""
    return f"job-{job:05d}"


def now(connection: Connection) -> float:
    """Return the database's time, in seconds since 1970."""
    if connection.dialect.name == "sqlite":
        days = select(func.julianday("now") - 2440587.5)
        return float(connection.execute(days).scalar_one()) * 86400.0
    seconds = select(extract("epoch", func.clock_timestamp()))
    return float(connection.execute(seconds).scalar_one())


def claim(log: Log, worker: str, lease: float, folder: Path) -> Job | None:
    """Take over a job whose lease has ended, or begin one; None: there is nothing to do.

    A request fails that is not the one that was approved; others with it are tried again.
    """
    connection = log.connection
    while number := _taken_over(log, worker, lease) or _begun(log, worker, lease, folder):
        served = served_by(connection, number)
        bad = {request for request in served if changed(connection, request)}
        if not bad:
            return _job(connection, number)
        found = connection.execute(select(jobs).where(jobs.c.id == number)).one()
        _end(log, found, "failed")
        for request in served:
            to: State = "failed" if request in bad else "approved"
            move(log, request, to, worker, CHANGED if request in bad else ALONGSIDE, job=number)
        clear_ids(Path(found.folder))
    return None


def _taken_over(log: Log, worker: str, lease: float) -> int | None:
    connection = log.connection
    time = now(connection)
    # A lease that reaches further than it can: the database's clock went back.
    ended = or_(jobs.c.until < time, jobs.c.until > time + jobs.c.lease + SKEW)
    query = select(jobs).where(jobs.c.state == "running", ended).order_by(jobs.c.id)
    # Writers wait for one another at the head of the log; what is locked here beats just now.
    for row in connection.execute(query.with_for_update(skip_locked=True)).all():
        died = row.token != HANDED_BACK and row.until > 0  # 0: handed back, too
        if row.deaths + died > MOST_DEATHS:
            _end(log, row, "failed")
            why = f"{row.deaths + died} workers died of it"
            for number in served_by(connection, row.id):
                move(log, number, "failed", worker, why, job=row.id)
            clear_ids(Path(row.folder))
            continue
        token = secrets.token_hex(32)
        held = {"token": token, "worker": worker, "lease": lease, "until": time + lease}
        held["deaths"] = row.deaths + died
        connection.execute(update(jobs).where(jobs.c.id == row.id).values(**held))
        for number in served_by(connection, row.id):
            log.append(number, worker, "taken over", job=row.id, died=died)
        return int(row.id)
    return None


def _begun(log: Log, worker: str, lease: float, folder: Path) -> int | None:
    connection = log.connection
    approved = requests.c.state == "approved"
    query = (
        select(lines.c.id)
        .join(requests, requests.c.line == lines.c.id)
        .where(approved, lines.c.job.is_(None))
        .order_by(requests.c.due, requests.c.id)
        .limit(1)
    )
    line = connection.execute(query).scalar()
    if line is None:
        return None
    waiting = select(requests).where(approved, requests.c.line == line)
    ordered = waiting.order_by(requests.c.due, requests.c.id)
    numbers = _batch(connection, connection.execute(ordered).all())
    values = {
        "line": line,
        "state": "running",
        "folder": "",
        "worker": worker,
        "token": secrets.token_hex(32),
        "lease": lease,
        "until": now(connection) + lease,
        "deaths": 0,
    }
    made = connection.execute(insert(jobs).values(**values))
    job = int(made.inserted_primary_key[0])  # type: ignore[index]
    place = str(folder.absolute() / place_of(job))
    connection.execute(update(jobs).where(jobs.c.id == job).values(folder=place))
    connection.execute(update(lines).where(lines.c.id == line).values(job=job))
    connection.execute(update(requests).where(requests.c.id.in_(numbers)).values(job=job))
    for number in numbers:
        move(log, number, "running", worker, job=job)
    return job


def _batch(connection: Connection, waiting: Sequence[Row[Any]]) -> list[int]:
    """Return the first request, and those behind it that the same run can serve."""
    first = waiting[0]
    scopes = {row.id: kept(connection, row.id, row.kind) for row in waiting}
    if first.alone or merged([scopes[first.id]]) is None:
        return [first.id]
    return [
        row.id
        for row in waiting
        if (row.kind, row.config, row.alone) == (first.kind, first.config, False)
        and merged([scopes[row.id]]) is not None
    ]


def merged(scopes: Sequence[Scope | None]) -> Scope | None:
    """Return one scope for several of one kind; None: they cannot be put into one rule.

    >>> merged([Scope("class", ("cat",)), Scope("class", ("dog",))]).rule
    'class=cat,dog'

    """
    found = [scope for scope in scopes if scope is not None]
    kinds = {scope.kind for scope in found}
    values = [*dict.fromkeys(value for scope in found for value in scope.values)]
    if kinds == {"ids"}:
        return Scope("ids", tuple(values))
    if kinds == {"class"} and not any("," in value for value in values):
        return Scope("class", (",".join(values),))
    return None


def _job(connection: Connection, number: int) -> Job:
    row = connection.execute(select(jobs).where(jobs.c.id == number)).one()
    served = served_by(connection, number)
    query = select(requests).where(requests.c.id.in_(served)).order_by(requests.c.id)
    rows = connection.execute(query).all()
    own = [kept(connection, r.id, r.kind) for r in rows]
    scope = merged(own) or own[0]
    if scope is None:
        raise LedgerError(f"Expected what request {served[0]} is about, got nothing in the ledger")
    earlier, model = stand(connection, row.line)
    return Job(
        number=number,
        token=row.token,
        line=row.line,
        config=rows[0].config,
        folder=Path(row.folder),
        requests=tuple(served),
        scope=scope,
        earlier=earlier,
        model=model,
    )


def served_by(connection: Connection, job: int) -> list[int]:
    """Return the requests that a job serves, or has served last."""
    query = select(requests.c.id).where(requests.c.job == job).order_by(requests.c.id)
    return [*connection.execute(query).scalars()]


def held(connection: Connection, job: Job) -> bool:
    """Lock a job that a worker holds; False: it has ended, by this worker's own word.

    Raises:
        LeaseError: if it is another worker's by now.

    """
    query = select(jobs.c.state, jobs.c.token).where(jobs.c.id == job.number).with_for_update()
    row = connection.execute(query).one()
    if row.token != job.token:
        raise LeaseError(
            f"Expected job {job.number} to be this worker's, got another's, who took it over when "
            "the lease had ended: nothing was written"
        )
    return bool(row.state == "running")


def beat(connection: Connection, job: Job, lease: float) -> None:
    """Say that a worker is alive: its lease begins anew.  Raises LeaseError."""
    if held(connection, job):
        mine, until = jobs.c.id == job.number, now(connection) + lease
        connection.execute(update(jobs).where(mine).values(until=until))


def hand_back(log: Log, job: Job, worker: str, *, pause: float = 0.0) -> None:
    """Let another worker go on, after ``pause`` seconds.  Raises LeaseError."""
    if held(log.connection, job):
        free = {"until": now(log.connection) + pause if pause else 0.0, "token": HANDED_BACK}
        log.connection.execute(update(jobs).where(jobs.c.id == job.number).values(**free))
        for number in job.requests:
            log.append(number, worker, "handed back", job=job.number)


def fail(log: Log, job: Job, worker: str, why: str, *, anew: bool = False) -> None:
    """Say that a job failed; requests of a batch are tried again, each alone.  Raises LeaseError.

    Args:
        log: of the transaction.
        job: that failed.
        worker: who says so.
        why: the kind of error and no more: its text may name images.
        anew: whether all of it is tried again, in a new folder.

    """
    if not held(log.connection, job):
        return
    _end(log, job, "failed")
    batch = len(job.requests) > 1 and not anew
    if batch:
        mine = requests.c.id.in_(job.requests)
        log.connection.execute(update(requests).where(mine).values(alone=True))
    for number in job.requests:
        move(log, number, "approved" if batch or anew else "failed", worker, why, job=job.number)


def finish(
    log: Log,
    job: Job,
    worker: str,
    model: Model,
    light: str,
    kind: str = "",
    gaps: Mapping[str, Sequence[str]] | None = None,
) -> bool:
    """Say that a job is done; False: it had been said before.  Raises LeaseError.

    Args:
        log: of the transaction.
        job: that is done.
        worker: who says so.
        model: that it has made.
        light: of the audit's verdict.
        kind: of it, as "shallow": what the letter says beside the light.
        gaps: what the run did not test, by why.

    """
    if not held(log.connection, job):
        return False
    _end(log, job, "done")
    log.connection.execute(update(jobs).where(jobs.c.id == job.number).values(model=model.number))
    untested = {why: [*names] for why, names in (gaps or {}).items() if names}
    before = select(models.c.sha256).where(models.c.id == model.parent)
    for number in job.requests:
        log.connection.execute(update(requests).where(requests.c.id == number).values(light=light))
        told = {"number": model.number, "sha256": model.sha256, "replaces": model.parent}
        told["replaced"] = log.connection.execute(before).scalar()
        done: dict[str, Any] = {"job": job.number, "light": light, "verdict": kind}
        move(log, number, "audited", worker, model=told, not_tested=untested, **done)
    return True


def _end(log: Log, job: Any, state: str) -> None:
    number = job.number if isinstance(job, Job) else job.id
    log.connection.execute(update(jobs).where(jobs.c.id == number).values(state=state))
    log.connection.execute(update(lines).where(lines.c.id == job.line).values(job=None))
