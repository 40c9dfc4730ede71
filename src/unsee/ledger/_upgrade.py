"""Make the tables, or bring older ones up to today after a backup: alembic without its files."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, inspect, text

from unsee.errors import LedgerError
from unsee.events import warn
from unsee.ledger._open import (
    SCHEMAS,
    VERSION,
    outside_transactions,
    stem_of_copies,
    take_turn,
)
from unsee.ledger._schema import metadata

MIGRATIONS = Path(__file__).parent / "migrations"


def upgrade(
    engine: Engine,
    version: str | None,
    again: Callable[[Connection], str | None],
    *,
    to: str = SCHEMAS[-1],
) -> None:
    """Bring a ledger from ``version`` (None: an empty database) to ``to`` in one transaction.

    Args:
        engine: of the database.
        version: that it was seen to have.
        again: looks once more, when no other process can change it.
        to: the migration to end with.

    """
    before = ""
    with engine.begin() as connection:
        take_turn(connection)
        if again(connection) != version:
            return  # another process was faster
        if version is not None and engine.dialect.name == "sqlite":
            before = str(_copied(engine, version))
        elif version is not None:
            before = f"schema {_kept(connection, version)}"
        migrate(connection, to)
    if before:
        warn(f"the ledger was brought up to date; as it was: {before}")


def _copied(engine: Engine, version: str) -> Path:
    """Copy an SQLite database beside itself, as it is now, for the eyes of who may read it.

    It is read by a connection of its own while nobody else can write.
    """
    path = Path(str(engine.url.database)).resolve()
    backup, n = path.with_name(f"{path.name}.before-{version}.bak"), 1
    while backup.exists():
        backup, n = path.with_name(f"{path.name}.before-{version}.{n}.bak"), n + 1
    part = backup.with_name(f"{backup.name}.{os.getpid()}.part")
    try:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL, 0o600))
        part.chmod(path.stat().st_mode & 0o777)
        with outside_transactions(engine) as connection:
            connection.exec_driver_sql("VACUUM INTO ?", (str(part),))
        part.replace(backup)
    except BaseException:
        for left in (part, part.with_name(f"{part.name}-journal")):
            left.unlink(missing_ok=True)
        raise
    return backup


def _kept(connection: Connection, version: str) -> str:
    """Copy the tables of a ledger in PostgreSQL into a schema of their own."""
    inspected = inspect(connection)
    schemas, asked = inspected.get_schema_names(), "current_database(), 'CREATE'"
    if not connection.execute(text(f"SELECT has_database_privilege({asked})")).scalar_one():
        raise LedgerError(
            "Expected the right to make a schema, for a copy of the ledger before it is brought up "
            "to date, got none: GRANT CREATE ON DATABASE, and revoke it afterwards"
        )
    tables = sorted({*inspected.get_table_names()} & {*metadata.tables, VERSION})
    here = stem_of_copies(connection.execute(text("SELECT current_schema()")).scalar_one())
    name, n = f"{here}_before_{version}", 1
    while name in schemas:
        name, n = f"{here}_before_{version}_{n}", n + 1
    connection.execute(text(f'CREATE SCHEMA "{name}"'))
    for table in tables:
        connection.execute(text(f'CREATE TABLE "{name}".{table} AS TABLE {table}'))
    for table, column in (("scopes", "value"), ("keys", "key")):  # statistics outlive their rows
        private = f'ALTER TABLE "{name}".{table} ALTER COLUMN {column} SET STATISTICS 0'
        connection.execute(text(private))
    return name


def migrate(connection: Connection, to: str) -> None:
    """Run the migrations that are missing up to ``to``, as a part of a transaction."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    script = ScriptDirectory.from_config(config)

    def steps(revision: Any, _: Any) -> Any:
        return script._upgrade_revs(to, revision)  # what alembic's own command calls

    with EnvironmentContext(config, script, fn=steps) as environment:
        environment.configure(connection=connection, version_table=VERSION, transactional_ddl=True)
        environment.run_migrations()
