"""Open the database of a ledger: SQLite by path, PostgreSQL by URL, with the tables of today."""

import hashlib
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    create_engine,
    event,
    inspect,
    make_url,
    select,
    text,
)
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, TimeoutError
from sqlalchemy.schema import Column, MetaData, Table
from sqlalchemy.types import String

from unsee.errors import BusyError, LedgerError, StorageError, UnseeError

SCHEMAS = ("m0001", "m0002", "m0003")  # the migrations in migrations/versions, in their order
VERSION = "unsee_schema"  # the table that says which of them were made
DISK = ("disk I/O error", "is full", "No space left", "readonly", "unable to open database")
AGAIN = {"40001", "40P01", "55P03"}  # of PostgreSQL: not serializable, a deadlock, a lock not had
READS = {"25006"}  # of PostgreSQL: a standby, or a database that was made read-only
WAIT = 30.0  # seconds for another writer
STALLED = 60.0  # seconds after which PostgreSQL ends a step whose process stands still
COPIED = 44  # bytes of a schema's name in that of its copy: PostgreSQL cuts names at 63
TURN = 0x0E5A5E  # of the lock under which one process makes or changes the tables
_version = Table(VERSION, MetaData(), Column("version_num", String(32)))


def opened(url: str, *, create: bool) -> Engine:
    """Return the engine of a ledger whose tables are those of today.

    Args:
        url: a path, ``sqlite:///PATH`` or ``postgresql://...``.
        create: whether an empty database or a file that is not there becomes a ledger.

    Raises:
        UnseeError: if that is no database that can be used, no ledger, or one of a newer unsee.

    """
    place = _url(url)
    sqlite = place.get_backend_name() == "sqlite"
    if sqlite and not create and not Path(str(place.database)).is_file():
        raise LedgerError(
            f"Expected a ledger at {place.database}, got no file there: unsee request add makes "
            "one; name another with --ledger or UNSEE_LEDGER"
        )
    with translated():
        engine = _sqlite(place) if sqlite else _postgresql(place)
        try:
            _bring_up(engine, create)
        except BaseException:
            engine.dispose()
            raise
        return engine


def _url(text: str) -> URL:
    if "://" not in text:
        return _file(URL.create("sqlite", database=text))
    try:
        url = make_url(re.sub(r"^postgres:", "postgresql:", text))
        backend = url.get_backend_name()
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        raise LedgerError(f"Expected a path or a URL of PostgreSQL, got {error}") from error
    if "@" in (url.host or ""):  # the rest of a password that would stand in every error
        raise LedgerError(
            "Expected one @ in the URL, before the host, got more: one that is meant "
            "to stand in a password is written %40"
        )
    if backend == "postgresql":
        return url.set(drivername="postgresql+psycopg")
    if backend == "sqlite":
        return _file(url.set(drivername="sqlite"))
    raise LedgerError(f"Expected a path or a URL of PostgreSQL, got one of {backend}")


def _file(url: URL) -> URL:
    """Refuse a database of SQLite that is no file: it would be gone with this process."""
    name = (url.database or "").strip()
    if url.query:
        raise LedgerError(
            f"Expected the path of a file alone for a ledger, got {', '.join(url.query)} behind it"
        )
    if not name or name == ":memory:" or name.startswith("file:"):
        raise LedgerError(
            f"Expected a file for a ledger, got {name or 'no name'!r}: name one with --ledger or "
            "UNSEE_LEDGER"
        )
    return url


def _sqlite(url: URL) -> Engine:
    engine = create_engine(url, hide_parameters=True, connect_args={"timeout": WAIT})

    @event.listens_for(engine, "connect")
    def set_up(connection: sqlite3.Connection, _: Any) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver
        for name, value in (
            ("synchronous", "FULL"),
            ("foreign_keys", "ON"),
            ("secure_delete", "ON"),  # what is deleted is overwritten with zeros
        ):
            connection.execute(f"PRAGMA {name}={value}")
        if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            connection.execute("PRAGMA journal_mode=WAL")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        if not options.get("alone"):
            connection.exec_driver_sql("BEGIN" if options.get("reads") else "BEGIN IMMEDIATE")

    return engine


