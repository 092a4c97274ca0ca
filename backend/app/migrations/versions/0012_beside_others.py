"""Our own version table, and leases that are deleted in the schema of their sessions.

The version moved before this began (`app.core.schema_version.take_version_over`). The trigger's
function named its table without a schema, so that a session deleted by another program, with
another `search_path`, kept its lease, or could not be deleted at all.
"""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0014"

# Leases are locked in session order here too, as heartbeats lock them (PostgreSQL, CREATE TRIGGER:
# a transition table holds all rows that the statement deleted).
REPLACE_FUNCTION = """
CREATE OR REPLACE FUNCTION delete_leases_of_deleted_sessions() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        EXECUTE format('TRUNCATE %I.session_task_leases', TG_TABLE_SCHEMA);
    ELSE
        EXECUTE format('
            WITH held AS MATERIALIZED (
                SELECT session_id FROM %1$I.session_task_leases
                 WHERE session_id IN (SELECT id FROM deleted)
                 ORDER BY session_id FOR UPDATE)
            DELETE FROM %1$I.session_task_leases AS lease USING held
             WHERE lease.session_id = held.session_id', TG_TABLE_SCHEMA);
    END IF;
    RETURN NULL;
END $$"""

FORMER_FUNCTION = """
CREATE OR REPLACE FUNCTION delete_leases_of_deleted_sessions() RETURNS trigger
LANGUAGE plpgsql AS $$
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


def upgrade() -> None:
    op.execute(REPLACE_FUNCTION)


def downgrade() -> None:
    op.execute(FORMER_FUNCTION)
