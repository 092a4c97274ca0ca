"""The SQL of the transitions: each is one guarded, set-based statement.

Arrays go in, the rows that moved come out. The rules are rendered from the hybrids of
`SessionTask`. `app.repositories.transitions` sends the statements.

How a statement is built, and why:

- `lock` locks the sessions first, in id order, `FOR NO KEY UPDATE`: everything that moves a task or
  deletes a session begins so; hence no deadlocks, and transitions of one session queue up. Its
  aggregate ensures that all are locked before the first task or lease: a CTE without one passes
  its rows on one by one.
- `lock` returns the inputs, and the last CTE the rows that moved: no two CTEs are joined. The
  planner expects few rows of each, and would compare all of one with all of the other.
- If a table is joined with the inputs, `session_id = ANY(…)` beside the join limits what any plan
  reads of it. An empty table is cheapest read as a whole, and that plan would be kept after it has
  grown.
- A statement that waited for a lock still reads *other* rows as of its own start (READ COMMITTED,
  PostgreSQL section 13.2.1). So every rule is in the WHERE of an UPDATE, in ON CONFLICT DO UPDATE,
  or under FOR UPDATE, where it is checked again on the newest version of the row.
- `held` locks leases in session order for the same reason: heartbeats lock many at once. Two such
  statements in one transaction would violate that order: so before leases lost in a crash are
  restored, the first statement's locks are released.
- `clock_timestamp()`: the moment after the wait for the lock, not the start of the statement.

One file of more than 450 lines, so that the order of locks can be compared between statements.
"""

from __future__ import annotations

import functools
import re

from sqlalchemy import ColumnElement, literal_column
from sqlalchemy.dialects import postgresql

from app.core.errors import WORKER_LOST, ErrorCategory
from app.core.failure import (
    BRIEF_ERROR_BYTES,
    BRIEF_MESSAGE_BYTES,
    BRIEF_MESSAGE_CHARACTERS,
    MAX_EARLIER,
)
from app.models.lease import RETRY_WAIT
from app.models.session import MAX_RETRY_COUNT, SessionTask
from app.values.states import SessionStage, TaskStatus, TaskType


def _sql(rule: ColumnElement[bool]) -> str:
    return str(
        rule.compile(
            dialect=postgresql.dialect(),  # type: ignore[no-untyped-call]
            compile_kwargs={"literal_binds": True},
        )
    )


IS_RUNNING = _sql(SessionTask.is_running)  # type: ignore[arg-type]
CAN_BE_RESTARTED = _sql(SessionTask.can_be_restarted)  # type: ignore[arg-type]
CAN_START = _sql(
    SessionTask.can_start(literal_column("w.task_type", SessionTask.task_type.type))  # type: ignore[arg-type]
)
CAN_BE_RETRIED = _sql(SessionTask.can_be_retried)  # type: ignore[arg-type]


def _array(name: str, kind: str) -> str:
    """An input array whose length is hidden from the planner.

    For a single task, a custom plan looks cheaper than the generic one, which is made for ten:
    on a connection that does not keep plans, each would be planned again. And a client that
    writes the array out (the race's pgbench) gets the same plan as one that sends a parameter.
    """
    return f"(SELECT %({name})s::{kind}[])::{kind}[]"


def _given(*ids: str, **kinds: str) -> str:
    """Return the input arrays joined as rows `w`: `task_id` from the array `task_ids`."""
    kinds = dict.fromkeys(ids, "uuid") | kinds
    arrays = ", ".join(_array(f"{name}s", kind) for name, kind in kinds.items())
    return f"unnest({arrays}) AS w({', '.join(kinds)})"


_THESE = f"= ANY({_array('session_ids', 'uuid')})"


@functools.cache
def skipping_locked(statement: str) -> str:
    """Return the statement with `SKIP LOCKED`: it leaves out rows that others have locked.

    It applies to the rows locked first, usually sessions: a transaction that keeps anything of
    a session locked for long has locked those first.
    """
    return re.sub(r"FOR (NO KEY )?UPDATE( OF \w+)?", r"\g<0> SKIP LOCKED", statement, count=1)


