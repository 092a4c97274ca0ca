"""Leases go with their sessions by a trigger for each DELETE, no longer by a foreign key.

The key was checked by a query for every start, though every writer of a lease has its session
locked: it could not go away meanwhile. It was an eighth of a bulk start.
"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"

FOREIGN_KEY = "fk_session_task_leases_session_id_sessions"

# Leases are locked in session order here too, as heartbeats lock them (PostgreSQL, CREATE TRIGGER:
# a transition table holds all rows that the statement deleted).
CREATE_FUNCTION = """
CREATE FUNCTION delete_leases_of_deleted_sessions() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        TRUNCATE session_task_leases;
    ELSE
        WITH held AS MATERIALIZED (
            SELECT session_id FROM session_task_leases
             WHERE session_id IN (SELECT id FROM deleted)
             ORDER BY session_id FOR UPDATE)
        DELETE FROM session_task_leases AS lease USING held
         WHERE lease.session_id = held.session_id;
    END IF;
    RETURN NULL;
END $$"""

AFTER_DELETE = """
CREATE TRIGGER delete_leases AFTER DELETE ON sessions REFERENCING OLD TABLE AS deleted
FOR EACH STATEMENT EXECUTE FUNCTION delete_leases_of_deleted_sessions()"""

AFTER_TRUNCATE = """
CREATE TRIGGER truncate_leases AFTER TRUNCATE ON sessions
FOR EACH STATEMENT EXECUTE FUNCTION delete_leases_of_deleted_sessions()"""


def upgrade() -> None:
    for statement in (CREATE_FUNCTION, AFTER_DELETE, AFTER_TRUNCATE):
        op.execute(statement)
    op.drop_constraint(FOREIGN_KEY, "session_task_leases", type_="foreignkey")


def downgrade() -> None:
    op.execute("DROP FUNCTION delete_leases_of_deleted_sessions CASCADE")
    op.create_foreign_key(
        FOREIGN_KEY, "session_task_leases", "sessions", ["session_id"], ["id"], ondelete="CASCADE"
    )
