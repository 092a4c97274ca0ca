"""Notes name the options that change them, apart from their text."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.add_column(
        "session_notes",
        sa.Column("options", ARRAY(sa.Text), server_default=sa.text("'{}'"), nullable=False),
    )


def downgrade() -> None:
    op.drop_column("session_notes", "options")
