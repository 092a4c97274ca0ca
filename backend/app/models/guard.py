"""The guard: triggers with which PostgreSQL refuses illegal transitions by any program.

The statements of the repository and the ORM listener store legal transitions only; SQL that never
meets them (`update(SessionTask)`, psql, another language) can store a lie. With the guard, which
`session-tasks db upgrade --guard` installs, it cannot. The law of transitions is a condition of the
trigger, so it is evaluated without a call, and costs no WAL as the trigger comes after the row
(docs/decisions/law-in-the-database.md has the figures). The stage is compared at commit, by a
deferred trigger: session and task may be written by two statements.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from app.core.schema_version import INSTALLED_SCHEMA
from app.models.task_state import MAX_RETRY_COUNT
from app.values.states import NEXT_TYPE, SessionStage, TaskStatus, TaskType

if TYPE_CHECKING:
    from sqlalchemy import Connection

_RUNNING, _COMPLETED, _FAILED, _CANCELLED = (f"'{status.value}'" for status in TaskStatus)
_ADVANCES = ", ".join(f"('{done.value}', '{after.value}')" for done, after in NEXT_TYPE.items())
_LAST = f"'{list(TaskType)[-1].value}'"

LEGAL_UPDATE = f"""
NEW.id = OLD.id AND NEW.session_id = OLD.session_id AND CASE
WHEN NEW.task_id = OLD.task_id THEN
    NEW.task_type = OLD.task_type AND NEW.started_at = OLD.started_at AND CASE
    WHEN NEW.status = OLD.status THEN
        NEW.completed_at IS NOT DISTINCT FROM OLD.completed_at
        AND NEW.failed_at IS NOT DISTINCT FROM OLD.failed_at
        AND (NEW.retry_count = OLD.retry_count OR NEW.status = {_FAILED} AND NEW.retry_count = 0)
    WHEN OLD.status = {_RUNNING} THEN
        NEW.retry_count = CASE NEW.status
            WHEN {_FAILED} THEN least(OLD.retry_count + 1, {MAX_RETRY_COUNT})
            ELSE OLD.retry_count END
    ELSE false END
WHEN NEW.status <> {_RUNNING} THEN false
WHEN NEW.task_type = OLD.task_type THEN
    NEW.retry_count = OLD.retry_count AND (OLD.status = {_CANCELLED}
        OR OLD.status = {_FAILED} AND OLD.retry_count < {MAX_RETRY_COUNT})
ELSE OLD.status = {_COMPLETED} AND NEW.retry_count = 0
    AND (OLD.task_type, NEW.task_type) IN ({_ADVANCES})
END"""
"""Over OLD and NEW: one of the transitions in the table of `app.models.session`."""

LEGAL_INSERT = f"""
NEW.task_type = '{TaskType.PROCESSING.value}' AND NEW.status = {_RUNNING} AND NEW.retry_count = 0"""

_STAGE = f"""
CASE WHEN task.task_type IS NULL THEN '{SessionStage.CREATED.value}'
     WHEN task.status = {_COMPLETED} AND task.task_type = {_LAST}
     THEN '{SessionStage.COMPLETED.value}' ELSE task.task_type END"""

_FUNCTIONS = (
    """
CREATE OR REPLACE FUNCTION {schema}.refuse_task_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'check_violation',
        MESSAGE = format('illegal transition of session %s: %s to %s %s', NEW.session_id,
            CASE TG_OP WHEN 'INSERT' THEN 'no task'
                       ELSE OLD.task_type || ' ' || OLD.status END,
            NEW.task_type, NEW.status),
        HINT = 'Start, retry, complete, fail and cancel tasks by SessionRepository or the methods '
               'of SessionTask.';
END $$""",
    f"""
CREATE OR REPLACE FUNCTION {{schema}}.check_session_stage() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed uuid;
    differs boolean;
BEGIN
    IF TG_TABLE_NAME = 'sessions' THEN changed := NEW.id;
    ELSIF TG_OP = 'DELETE' THEN changed := OLD.session_id;
    ELSE changed := NEW.session_id;
    END IF;
    SELECT session.stage <> {_STAGE} INTO differs
      FROM {{schema}}.sessions AS session
      LEFT JOIN {{schema}}.session_tasks AS task ON task.session_id = session.id
     WHERE session.id = changed;
    IF differs THEN
        RAISE EXCEPTION USING ERRCODE = 'check_violation',
            MESSAGE = format('the stage of session %s does not follow its task', changed),
            HINT = 'The stage is not assigned: it follows the task in the same transaction.';
    END IF;
    RETURN NULL;
END $$""",  # noqa: S608 - constants only
)

_TRIGGERS = {
    "guard_first_task": (
        "session_tasks",
        f"""
CREATE TRIGGER guard_first_task AFTER INSERT ON {{schema}}.session_tasks FOR EACH ROW
WHEN (NOT ({LEGAL_INSERT})) EXECUTE FUNCTION {{schema}}.refuse_task_transition()""",
    ),
    "guard_transition": (
        "session_tasks",
        f"""
CREATE TRIGGER guard_transition AFTER UPDATE ON {{schema}}.session_tasks FOR EACH ROW
WHEN (NOT ({LEGAL_UPDATE})) EXECUTE FUNCTION {{schema}}.refuse_task_transition()""",
    ),
    "guard_stage_of_task": (
        "session_tasks",
        """
CREATE CONSTRAINT TRIGGER guard_stage_of_task AFTER INSERT OR UPDATE OR DELETE
ON {schema}.session_tasks DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
EXECUTE FUNCTION {schema}.check_session_stage()""",
    ),
    "guard_stage": (
        "sessions",
        """
CREATE CONSTRAINT TRIGGER guard_stage AFTER INSERT OR UPDATE OF stage
ON {schema}.sessions DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
EXECUTE FUNCTION {schema}.check_session_stage()""",
    ),
}

_HAS_GUARD = """
SELECT count(*) FROM pg_trigger
 WHERE tgname = ANY(:names) AND tgrelid IN (
       to_regclass(:schema || '.session_tasks'), to_regclass(:schema || '.sessions'))"""


def has_guard(connection: Connection) -> bool:
    """Tell whether the guard is installed."""
    schema = connection.scalar(INSTALLED_SCHEMA)
    found = connection.scalar(text(_HAS_GUARD), {"names": list(_TRIGGERS), "schema": schema})
    return bool(found == len(_TRIGGERS))


def install_guard(connection: Connection) -> None:
    """Install the guard, or the newest form of it, in the caller's transaction."""
    remove_guard(connection)
    schema = str(connection.scalar(INSTALLED_SCHEMA))
    for statement in (*_FUNCTIONS, *(statement for _, statement in _TRIGGERS.values())):
        connection.execute(text(statement.replace("{schema}", schema)))


def remove_guard(connection: Connection) -> None:
    """Remove the guard, in the caller's transaction."""
    schema = str(connection.scalar(INSTALLED_SCHEMA))
    for name, (table, _) in _TRIGGERS.items():
        connection.execute(text(f"DROP TRIGGER IF EXISTS {name} ON {schema}.{table}"))
    for function in ("refuse_task_transition", "check_session_stage"):
        connection.execute(text(f"DROP FUNCTION IF EXISTS {schema}.{function}()"))
