"""Store, read and delete the steps of tasks, fenced by their claim.

`app.tasks.steps` runs them. One statement stores a step, in a transaction of its own. The
completion of a task deletes its steps, a new start those that are not lasting
(`app.repositories.statements`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.values.states import TaskType

if TYPE_CHECKING:
    import uuid

    import psycopg

    from app.values.claims import Claim

# The session is locked before the lease, as everywhere, against a DELETE only (FOR KEY SHARE, which
# the foreign key takes anyway): a transition that has the session locked delays no step. The lock
# on the lease makes the end of the claim wait until the step is committed; a step that waited for
# that finds the lease gone, or another's: FOR NO KEY UPDATE checks the newest version.
KEEP = """
WITH lock AS MATERIALIZED (
    SELECT id FROM sessions WHERE id = %(session_id)s FOR KEY SHARE),
held AS MATERIALIZED (
    SELECT l.session_id, l.task_type
      FROM session_task_leases l JOIN lock ON lock.id = l.session_id
     WHERE l.task_id = %(task_id)s AND l.claim_token = %(claim_token)s
       FOR NO KEY UPDATE OF l),
kept AS (
    INSERT INTO session_task_steps (session_id, task_type, name, result, is_lasting)
    SELECT session_id, task_type, %(name)s, %(result)s::json, %(is_lasting)s FROM held
    ON CONFLICT DO NOTHING)
SELECT session_id FROM held"""

KEPT = """
SELECT name, result::text FROM session_task_steps
 WHERE session_id = %(session_id)s AND task_type = %(task_type)s
 ORDER BY kept_at, name"""


def keep(
    connection: psycopg.Connection[Any],
    claim: Claim,
    name: str,
    result: str,
    *,
    is_lasting: bool = False,
) -> bool:
    """Store a step's result, as JSON text; False if the claim was lost, and nothing was stored.

    May be repeated if the outcome of a commit is unknown: the first result is kept. `connection`
    is in autocommit: no lock is kept after a statement.
    """
    parameters = {
        "session_id": claim.session_id,
        "task_id": claim.task_id,
        "claim_token": claim.claim_token,
        "name": name,
        "result": result,
        "is_lasting": is_lasting,
    }
    for _ in range(2):
        if connection.execute(KEEP, parameters).fetchone() is not None:
            return True
        # A database crash deletes leases; the claim may still be valid. Seldom, so the tables are
        # imported only now: a handler's process does without them.
        from app.repositories import transitions  # noqa: PLC0415

        if not transitions.restore_leases(connection, [claim]):
            return False
    return False


def kept(
    connection: psycopg.Connection[Any], session_id: uuid.UUID, task_type: TaskType
) -> dict[str, str]:
    """Return the stored results, as JSON text, by name, in the order of storing."""
    rows = connection.execute(KEPT, {"session_id": session_id, "task_type": task_type.value})
    return dict(rows.fetchall())
