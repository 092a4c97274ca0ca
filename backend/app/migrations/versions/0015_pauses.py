"""Claims can be paused, by task type."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0009"


def upgrade() -> None:
    op.create_table(
        "session_task_pauses",
        sa.Column(
            "task_type",
            sa.Enum(
                "processing",
                "export",
                "adf_validation",
                name="task_type",
                native_enum=False,
                create_constraint=True,
                length=20,
            ),
            nullable=False,
        ),
        sa.Column(
            "paused_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("paused_by", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint("task_type", name=op.f("pk_session_task_pauses")),
    )


def downgrade() -> None:
    op.drop_table("session_task_pauses")