def _unguessed(condition: str) -> str:
    """Return the condition, its selectivity hidden from the planner, which often guesses one row.

    If it expects one row, it joins by a loop over all of the other side.
    """
    return f"CASE WHEN {condition} THEN true ELSE false END"


def _lock(condition: str = "") -> str:
    return f"""SELECT id FROM sessions WHERE id {_THESE}{condition}
             ORDER BY id FOR NO KEY UPDATE"""  # noqa: S608 - constants only


def _locked(given: str, condition: str = "") -> str:
    """Return the CTE `lock`: it locks the sessions of the inputs, and returns the inputs."""
    return f"""lock AS MATERIALIZED (
    SELECT w.* FROM (
        SELECT unnest(array_agg(id)) AS id FROM (
            {_lock(condition)}) AS in_order) AS locked
      JOIN {given} ON w.session_id = locked.id)"""  # noqa: S608 - constants only


LOCK = _lock()
_OWN = " AND (%(owner)s::text IS NULL OR owner = %(owner)s)"

_MOVED = """session_tasks.session_id, session_tasks.task_type, session_tasks.task_id,
              session_tasks.status, session_tasks.retry_count"""

# Read once in a statement: the table has at most three rows, and usually none.
IS_NOT_PAUSED = (
    "{task_type} <> ALL(ARRAY(SELECT pause.task_type FROM session_task_pauses AS pause))"
)

# A start moves the session's stage and inserts a lease, unclaimed or, unless claims are paused,
# claimed for a worker in the starter's process. That claim's token is the
# task's id: a run has only one claim made with its start, and a caller that lost the
# response knows its token all the same.
_NOBODYS = "NULL::uuid, NULL::uuid, NULL::timestamptz, NULL::timestamptz"
_CAN_BE_CLAIMED = IS_NOT_PAUSED.format(task_type="staged.task_type")
_CLAIMED_WITH_ITS_START = f"""CASE WHEN {_CAN_BE_CLAIMED} THEN %(worker_id)s::uuid END,
           CASE WHEN {_CAN_BE_CLAIMED} THEN task_id END,
           CASE WHEN {_CAN_BE_CLAIMED} THEN clock_timestamp() END,
           CASE WHEN {_CAN_BE_CLAIMED}
                THEN clock_timestamp() + make_interval(secs => %(lease_seconds)s) END"""


_STARTED_COLUMNS = (
    "session_id", "task_type", "task_id", "status", "retry_count", "started_at", "0.0::float8",
    "auto_advance", "NULL::jsonb",
)  # fmt: skip


def _after_a_start(claim: str = _NOBODYS, *more: str) -> str:
    return f"""staged AS (
    UPDATE sessions SET stage = task.task_type, updated_at = clock_timestamp()
      FROM task WHERE sessions.id = task.session_id
    RETURNING task.*, sessions.auto_advance),
lease AS (
    INSERT INTO session_task_leases (session_id, task_id, task_type, attempt,
                                     worker_id, claim_token, claimed_at, leased_until)
    SELECT session_id, task_id, task_type, retry_count + 1, {claim} FROM staged
    ON CONFLICT (session_id) DO UPDATE
       SET task_id = excluded.task_id, task_type = excluded.task_type,
           attempt = excluded.attempt, enqueued_at = excluded.enqueued_at,
           dispatched_at = excluded.dispatched_at, worker_id = excluded.worker_id,
           claim_token = excluded.claim_token, claimed_at = excluded.claimed_at,
           leased_until = excluded.leased_until, progress_current = NULL,
           progress_total = NULL, progress_message = NULL)
SELECT {", ".join([*_STARTED_COLUMNS, *more])}
  FROM staged"""  # noqa: S608 - constants only