def _postgresql(url: URL) -> Engine:
    try:
        engine = create_engine(
            url,
            hide_parameters=True,  # in errors: they are ids
            pool_pre_ping=True,
            isolation_level="READ COMMITTED",  # whatever the server has for its own
            connect_args={"connect_timeout": 10, "client_encoding": "utf8"},
        )
    except ImportError as error:
        raise LedgerError(
            f"Expected psycopg for PostgreSQL, got {error}: pip install 'unsee[postgres]'"
        ) from error

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _: Any) -> None:
        for name, seconds in (
            ("lock_timeout", WAIT),
            ("idle_in_transaction_session_timeout", STALLED),  # the others wait for the head row
        ):
            connection.execute(f"SET {name} = {1000 * seconds:.0f}")
        connection.commit()

    return engine


def snapshot(engine: Engine) -> Connection:
    """Return a connection that sees one state of the database and waits for no writer."""
    if engine.dialect.name == "sqlite":
        return engine.connect().execution_options(reads=True)
    return engine.connect().execution_options(
        isolation_level="REPEATABLE READ", postgresql_readonly=True
    )


def outside_transactions(engine: Engine) -> Connection:
    """Return a connection for what no transaction allows: VACUUM."""
    if engine.dialect.name == "sqlite":
        return engine.connect().execution_options(alone=True)
    return engine.connect().execution_options(isolation_level="AUTOCOMMIT")


@contextmanager
def translated(*, wrote: bool = False) -> Iterator[None]:
    """Turn what a database refuses into an error that says what to do.

    Args:
        wrote: whether something may have been written when the connection went.

    Raises:
        UnseeError: BusyError, StorageError or LedgerError.

    """
    try:
        yield
    except DBAPIError as error:
        raise _translation(error, wrote) from error
    except UnseeError:
        raise
    except TimeoutError as error:
        raise BusyError(
            f"Expected a connection within {WAIT:.0f} s, got none: nothing was changed, try again "
            "with fewer threads on one ledger"
        ) from error
    except OverflowError as error:
        raise LedgerError(f"Expected numbers that a database holds, got {error}") from error
    except ValueError as error:  # a date or a text of JSON that is none
        raise LedgerError(
            f"Expected a ledger as it was written, got {error}: see unsee ledger verify"
        ) from error


def _translation(error: DBAPIError, wrote: bool) -> UnseeError:
    said, state = " ".join(str(error.orig).split()), getattr(error.orig, "sqlstate", None)
    if "locked" in said or state in AGAIN:
        return BusyError(
            f"Expected the ledger within {WAIT:.0f} s, got {said}: nothing was changed, try again"
        )
    if any(word in said for word in DISK) or state in READS:
        return StorageError(
            f"Expected a ledger that can be written (SQLite writes beside it even to read), got "
            f"{said}: nothing was changed"
        )
    if error.connection_invalidated or "connection" in said:
        look = "look with unsee request list at what was done, then try again"
        return LedgerError(
            f"Expected a database that answers, got {said}: "
            f"{look if wrote else 'start it, or name another with --ledger or UNSEE_LEDGER'}"
        )
    return LedgerError(f"Expected a database that does what a ledger needs, got {said}")


def _bring_up(engine: Engine, create: bool) -> None:
    """Make or upgrade the tables where they are not those of today."""
    with snapshot(engine) as connection:
        version = _checked(connection, create)
    if version == SCHEMAS[-1]:
        return
    from unsee.ledger._upgrade import upgrade  # alembic takes as long to load as all else

    upgrade(engine, version, lambda connection: _checked(connection, create))


def _checked(connection: Connection, create: bool) -> str | None:
    """Return which migration a database is at; None: it is empty and may become a ledger."""
    names = {*inspect(connection).get_table_names()}
    if VERSION not in names:
        if names or not create:
            found = f"the tables {sorted(names)[:5]}" if names else "an empty database"
            raise LedgerError(
                f"Expected a ledger of unsee, got {found}: name its file or database with "
                "--ledger or UNSEE_LEDGER"
            )
        return None
    version = connection.execute(select(_version)).scalar()
    if version not in SCHEMAS:
        raise LedgerError(
            f"Expected a ledger of a schema up to {SCHEMAS[-1]}, got {version!r}, of a newer "
            "unsee: update this one"
        )
    return str(version)


def stem_of_copies(schema: str) -> str:
    """Return how names of a schema's copies begin: short enough, and unlike those of others."""
    if len(schema.encode()) <= COPIED:
        return schema
    digest = hashlib.sha256(schema.encode()).hexdigest()[:8]
    return f"{schema.encode()[: COPIED - 9].decode(errors='ignore')}_{digest}"


def take_turn(connection: Connection) -> None:
    """Wait until no other process changes the tables; SQLite has begun immediately."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:turn)"), {"turn": TURN})
