"""Keys may have the role viewer: to look, and to change nothing."""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0012"

TABLE = "api_keys"
CHECK = "ck_api_keys_role"


def upgrade() -> None:
    op.drop_constraint(op.f(CHECK), TABLE, type_="check")
    op.create_check_constraint(op.f(CHECK), TABLE, "role IN ('viewer', 'user', 'admin')")


def downgrade() -> None:
    # An earlier version knows no viewers, and must not take them for users.
    op.execute(
        "UPDATE api_keys SET role = 'user', revoked_at = coalesce(revoked_at, clock_timestamp())"
        " WHERE role = 'viewer'"
    )
    op.drop_constraint(op.f(CHECK), TABLE, type_="check")
    op.create_check_constraint(op.f(CHECK), TABLE, "role IN ('user', 'admin')")