def _without_steps(of: str, which: str = "true") -> str:
    """Delete the steps of these runs' tasks (`app.models.step`), by the index."""
    return f"""forgotten AS (
    DELETE FROM session_task_steps
     WHERE session_id = ANY(ARRAY(SELECT session_id FROM {of})) AND {which})"""  # noqa: S608 - constants only


# A session with a row is checked by the rule and updated; one without can begin the first type.
# (ON CONFLICT DO UPDATE, for both, locks a row before moving it: one more WAL record.) `task`
# is computed before it is joined: if the session has moved since the statement began, PostgreSQL
# joins again (EvalPlanQual), and cannot insert again for that.
# A start is repeated after a lost response: the task it started may have ended since.
# A start of a failed or cancelled task keeps only its lasting steps; a
# retry keeps all.
# A new row's id only has to be new: it is its first run's id, as a random one would
# cost as much as an index entry.
_STARTED = f"""
WITH {_locked(_given("session_id", "task_id", task_type="text"), _OWN)},
first_task AS (
    INSERT INTO session_tasks
           (id, session_id, task_type, task_id, status, started_at, retry_count)
    SELECT w.task_id, w.session_id, w.task_type, w.task_id, '{TaskStatus.RUNNING.value}',
           clock_timestamp(), 0
      FROM lock AS w
     WHERE w.task_type = '{TaskType.PROCESSING.value}'
    ON CONFLICT ON CONSTRAINT uq_session_tasks_session_id DO NOTHING
    RETURNING {_MOVED}, session_tasks.started_at),
next_task AS (
    UPDATE session_tasks
       SET task_type = w.task_type, task_id = w.task_id, status = '{TaskStatus.RUNNING.value}',
           started_at = clock_timestamp(), completed_at = NULL, failed_at = NULL,
           retry_count = CASE WHEN session_tasks.status = '{TaskStatus.COMPLETED.value}'
                              THEN 0 ELSE session_tasks.retry_count END,
           failure_context = CASE WHEN session_tasks.status = '{TaskStatus.COMPLETED.value}'
                                  THEN NULL ELSE session_tasks.failure_context END
      FROM lock AS w
     WHERE session_tasks.session_id {_THESE}
       AND session_tasks.session_id = w.session_id
       AND {_unguessed(f"session_tasks.task_id <> w.task_id AND ({CAN_START})")}
    RETURNING {_MOVED}, session_tasks.started_at),
task AS MATERIALIZED (SELECT * FROM first_task UNION ALL SELECT * FROM next_task),
{_without_steps("next_task", "NOT is_lasting")},
"""  # noqa: S608 - every part is a constant of this module
START = _STARTED + _after_a_start()
START_CLAIMED = _STARTED + _after_a_start(_CLAIMED_WITH_ITS_START, _CAN_BE_CLAIMED)

_EXPECTED = "(w.expected_task_id IS NULL OR session_tasks.task_id = w.expected_task_id)"

RETRY = f"""
WITH {_locked(_given("session_id", "expected_task_id", "task_id"), _OWN)},
task AS (
    UPDATE session_tasks
       SET task_id = w.task_id, status = '{TaskStatus.RUNNING.value}',
           started_at = clock_timestamp(), completed_at = NULL, failed_at = NULL
      FROM lock AS w
     WHERE session_tasks.session_id {_THESE}
       AND session_tasks.session_id = w.session_id
       AND {_unguessed(f"{_EXPECTED} AND ({CAN_BE_RESTARTED})")}
    RETURNING {_MOVED}, session_tasks.started_at),
{_after_a_start()}"""  # noqa: S608 - every part is a constant of this module

_CLAIMED = """claimed_at = clock_timestamp(),
       leased_until = clock_timestamp() + make_interval(secs => %(lease_seconds)s)"""
_CLAIM = """lease.session_id, lease.task_id, lease.task_type, lease.attempt, lease.claim_token,
          lease.worker_id, date_part('epoch', lease.claimed_at - lease.enqueued_at)::float8"""

