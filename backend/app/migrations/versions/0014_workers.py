"""Workers that are alive keep a row each."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0014"
down_revision = "0010"


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "session_task_workers",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("version", sa.String(100), nullable=False),
        sa.Column("engine", sa.String(20), nullable=False),
        sa.Column("concurrency", sa.Integer(), nullable=False),
        sa.Column("task_types", postgresql.ARRAY(sa.String(20)), nullable=False),
        sa.Column("session_ids", postgresql.ARRAY(sa.Uuid())),
        sa.Column("started_at", moment, nullable=False),
        sa.Column("seen_at", moment, server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("leased_until", moment, nullable=False),
        sa.Column("is_draining", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("drain_requested_at", moment),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_session_task_workers")),
        postgresql_with={"fillfactor": 50},
        prefixes=["UNLOGGED"],
    )


def downgrade() -> None:
    op.drop_table("session_task_workers")
