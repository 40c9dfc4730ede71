"""The log that only grows: each row carries the digest of the row before it."""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update

from unsee.errors import LedgerError
from unsee.ledger._schema import chain, events

HEADLESS = "a row of the ledger was deleted; unsee ledger verify says what is left"
GENESIS = "0" * 64  # what the first row has for a row before it
Clock = Callable[[], datetime]


@dataclass(frozen=True)
class Entry:
    """One row of the log: who did what, when and why; ordered by ``seq``, never by ``at``."""

    seq: int  # from 1, without gaps
    request: int | None
    at: str  # ISO 8601, UTC
    who: str  # as claimed
    what: str
    why: str
    details: str  # canonical JSON
    previous: str  # hex SHA-256
    hash: str

    @property
    def digest(self) -> str:
        """The SHA-256 of all of the row but that digest itself, as canonical JSON."""
        record = asdict(self)
        del record["hash"]
        return hashlib.sha256(canonical(record).encode()).hexdigest()

    @property
    def told(self) -> str:
        """What happened in words, with the item, date, light or job that it is about."""
        about, words = json.loads(self.details), self.what.replace("_", " ")
        if "item" in about:
            return f"{words}: {about['item']}"
        if self.what == "extended":
            return f"{words} to {about['due']}"
        light = ": ".join(filter(None, (about.get("light"), about.get("verdict"))))
        known = [light, f"job {about['job']}" if "job" in about else None]
        told = ", ".join(filter(None, known))
        return f"{words} ({told})" if told else words


@dataclass(frozen=True)
class Checked:
    """What is known of a log after reading all of it."""

    count: int  # rows that are as they were written
    last: str  # the hash of the last of them
    bad: int | None = None  # the first row that is not
    why: str = ""


def canonical(record: Any) -> str:
    r"""Return the one JSON text of a record: sorted keys, no space, ASCII.

    >>> canonical({"b": 1, "a": "ü"})
    '{"a":"\\u00fc","b":1}'

    """
    return json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False)


class Log:
    """The end of the log, held by one writer until its transaction ends."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self.connection, self.clock = connection, clock
        # On PostgreSQL one writer waits here for the other; SQLite has begun immediately.
        head = connection.execute(select(chain).with_for_update()).one_or_none()
        if head is None:
            raise LedgerError(f"Expected the head of the log, got none: {HEADLESS}")
        self.seq, self.hash = head.seq, head.hash

    def append(
        self, request: int | None, who: str, what: str, why: str = "", **details: Any
    ) -> Entry:
        """Add a row; with the rest of the transaction it is there or it is not."""
        at = self.clock().isoformat(timespec="microseconds")
        self.seq += 1
        row = Entry(self.seq, request, at, who, what, why, canonical(details), self.hash, "")
        row = Entry(**{**asdict(row), "hash": row.digest})
        self.hash = row.hash
        self.connection.execute(insert(events).values(**asdict(row)))
        self.connection.execute(update(chain).values(seq=row.seq, hash=row.hash))
        return row


def checked(rows: Iterable[Entry], seq: int, last: str, expected: str | None = None) -> Checked:
    """Find the first row that is not as it was written.

    Args:
        rows: the log, in the order of ``seq``.
        seq: how many rows the ledger says that it has.
        last: the hash that it says the last one has.
        expected: a hash that somebody wrote down when it was the last one: without it, a log of
            which the end is cut off and the head rewritten looks like a shorter one.

    """
    expected = None if expected is None else expected.strip().lower()
    place, previous, seen = 0, GENESIS, expected in (None, GENESIS)
    for row in rows:
        place += 1
        wrong = _wrong(row, place, previous)
        if wrong:
            return Checked(place - 1, previous, place, wrong)
        previous = row.hash
        seen |= row.hash == expected
    if place < seq:
        return Checked(place, previous, place + 1, f"is missing: there should be {seq} rows")
    if place > seq or previous != last:
        return Checked(place, previous, place, "is not the one that the head of the log names")
    if not seen:
        return Checked(place, previous, place + 1, "is missing: no row has the hash expected")
    return Checked(place, previous)


def _wrong(row: Entry, place: int, previous: str) -> str:
    if row.seq != place:
        return f"is missing: row {row.seq} stands in its place"
    if row.previous != previous:
        return "does not follow the row before it"
    if row.hash != row.digest:
        return "is not what was written: its hash is another"
    return ""