# Tokens are derived from the ids of call and session: after a lost response, the caller finds its
# claims.
_BY_CALL = "md5(%(call_id)s::uuid::text || lease.session_id::text)::uuid"

# A claim touches only the UNLOGGED table, so it waits for no disk; it never waits for a lock. CASE
# hides from the planner how few rows wait (its statistics of such a busy table are those
# of another moment): expecting one or two, it would read and sort the whole table. Locked rows are
# updated by `ctid`: with a join by key, the whole table would be read once more. A row
# that another moved just before the lock is not found there, and waits for the next claim.
CLAIM_NEXT = f"""
UPDATE session_task_leases AS lease
   SET worker_id = %(worker_id)s::uuid, claim_token = {_BY_CALL}, {_CLAIMED}
 WHERE lease.ctid = ANY(ARRAY(
    SELECT waiting.ctid FROM session_task_leases AS waiting
     WHERE enqueued_at <= statement_timestamp()
       AND CASE WHEN waiting.claim_token IS NULL AND task_type = ANY(%(task_types)s::text[])
                     AND {IS_NOT_PAUSED.format(task_type="task_type")}
                THEN true ELSE false END
     ORDER BY enqueued_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED))
RETURNING {_CLAIM}"""  # noqa: S608 - every part is a constant of this module

CLAIMS_OF_CALL = f"""
SELECT {_CLAIM} FROM session_task_leases AS lease
 WHERE lease.worker_id = %(worker_id)s::uuid AND lease.claim_token = {_BY_CALL}"""  # noqa: S608 - every part is a constant of this module

WAITING = f"""
SELECT session_id, task_id FROM session_task_leases
 WHERE session_id {_THESE} AND claim_token IS NULL
   AND task_type = ANY(%(task_types)s::text[])
 ORDER BY enqueued_at LIMIT %(limit)s"""  # noqa: S608 - constants only

# The caller chooses the tokens: after a lost response it repeats the claim, and gets the same.
CLAIM_THESE = f"""
WITH candidate AS MATERIALIZED (
    SELECT w.session_id, w.worker_id, w.claim_token
      FROM {_given("session_id", "task_id", "worker_id", "claim_token")}
      JOIN session_task_leases l ON l.session_id = w.session_id AND l.task_id = w.task_id
     WHERE l.session_id {_THESE}
       AND ((l.claim_token IS NULL AND l.enqueued_at <= clock_timestamp()
             AND {IS_NOT_PAUSED.format(task_type="l.task_type")})
            OR l.claim_token = w.claim_token)
       FOR UPDATE OF l SKIP LOCKED)
UPDATE session_task_leases AS lease
   SET worker_id = candidate.worker_id, claim_token = candidate.claim_token, {_CLAIMED}
  FROM candidate WHERE lease.session_id = candidate.session_id
RETURNING {_CLAIM}"""  # noqa: S608 - every part is a constant of this module

_CLAIMS = _given("session_id", "task_id", "claim_token")
_IS_ITS_LEASE = f"l.session_id {_THESE} AND l.task_id = w.task_id AND l.claim_token = w.claim_token"

_HELD = f"""held AS MATERIALIZED (
    SELECT w.*, l.claimed_at
      FROM session_task_leases l JOIN lock AS w ON w.session_id = l.session_id
     WHERE {_IS_ITS_LEASE}
     ORDER BY l.session_id FOR UPDATE OF l)"""  # noqa: S608 - constants only


# The next type reuses a task's row, so the durations of this one are stored with the session.
_STAGE_TIMES = "".join(
    f""",
           {kind}_completed_at = CASE task.task_type WHEN '{kind}'
             THEN task.completed_at ELSE sessions.{kind}_completed_at END,
           {kind}_waited_seconds = CASE task.task_type WHEN '{kind}'
             THEN date_part('epoch', task.claimed_at - task.started_at)::real
             ELSE sessions.{kind}_waited_seconds END,
           {kind}_ran_seconds = CASE task.task_type WHEN '{kind}'
             THEN date_part('epoch', task.completed_at - task.claimed_at)::real
             ELSE sessions.{kind}_ran_seconds END"""
    for kind in (task_type.value for task_type in TaskType)
)


