"""Statements of sweepers on leases and retries, which any number may run at once."""

from __future__ import annotations

from app.core.errors import ErrorCategory
from app.models.lease import RETRY_WAIT
from app.repositories.statements import CAN_BE_RETRIED, IS_NOT_PAUSED, IS_RUNNING

REBUILD_LOCK = 0x5E55_1048
"""Advisory lock for rebuilding leases (PostgreSQL, section 13.3.5)."""

IS_ANYTHING_URGENT = """
SELECT NOT EXISTS (SELECT FROM session_task_lease_sentinel)
    OR EXISTS (SELECT FROM session_task_leases WHERE leased_until < clock_timestamp())
    OR EXISTS (SELECT FROM session_task_retries WHERE retry_at <= clock_timestamp())"""
"""Check whether leases must be rebuilt or rescued, or a retry is due: an idle sweeper's query."""

PULL_SENTINEL = "DELETE FROM session_task_lease_sentinel"

PLANT_SENTINEL = """
INSERT INTO session_task_lease_sentinel (id) VALUES (1) ON CONFLICT DO NOTHING RETURNING id"""


def _insert_leases(rule: str, *, task_lock: str) -> str:
    """Render the INSERT of a lease for each task that is under the rule and has none.

    It locks as every transition does: sessions first, then their tasks, both in id order, and
    checks the rule again on the locked rows. A session that another transaction has locked is left
    for the next time. For one lease time only a worker that is still alive can restore the lease.
    """
    return f"""
WITH lock AS MATERIALIZED (
    SELECT unnest(array_agg(id)) AS id FROM (
        SELECT id FROM sessions
         WHERE id IN (SELECT session_id FROM session_tasks WHERE {rule})
           AND NOT EXISTS (SELECT FROM session_task_leases AS l WHERE l.session_id = sessions.id)
         ORDER BY id FOR NO KEY UPDATE SKIP LOCKED) AS in_order),
live AS MATERIALIZED (
    SELECT session_tasks.session_id, session_tasks.task_id, session_tasks.task_type,
           session_tasks.retry_count + 1 AS attempt
      FROM session_tasks JOIN lock ON lock.id = session_tasks.session_id
     WHERE {rule}
     ORDER BY session_tasks.session_id {task_lock})
INSERT INTO session_task_leases (session_id, task_id, task_type, attempt, enqueued_at)
SELECT session_id, task_id, task_type, attempt,
       clock_timestamp() + make_interval(secs => :lease_seconds)
  FROM live
ON CONFLICT (session_id) DO NOTHING
RETURNING session_id"""  # noqa: S608 - constants only


REBUILD_LEASES = _insert_leases(IS_RUNNING, task_lock="FOR NO KEY UPDATE OF session_tasks")

# What a bulk write or a DELETE by hand left: a start writes its lease in the same transaction, so
# no other row is seen without one.
HEAL_LEASES = _insert_leases(
    f"""({IS_RUNNING}) AND session_tasks.started_at
             <= statement_timestamp() - make_interval(secs => :lease_seconds)""",
    task_lock="FOR NO KEY UPDATE OF session_tasks SKIP LOCKED",
)

_IS_TRIED_AGAIN = f"""({CAN_BE_RETRIED})
   AND session_tasks.failure_context ->> 'category' = '{ErrorCategory.TEMPORARY.value}'"""

REBUILD_RETRIES = f"""
INSERT INTO session_task_retries (session_id, task_id, retry_at)
SELECT session_tasks.session_id, session_tasks.task_id,
       session_tasks.failed_at + {
    RETRY_WAIT.format(backoff_seconds=":backoff_seconds", retry_count="session_tasks.retry_count")
}
  FROM session_tasks JOIN sessions ON sessions.id = session_tasks.session_id
 WHERE {_IS_TRIED_AGAIN}
   AND NOT EXISTS (SELECT FROM session_task_retries AS r WHERE r.session_id = sessions.id)
   FOR KEY SHARE OF sessions SKIP LOCKED
ON CONFLICT (session_id) DO NOTHING"""  # noqa: S608 - constants only

IS_ANYTHING_LEFT = f"""
SELECT EXISTS (
    SELECT FROM session_tasks WHERE ({IS_RUNNING}) AND NOT EXISTS (
        SELECT FROM session_task_leases AS l WHERE l.session_id = session_tasks.session_id))
    OR EXISTS (
    SELECT FROM session_tasks WHERE ({_IS_TRIED_AGAIN}) AND NOT EXISTS (
        SELECT FROM session_task_retries AS r WHERE r.session_id = session_tasks.session_id))"""  # noqa: S608 - constants only
"""Check whether a session that another had locked still has no lease, or no retry."""

# The sessions are locked here, without waiting for any, so in any order; the task row guards the
# retry. The hint itself is never locked before its session: a failure writes it after.
DUE_RETRIES = """
SELECT hint.session_id, hint.task_id
  FROM session_task_retries AS hint JOIN sessions ON sessions.id = hint.session_id
 WHERE hint.retry_at <= clock_timestamp()
 ORDER BY hint.retry_at, hint.session_id LIMIT :limit
   FOR NO KEY UPDATE OF sessions SKIP LOCKED"""

FORGET_RETRIES = """
DELETE FROM session_task_retries AS hint
 USING unnest(CAST(:session_ids AS uuid[]), CAST(:task_ids AS uuid[])) AS done(session_id, task_id)
 WHERE hint.session_id = done.session_id AND hint.task_id = done.task_id"""

REDISPATCH = f"""
WITH forgotten AS MATERIALIZED (
    SELECT session_id FROM session_task_leases
     WHERE claim_token IS NULL AND enqueued_at <= statement_timestamp()
       AND dispatched_at < clock_timestamp() - make_interval(secs => :older_than_seconds)
       AND {IS_NOT_PAUSED.format(task_type="task_type")}
     ORDER BY enqueued_at LIMIT :limit FOR UPDATE SKIP LOCKED)
UPDATE session_task_leases AS lease SET dispatched_at = clock_timestamp()
  FROM forgotten WHERE lease.session_id = forgotten.session_id
RETURNING lease.session_id, lease.task_id"""  # noqa: S608 - constants only


# FOR UPDATE checks the session's own columns again on the newest row, and every start moves
# `updated_at`: a session that was started meanwhile is not deleted. `created_at` never changes and
# has an index, so the search looks at old sessions only.
DELETE_EXPIRED = f"""
WITH expired AS MATERIALIZED (
    SELECT sessions.id FROM sessions
     WHERE created_at < statement_timestamp() - make_interval(secs => :seconds)
       AND updated_at < statement_timestamp() - make_interval(secs => :seconds)
       AND NOT EXISTS (SELECT FROM session_tasks
                        WHERE session_tasks.session_id = sessions.id
                          AND {IS_RUNNING})
     ORDER BY sessions.id LIMIT :limit FOR UPDATE SKIP LOCKED)
DELETE FROM sessions USING expired
 WHERE sessions.id = expired.id
   AND sessions.updated_at < statement_timestamp() - make_interval(secs => :seconds)
RETURNING sessions.id"""  # noqa: S608 - every part is a constant
