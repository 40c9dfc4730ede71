"""What a ledger itself keeps of the images of a request, and how that goes when it closes."""

import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, delete, insert, select, text
from sqlalchemy.exc import OperationalError

from unsee.ledger._chain import canonical
from unsee.ledger._open import outside_transactions
from unsee.ledger._schema import keys, scopes
from unsee.ledger._terms import Scope

EMPTIED = (scopes, keys)
PATIENCE = 2000  # milliseconds
NO_LOCK = "55P03"  # of PostgreSQL: a lock was not to be had in time
LAST = "age(CAST(CAST(:last AS text) AS xid))"
OLDER = text(  # sessions that may still see what was there before transaction :last, or hold it
    "SELECT (SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = "
    f"current_database() AND (age(backend_xmin) > {LAST} OR age(backend_xid) > {LAST})) + (SELECT "
    f"count(*) FROM pg_prepared_xacts WHERE database = current_database() AND age(transaction) > "
    f"{LAST})"
)
NOT_OURS = text(  # VACUUM passes over these with no more than a message
    "SELECT count(*) FROM pg_class WHERE oid = ANY (ARRAY['scopes'::regclass, 'keys'::regclass]) "
    "AND NOT pg_has_role(relowner, 'USAGE')"
)
READ = "another process reads the ledger"
ERROR = "error.txt"  # in a job's folder, the text of what failed; the log has its kind alone


def keep(connection: Connection, number: int, scope: Scope) -> None:
    """Store what a request is about, and a key for the digests that the log has of it.

    The key is the request's own.  Without it nobody can tell whether a guess of the ids is right:
    a plain hash of a few guessable ids would still be personal data.
    """
    key = secrets.token_hex(32)
    connection.execute(insert(keys).values(request=number, key=key))
    connection.execute(
        insert(scopes), [{"request": number, "value": value} for value in scope.values]
    )


def keyed(key: str, record: Mapping[str, Any]) -> str:
    """Return the HMAC-SHA-256 of a record, hex."""
    return hmac.new(bytes.fromhex(key), canonical(record).encode(), hashlib.sha256).hexdigest()


def kept(connection: Connection, number: int, kind: str) -> Scope | None:
    """Return what a request is about; None once it is closed."""
    found = select(scopes.c.value).where(scopes.c.request == number).order_by(scopes.c.id)
    values = tuple(connection.execute(found).scalars())
    return Scope(kind, values) if values else None


def empty(connection: Connection, number: int) -> None:
    """Delete the ids and the key of a request."""
    for table in EMPTIED:
        connection.execute(delete(table).where(table.c.request == number))


def clear_ids(folder: Path) -> None:
    """Delete the files of ids that a job's run has read, and parts of them that were begun."""
    for path in (*folder.glob("*.txt"), *folder.glob("*.txt.*.part")):
        if path.name != ERROR:
            path.unlink(missing_ok=True)


def scrub(engine: Engine, *, rebuild: bool = False) -> str:
    """Bring what was deleted out of the database's files, and return what is in the way, if any is.

    SQLite: deleted bytes are zeros already (``secure_delete``); the write-ahead log, which holds
    older states of pages, is written back and cut to nothing.
    PostgreSQL: the two tables are rebuilt, without what no snapshot sees any more.  Its own
    write-ahead log is the server's, and goes when the server recycles it: see
    docs/erasure-requests.md.

    Args:
        engine: of the database.
        rebuild: also an SQLite file as a whole, which takes as long as it is large.

    Raises:
        DBAPIError: if the database is away, or full; the step before it is done all the same.

    """
    with outside_transactions(engine) as connection:
        if engine.dialect.name == "postgresql":
            return _rebuilt(connection)
        patience = connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one()
        connection.exec_driver_sql(f"PRAGMA busy_timeout={PATIENCE}")  # nobody can write meanwhile
        try:
            if rebuild:
                connection.exec_driver_sql("VACUUM")
            busy, *_ = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
        except OperationalError as error:
            if "locked" not in str(error.orig):
                raise
            return READ
        finally:
            connection.exec_driver_sql(f"PRAGMA busy_timeout={patience}")
        return READ if busy else ""


def _rebuilt(connection: Connection) -> str:
    """Rebuild the emptied tables of PostgreSQL, and return what is in the way, if any is."""
    connection.detach()  # its settings end with it
    if connection.execute(NOT_OURS).scalar_one():
        return "its user does not own the tables"
    last = connection.exec_driver_sql("SELECT mod(txid_current(), 4294967296)").scalar_one()
    end = time.monotonic() + PATIENCE / 1000
    while (older := connection.execute(OLDER, {"last": str(last)}).scalar_one()) and (
        time.monotonic() < end
    ):
        time.sleep(0.05)
    connection.exec_driver_sql(f"SET lock_timeout = {PATIENCE}")
    try:
        for table in EMPTIED:
            connection.exec_driver_sql(f"VACUUM (FULL) {table.name}")
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", None) != NO_LOCK:
            raise
        return READ
    return READ if older else ""