def _ended(status: TaskStatus, moment: str) -> str:
    """Return the tail of every statement that ends a run: stage, lease, and the moved rows."""
    changes = "updated_at = clock_timestamp()"
    if status == TaskStatus.COMPLETED:
        changes += f""",
           stage = CASE task.task_type WHEN '{TaskType.ADF_VALIDATION.value}'
                   THEN '{SessionStage.COMPLETED.value}' ELSE sessions.stage END{_STAGE_TIMES}"""
    return f"""staged AS (
    UPDATE sessions SET {changes}
      FROM task WHERE sessions.id = task.session_id
    RETURNING task.*, {moment} AS moment, sessions.auto_advance),
lease AS (
    DELETE FROM session_task_leases l USING held WHERE l.session_id = held.session_id)
SELECT session_id, task_type, task_id, status, retry_count, moment,
       date_part('epoch', moment - started_at)::float8, auto_advance, failure_context
  FROM staged"""  # noqa: S608 - constants only


COMPLETE = f"""
WITH {_locked(_CLAIMS)},
{_HELD},
task AS (
    UPDATE session_tasks
       SET status = '{TaskStatus.COMPLETED.value}', completed_at = clock_timestamp(),
           failure_context = NULL
      FROM held
     WHERE session_tasks.session_id = held.session_id AND session_tasks.task_id = held.task_id
       AND {IS_RUNNING}
    RETURNING {_MOVED}, session_tasks.started_at, session_tasks.completed_at,
              session_tasks.failure_context, held.claimed_at),
{_without_steps("task")},
{_ended(TaskStatus.COMPLETED, "task.completed_at")}"""  # noqa: S608 - constants only

# `brief_of` in SQL: earlier failures are kept inside the newest, in brief. A
# text of wide characters is cut shorter here, because a context's bytes are limited.
_BRIEF_MESSAGE = f"""CASE WHEN length(given.message) <= {BRIEF_MESSAGE_CHARACTERS}
                        THEN given.message
                        ELSE left(given.message, {BRIEF_MESSAGE_CHARACTERS - 1}) || '…' END"""
_BRIEF = f"""(SELECT jsonb_strip_nulls(jsonb_build_object(
                   'error', CASE WHEN octet_length(given.error) <= {BRIEF_ERROR_BYTES}
                                 THEN given.error
                                 ELSE left(given.error, {BRIEF_ERROR_BYTES // 4}) END,
                   'message', CASE WHEN octet_length({_BRIEF_MESSAGE}) <= {BRIEF_MESSAGE_BYTES}
                                   THEN {_BRIEF_MESSAGE} ELSE
                                   left(given.message, {BRIEF_MESSAGE_BYTES // 4 - 1}) || '…' END,
                   'category', given.category, 'attempt', given.attempt,
                   'failed_at', given.failed_at))
                 FROM jsonb_to_record(session_tasks.failure_context)
                   AS given(error text, message text, category text, attempt jsonb,
                           failed_at jsonb))"""  # noqa: S608 - constants only

_MOMENT = """to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')"""

_FAILED = f"""UPDATE session_tasks
       SET status = '{TaskStatus.FAILED.value}', failed_at = clock_timestamp(),
           retry_count = least(session_tasks.retry_count + 1, {MAX_RETRY_COUNT}),
           failure_context = held.context
             || jsonb_build_object(
                  'attempt', least(session_tasks.retry_count + 1, {MAX_RETRY_COUNT}),
                  'failed_at', {_MOMENT})
             || CASE WHEN session_tasks.failure_context IS NULL THEN '{{}}'::jsonb
                ELSE jsonb_build_object('earlier', (
                  CASE WHEN jsonb_typeof(session_tasks.failure_context -> 'earlier')
                            IS DISTINCT FROM 'array' THEN '[]'::jsonb
                       WHEN jsonb_array_length(session_tasks.failure_context -> 'earlier')
                            >= {MAX_EARLIER}
                       THEN (session_tasks.failure_context -> 'earlier') - 0
                       ELSE session_tasks.failure_context -> 'earlier' END
                  || jsonb_build_array({_BRIEF})))
                END
      FROM held
     WHERE session_tasks.session_id = held.session_id AND session_tasks.task_id = held.task_id
       AND {IS_RUNNING}
    RETURNING {_MOVED}, session_tasks.started_at, session_tasks.failed_at,
              session_tasks.failure_context"""  # noqa: S608 - constants only

