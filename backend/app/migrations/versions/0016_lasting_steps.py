"""Steps may outlive a start in place of a retry, and a reset of the attempts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"

TABLE = "session_task_steps"
COLUMN = "is_lasting"


def upgrade() -> None:
    op.add_column(
        TABLE, sa.Column(COLUMN, sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    # An export under way has kept what it sent without saying so.
    op.execute(
        f"UPDATE {TABLE} SET {COLUMN} = true"  # noqa: S608 - constants only
        " WHERE task_type = 'export' AND name ~ '^(intent|issues) [0-9]+$'"
    )


def downgrade() -> None:
    op.drop_column(TABLE, COLUMN)
