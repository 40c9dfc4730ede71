"""Make the tables, or bring older ones up to today after a backup: alembic without its files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, inspect, text

from unsee.events import warn
from unsee.ledger._open import SCHEMAS, VERSION, outside_transactions, take_turn

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
    if version is not None and engine.dialect.name == "sqlite":
        warn(f"the ledger is brought up to date; as it was: {_copied(engine, version)}")
    with engine.begin() as connection:
        take_turn(connection)
        if again(connection) != version:
            return  # another process was faster
        if version is not None and engine.dialect.name == "postgresql":
            warn(
                f"the ledger is brought up to date; as it was: schema {_kept(connection, version)}"
            )
        migrate(connection, to)


def _copied(engine: Engine, version: str) -> Path:
    """Copy an SQLite database beside itself, as it is now."""
    path = Path(str(engine.url.database))
    backup, n = path.with_name(f"{path.name}.before-{version}.bak"), 1
    while backup.exists():
        backup, n = path.with_name(f"{path.name}.before-{version}.{n}.bak"), n + 1
    with outside_transactions(engine) as connection:
        connection.exec_driver_sql("VACUUM INTO ?", (str(backup),))
    return backup


def _kept(connection: Connection, version: str) -> str:
    """Copy all tables of a PostgreSQL database into a schema of their own."""
    inspected = inspect(connection)
    tables, schemas = inspected.get_table_names(), inspected.get_schema_names()
    here = connection.execute(text("SELECT current_schema()")).scalar_one()
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
