"""Numbered as ours are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "documents",
        sa.Column("number", sa.Integer(), primary_key=True),
        sa.Column("title", sa.String(), nullable=False),
    )
    op.create_table("exports", sa.Column("number", sa.Integer(), primary_key=True))
    op.create_table(
        "orders",
        sa.Column("number", sa.Integer(), primary_key=True),
        sa.Column("session_id", sa.Uuid(), nullable=False),
    )
