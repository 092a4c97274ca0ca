"""Orders go with their sessions; ours must have been upgraded before."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_foreign_key(
        "orders_session_id_fkey",
        "orders",
        "sessions",
        ["session_id"],
        ["id"],
        ondelete="CASCADE",
    )
