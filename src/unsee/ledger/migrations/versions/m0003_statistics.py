"""Let PostgreSQL gather no statistics of ids and keys: they would outlive the rows, in clear."""

from alembic import op

revision, down_revision = "m0003", "m0002"
PRIVATE = (("scopes", "value", "TEXT"), ("keys", "key", "VARCHAR(64)"))


def upgrade() -> None:
    """Gather none from now on; what was gathered goes with a column's type, set as it is."""
    if op.get_bind().dialect.name != "postgresql":
        return
    for table, column, kind in PRIVATE:
        op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET STATISTICS 0")
        op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} TYPE {kind}")
