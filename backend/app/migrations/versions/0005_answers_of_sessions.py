"""An answer that is kept under an Idempotency-Key goes with the session that it is about.

Those that were kept before, or by processes of an older version, say nothing of their session; they
are forgotten within a day.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column(
        "idempotency_records",
        sa.Column(
            "session_id",
            sa.Uuid(),
            sa.ForeignKey(
                "sessions.id",
                ondelete="CASCADE",
                name="fk_idempotency_records_session_id_sessions",
            ),
        ),
    )
    op.create_index("ix_idempotency_records_session_id", "idempotency_records", ["session_id"])


def downgrade() -> None:
    op.drop_column("idempotency_records", "session_id")
