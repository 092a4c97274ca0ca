"""How long each completed task of a session took."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

TASK_TYPES = ("processing", "export", "adf_validation")


def upgrade() -> None:
    for task_type in TASK_TYPES:
        op.add_column(
            "sessions", sa.Column(f"{task_type}_completed_at", sa.DateTime(timezone=True))
        )
        op.add_column("sessions", sa.Column(f"{task_type}_waited_seconds", sa.REAL()))
        op.add_column("sessions", sa.Column(f"{task_type}_ran_seconds", sa.REAL()))


def downgrade() -> None:
    for task_type in reversed(TASK_TYPES):
        for part in ("ran_seconds", "waited_seconds", "completed_at"):
            op.drop_column("sessions", f"{task_type}_{part}")
