"""Requests, what they are about, the log, and the checklist."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "m0001", None

ONLY_ADDED_TO = {
    "sqlite": [
        f"CREATE TRIGGER events_no_{verb} BEFORE {verb} ON events "
        "BEGIN SELECT RAISE(ABORT, 'the log is only added to'); END"
        for verb in ("update", "delete")
    ],
    "postgresql": [
        "CREATE FUNCTION events_only_added_to() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the log is only added to'; END $$",
        "CREATE TRIGGER events_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON events "
        "FOR EACH STATEMENT EXECUTE FUNCTION events_only_added_to()",
    ],
}


def upgrade() -> None:
    """Make the first tables."""
    op.create_table(
        "lines",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("original", sa.Text, nullable=False),
        sa.UniqueConstraint("original", name="lines_original"),
    )
    op.create_table(
        "requests",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("subject", sa.String(128), nullable=False),
        sa.Column("line", sa.Integer, sa.ForeignKey("lines.id"), nullable=False),
        sa.Column("config", sa.Text, nullable=False),
        sa.Column("received", sa.Date, nullable=False),
        sa.Column("due", sa.Date, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("state", sa.String(24), nullable=False, index=True),
        sa.Column("added_by", sa.String(200), nullable=False),
        sa.Column("light", sa.String(16), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "scopes",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("request", sa.Integer, sa.ForeignKey("requests.id"), nullable=False, index=True),
        sa.Column("value", sa.Text, nullable=False),
    )
    op.create_table(
        "keys",
        sa.Column(
            "request",
            sa.Integer,
            sa.ForeignKey("requests.id"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("key", sa.String(64), nullable=False),
    )
    op.create_table(
        "checklist",
        sa.Column(
            "request",
            sa.Integer,
            sa.ForeignKey("requests.id"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("item", sa.String(24), primary_key=True),
        sa.Column("answer", sa.String(8), nullable=False),
        sa.CheckConstraint("answer in ('done', 'refused')", name="checklist_answer"),
    )
    op.create_table(
        "events",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("request", sa.Integer, sa.ForeignKey("requests.id"), index=True),
        sa.Column("at", sa.String(40), nullable=False),
        sa.Column("who", sa.String(200), nullable=False),
        sa.Column("what", sa.String(40), nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("details", sa.Text, nullable=False),
        sa.Column("previous", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
    )
    chain = op.create_table(
        "chain",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.CheckConstraint("id = 1", name="chain_one_row"),
    )
    op.bulk_insert(chain, [{"id": 1, "seq": 0, "hash": "0" * 64}])
    for statement in ONLY_ADDED_TO[op.get_bind().dialect.name]:
        op.execute(statement)