# A temporary failure with attempts left is retried by the sweeper.
_RETRY_LATER = f"""later AS (
    INSERT INTO session_task_retries (session_id, task_id, retry_at)
    SELECT task.session_id, task.task_id, task.failed_at + {
    RETRY_WAIT.format(backoff_seconds="%(backoff_seconds)s", retry_count="task.retry_count")
}
      FROM task
     WHERE task.failure_context ->> 'category' = '{ErrorCategory.TEMPORARY.value}'
       AND task.retry_count < {MAX_RETRY_COUNT}
    ON CONFLICT (session_id) DO UPDATE
       SET task_id = excluded.task_id, retry_at = excluded.retry_at)"""  # noqa: S608 - constants

FAIL = f"""
WITH {_locked(_given("session_id", "task_id", "claim_token", context="jsonb"))},
{_HELD},
task AS ({_FAILED}),
{_RETRY_LATER},
{_ended(TaskStatus.FAILED, "task.failed_at")}"""

# Concurrent sweepers skip rows that another has locked, as they do for a transaction that
# moves or renews the session just now. The lease of a run that is no longer running (it cannot
# be, but tables can be edited) is also removed: `held` decides.
RESCUE = f"""
WITH lock AS MATERIALIZED (
    SELECT unnest(array_agg(id)) AS session_id FROM (
        SELECT sessions.id FROM sessions
         WHERE sessions.id IN (SELECT session_id FROM session_task_leases
                                WHERE leased_until < statement_timestamp())
           AND (%(only)s::uuid[] IS NULL OR sessions.id = ANY(%(only)s::uuid[]))
         ORDER BY sessions.id LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED) AS in_order),
held AS MATERIALIZED (
    SELECT l.session_id, l.task_id, jsonb_build_object(
             'error', '{WORKER_LOST}', 'category', '{ErrorCategory.TEMPORARY.value}',
             'message', 'The worker died or stopped answering; its lease ended at '
                        || to_char(l.leased_until AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')
                        || ' UTC',
             'next_step', '', 'options', '[]'::jsonb,
             'traceback', '', 'worker', coalesce(l.worker_id::text, '')) AS context
      FROM session_task_leases l JOIN lock ON lock.session_id = l.session_id
     WHERE l.leased_until < clock_timestamp()
     ORDER BY l.session_id FOR UPDATE OF l SKIP LOCKED),
task AS ({_FAILED}),
{_ended(TaskStatus.FAILED, "task.failed_at")}"""  # noqa: S608 - constants only

CANCEL = f"""
WITH {_locked(_given("session_id", "expected_task_id"), _OWN)},
task AS (
    UPDATE session_tasks SET status = '{TaskStatus.CANCELLED.value}'
      FROM lock AS w
     WHERE session_tasks.session_id {_THESE}
       AND session_tasks.session_id = w.session_id
       AND {_unguessed(f"{_EXPECTED} AND {IS_RUNNING}")}
    RETURNING {_MOVED}, session_tasks.started_at, session_tasks.failure_context),
held AS MATERIALIZED (
    SELECT l.session_id FROM session_task_leases l JOIN task ON task.session_id = l.session_id
     ORDER BY l.session_id FOR UPDATE OF l),
{_ended(TaskStatus.CANCELLED, "sessions.updated_at")}"""  # noqa: S608 - constants only

