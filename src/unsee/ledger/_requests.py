"""Rows of the table of requests, and the steps that change one, inside a writer's transaction."""

from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import Connection, Select, func, insert, select, update

from unsee.errors import LedgerError
from unsee.ledger._chain import Log
from unsee.ledger._schema import checklist, requests
from unsee.ledger._states import CLOSED, TRANSITIONS, State, follow


@dataclass(frozen=True)
class ErasureRequest:
    """One request as it stands; ``subject`` is what another system calls the person."""

    number: int
    subject: str
    line: int  # an original model, and what replaces it
    received: date
    due: date
    kind: str  # of the forget rule
    count: int  # of ids; 1 for a rule in words
    state: State
    added_by: str
    light: str  # of the audit's verdict; empty before there is one
    job: int | None  # that served it last

    @property
    def open(self) -> bool:
        """Whether something is still to be done."""
        return self.state not in CLOSED


def read(row: Any) -> ErasureRequest:
    """Return a request from a row of the table."""
    facts = dict(row)
    names = ErasureRequest.__dataclass_fields__
    return ErasureRequest(number=facts["id"], **{k: v for k, v in facts.items() if k in names})


def new(connection: Connection, **facts: Any) -> int:
    """Add a request that was received, and return its number."""
    values = {"state": "received", "light": "", **facts}
    made = connection.execute(insert(requests).values(**values))
    return int(made.inserted_primary_key[0])  # type: ignore[index]


def get(connection: Connection, number: int) -> ErasureRequest:
    """Return one request.  Raises LedgerError if there is none."""
    query = select(requests).where(requests.c.id == number)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise LedgerError(f"Expected the number of a request, got {number}: see unsee request list")
    return read(row)


def settings(connection: Connection, number: int) -> str:
    """Return how a request is to be served, as JSON.  Raises LedgerError if there is none."""
    query = select(requests.c.config).where(requests.c.id == get(connection, number).number)
    return str(connection.execute(query).scalar_one())


def listed(
    connection: Connection, open_only: bool, limit: int | None, offset: int
) -> list[ErasureRequest]:
    """Return requests in the order of their due dates, ``limit`` of them from ``offset`` on."""
    query = _wanted(select(requests), open_only).order_by(requests.c.due, requests.c.id)
    query = query.limit(limit).offset(offset) if limit is not None else query
    return [read(row) for row in connection.execute(query).mappings()]


def count(connection: Connection, open_only: bool) -> int:
    """Return the number of requests."""
    query = _wanted(select(func.count()).select_from(requests), open_only)
    return int(connection.execute(query).scalar_one())


def _wanted(query: Select[Any], open_only: bool) -> Select[Any]:
    return query.where(requests.c.state.not_in(CLOSED)) if open_only else query


def answers(connection: Connection, number: int) -> dict[str, str]:
    """Return the answers to a request's checklist so far."""
    query = select(checklist.c.item, checklist.c.answer).where(checklist.c.request == number)
    return {item: answer for item, answer in connection.execute(query)}


def move(log: Log, number: int, to: State, who: str, why: str = "", **details: Any) -> None:
    """Bring a request to another state, and write that down.  Raises LedgerError."""
    follow(number, get(log.connection, number).state, to)
    log.connection.execute(update(requests).where(requests.c.id == number).values(state=to))
    log.append(number, who, to, why, **details)


def extend(log: Log, number: int, until: date, who: str, why: str) -> None:
    """Put the due date of an open request off.  Raises LedgerError."""
    found = get(log.connection, number)
    if not found.open or until <= found.due:
        raise LedgerError(
            f"Expected an open request and a date after {found.due}, got request {number}, "
            f"which is {found.state}, and {until}"
        )
    log.connection.execute(update(requests).where(requests.c.id == number).values(due=until))
    log.append(number, who, "extended", why, due=str(until), before=str(found.due))


def tick(log: Log, number: int, item: str, answer: str, who: str, why: str) -> None:
    """Answer an item of the checklist; the last answer counts."""
    found = get(log.connection, number)
    if not TRANSITIONS[found.state] or found.state == "received":
        raise LedgerError(
            f"Expected an approved request whose checklist is open, got {number}, {found.state}"
        )
    key = (checklist.c.request == number) & (checklist.c.item == item)
    changed = log.connection.execute(update(checklist).where(key).values(answer=answer))
    if not changed.rowcount:
        values = {"request": number, "item": item, "answer": answer}
        log.connection.execute(insert(checklist).values(**values))
    log.append(number, who, f"checklist {answer}", why, item=item)
