"""What a ledger stands on: one database, read in snapshots and written by one at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from unsee.events import warn
from unsee.ledger import _traces as traces
from unsee.ledger._chain import Clock, Log
from unsee.ledger._open import opened, snapshot, translated


def utc() -> datetime:
    """Return the time now, in UTC."""
    return datetime.now(UTC)


class Database:
    """The tables of a ledger, and who reads and writes them; arguments and errors: Ledger."""

    def __init__(self, url: str, *, create: bool = True, clock: Clock = utc) -> None:
        self.url, self.clock = url, clock
        self.engine = opened(url, create=create)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """See one state of the ledger."""
        with translated(), snapshot(self.engine) as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Log]:
        """Change the ledger as its only writer; all of it is there in the end, or nothing."""
        with translated(wrote=True), self.engine.begin() as connection:
            yield Log(connection, self.clock)

    @contextmanager
    def beating(self) -> Iterator[Connection]:
        """Change what no log row is about: a lease."""
        with translated(wrote=True), self.engine.begin() as connection:
            yield connection

    def scrub(self, *, rebuild: bool = False) -> None:
        """Bring what was deleted out of the database's files, too, or warn that it stays there.

        The step before is done by then, whatever comes of this.
        """
        try:
            why = traces.scrub(self.engine, rebuild=rebuild)
        except DBAPIError as error:
            why = f"the database said {' '.join(str(error.orig).split())}"
        if why:
            warn(
                f"this is done, but {why}: deleted ids stay in the ledger's files until unsee "
                "purge runs without that"
            )
