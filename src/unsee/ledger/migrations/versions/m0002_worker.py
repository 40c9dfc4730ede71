"""Jobs that workers hold by a lease, and models that replace each other."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "m0002", "m0001"


def upgrade() -> None:
    """Add what workers need; what is there stays as it is."""
    op.create_table(
        "models",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("line", sa.Integer, sa.ForeignKey("lines.id"), nullable=False, index=True),
        sa.Column("parent", sa.Integer, sa.ForeignKey("models.id")),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("line", sa.Integer, sa.ForeignKey("lines.id"), nullable=False),
        sa.Column("state", sa.String(16), nullable=False, index=True),
        sa.Column("folder", sa.Text, nullable=False),
        sa.Column("worker", sa.String(200), nullable=False),
        sa.Column("token", sa.String(64), nullable=False),
        sa.Column("lease", sa.Float, nullable=False),
        sa.Column("until", sa.Float, nullable=False),
        sa.Column("deaths", sa.Integer, nullable=False),
        sa.Column("model", sa.Integer, sa.ForeignKey("models.id")),
    )
    op.add_column("lines", sa.Column("job", sa.Integer))
    op.add_column("requests", sa.Column("job", sa.Integer))
    op.create_index("ix_requests_job", "requests", ["job"])
    op.add_column(
        "requests",
        sa.Column("alone", sa.Boolean, nullable=False, server_default=sa.false()),
    )
