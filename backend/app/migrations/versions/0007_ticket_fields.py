"""A ticket keeps the fields that its document names, and its parent."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("tickets", sa.Column("fields", sa.JSON()))
    op.add_column("tickets", sa.Column("parent", sa.Integer()))


def downgrade() -> None:
    op.drop_column("tickets", "parent")
    op.drop_column("tickets", "fields")