# The publisher of messages about waiting tasks (Celery) soon sends another for these.
RELEASE = f"""
WITH held AS MATERIALIZED (
    SELECT l.session_id, l.claim_token
      FROM session_task_leases l JOIN {_CLAIMS} ON w.session_id = l.session_id
     WHERE {_IS_ITS_LEASE}
     ORDER BY l.session_id FOR UPDATE OF l)
UPDATE session_task_leases AS lease
   SET worker_id = NULL, claim_token = NULL, claimed_at = NULL, leased_until = NULL,
       progress_current = NULL, progress_total = NULL, progress_message = NULL,
       dispatched_at = to_timestamp(0)
  FROM held WHERE lease.session_id = held.session_id
RETURNING held.claim_token"""  # noqa: S608 - constants only

_BEATS = _given(
    "session_id", "task_id", "claim_token", current="bigint", total="bigint", message="text"
)
HEARTBEAT = f"""
WITH held AS MATERIALIZED (
    SELECT l.session_id, w.current, w.total, w.message
      FROM {_BEATS}
      JOIN session_task_leases l ON l.session_id = w.session_id
     WHERE {_IS_ITS_LEASE}
     ORDER BY l.session_id FOR UPDATE OF l)
UPDATE session_task_leases AS lease
   SET leased_until = clock_timestamp() + make_interval(secs => %(lease_seconds)s),
       progress_current = coalesce(held.current, lease.progress_current),
       progress_total = coalesce(held.total, lease.progress_total),
       progress_message = coalesce(held.message, lease.progress_message)
  FROM held WHERE lease.session_id = held.session_id
RETURNING lease.claim_token"""  # noqa: S608 - constants only

# After a database crash the leases are gone, and a live worker restores its own: if
# the row is still running under its task_id and unclaimed. A rescue changes the task_id.
RESTORE_LEASE = f"""
WITH {_locked(_given("session_id", "task_id", "claim_token", "worker_id"))},
live AS MATERIALIZED (
    SELECT session_tasks.session_id, session_tasks.task_id, session_tasks.task_type,
           session_tasks.retry_count + 1 AS attempt, w.claim_token, w.worker_id
      FROM session_tasks JOIN lock AS w ON w.session_id = session_tasks.session_id
     WHERE session_tasks.session_id {_THESE}
       AND {_unguessed(f"session_tasks.task_id = w.task_id AND {IS_RUNNING}")}
     ORDER BY session_tasks.session_id FOR NO KEY UPDATE OF session_tasks)
INSERT INTO session_task_leases AS lease
       (session_id, task_id, task_type, attempt, worker_id, claim_token, claimed_at, leased_until)
SELECT session_id, task_id, task_type, attempt, worker_id, claim_token, clock_timestamp(),
       clock_timestamp() + make_interval(secs => %(lease_seconds)s)
  FROM live
ON CONFLICT (session_id) DO UPDATE
   SET worker_id = excluded.worker_id, claim_token = excluded.claim_token,
       claimed_at = excluded.claimed_at, leased_until = excluded.leased_until
 WHERE lease.task_id = excluded.task_id AND lease.claim_token IS NULL
   AND lease.enqueued_at > clock_timestamp()
RETURNING lease.claim_token"""  # noqa: S608 - constants only

# Run for claims that could write nothing, without waiting for any lock: the others are
# lost.
STILL_VALID = f"""
SELECT w.claim_token
  FROM session_tasks JOIN {_CLAIMS} ON w.session_id = session_tasks.session_id
  LEFT JOIN session_task_leases l ON l.session_id = session_tasks.session_id
 WHERE session_tasks.session_id {_THESE} AND session_tasks.task_id = w.task_id AND {IS_RUNNING}
   AND (l.session_id IS NULL
     OR l.claim_token = w.claim_token
     OR (l.claim_token IS NULL AND l.enqueued_at > clock_timestamp()))"""  # noqa: S608 - constants
