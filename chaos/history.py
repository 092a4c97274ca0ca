"""Record what PostgreSQL committed, and check that it was legal.

Triggers (installed only by tests) record every version of a task row and of a lease, and the
session's stage with its row's state whenever a transaction commits. `violations` checks that
record against the guarantees; it shares no code with the product and restates the rules by hand.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    import psycopg

INSTALL = """
CREATE SEQUENCE history_order;
CREATE TABLE history_tasks (
    n bigint PRIMARY KEY DEFAULT nextval('history_order'), txid bigint, session_id uuid,
    old_type text, old_status text, old_task_id uuid, old_retries int,
    new_type text, new_status text, new_task_id uuid, new_retries int, message text,
    worker text,     at timestamptz DEFAULT clock_timestamp());
CREATE INDEX ON history_tasks (session_id);
CREATE TABLE history_leases (
    n bigint PRIMARY KEY DEFAULT nextval('history_order'), txid bigint, session_id uuid,
    action text, old_task_id uuid, old_token uuid, new_task_id uuid, new_token uuid,
    still_lasted boolean);
CREATE TABLE history_commits (
    n bigint PRIMARY KEY DEFAULT nextval('history_order'), txid bigint, session_id uuid,
    stage text, task_type text, status text);

CREATE FUNCTION record_task() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO history_tasks (txid, session_id, old_type, old_status, old_task_id, old_retries,
                               new_type, new_status, new_task_id, new_retries, message,
                               worker)
    VALUES (txid_current(), NEW.session_id,
            CASE WHEN TG_OP = 'UPDATE' THEN OLD.task_type END,
            CASE WHEN TG_OP = 'UPDATE' THEN OLD.status END,
            CASE WHEN TG_OP = 'UPDATE' THEN OLD.task_id END,
            CASE WHEN TG_OP = 'UPDATE' THEN OLD.retry_count END,
            NEW.task_type, NEW.status, NEW.task_id, NEW.retry_count,
            left(NEW.failure_context ->> 'message', 100), NEW.failure_context ->> 'worker');
    RETURN NULL;
END $$;
CREATE TRIGGER record_task AFTER INSERT OR UPDATE ON session_tasks
    FOR EACH ROW EXECUTE FUNCTION record_task();

CREATE FUNCTION record_lease() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO history_leases (txid, session_id, action, old_task_id, old_token, new_task_id,
                                new_token, still_lasted)
    VALUES (txid_current(), CASE WHEN TG_OP = 'DELETE' THEN OLD.session_id ELSE NEW.session_id END,
            TG_OP,
            CASE WHEN TG_OP <> 'INSERT' THEN OLD.task_id END,
            CASE WHEN TG_OP <> 'INSERT' THEN OLD.claim_token END,
            CASE WHEN TG_OP <> 'DELETE' THEN NEW.task_id END,
            CASE WHEN TG_OP <> 'DELETE' THEN NEW.claim_token END,
            CASE WHEN TG_OP = 'DELETE' THEN OLD.leased_until > clock_timestamp() END);
    RETURN NULL;
END $$;
CREATE TRIGGER record_lease AFTER INSERT OR DELETE ON session_task_leases
    FOR EACH ROW EXECUTE FUNCTION record_lease();
CREATE TRIGGER record_lease_claim AFTER UPDATE ON session_task_leases FOR EACH ROW
    WHEN (OLD.claim_token IS DISTINCT FROM NEW.claim_token OR OLD.task_id <> NEW.task_id)
    EXECUTE FUNCTION record_lease();

CREATE FUNCTION record_commit() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE subject uuid;
BEGIN
    subject := CASE TG_TABLE_NAME WHEN 'sessions' THEN (to_jsonb(NEW) ->> 'id')::uuid
                                  ELSE (to_jsonb(NEW) ->> 'session_id')::uuid END;
    INSERT INTO history_commits (txid, session_id, stage, task_type, status)
    SELECT txid_current(), s.id, s.stage, t.task_type, t.status
      FROM sessions s LEFT JOIN session_tasks t ON t.session_id = s.id WHERE s.id = subject;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER record_commit AFTER INSERT OR UPDATE ON sessions
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION record_commit();
CREATE CONSTRAINT TRIGGER record_commit AFTER INSERT OR UPDATE ON session_tasks
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION record_commit();
"""


@dataclass(frozen=True, slots=True)
class TaskVersion:
    """One change of a task row: the old values (None for a new row) and the new ones.

    `message` and `worker` are the failure's; `at` is the moment by the database's clock.
    """

    n: int
    txid: int
    session_id: UUID
    old_type: str | None
    old_status: str | None
    old_task_id: UUID | None
    old_retries: int | None
    new_type: str
    new_status: str
    new_task_id: UUID
    new_retries: int
    message: str | None
    worker: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class LeaseVersion:
    """One change of a lease's holder; `action` is INSERT, UPDATE or DELETE.

    `still_lasted` says whether a deleted lease had not expired.
    """

    n: int
    txid: int
    session_id: UUID
    action: str
    old_task_id: UUID | None
    old_token: UUID | None
    new_task_id: UUID | None
    new_token: UUID | None
    still_lasted: bool | None


@dataclass(frozen=True, slots=True)
class Commit:
    """A session's stage and its row's state when a transaction committed."""

    n: int
    txid: int
    session_id: UUID
    stage: str
    task_type: str | None
    status: str | None


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """An acknowledgement: a caller's operation on this run took effect.

    `operation` is started, completed, failed or cancelled; a worker's also has its claim token.
    """

    operation: str
    session_id: UUID
    task_id: UUID
    claim_token: UUID | None = None


@dataclass(frozen=True, slots=True)
class History:
    """All records, in order."""

    tasks: Sequence[TaskVersion]
    leases: Sequence[LeaseVersion]
    commits: Sequence[Commit]


def install(connection: psycopg.Connection[Any]) -> None:
    """Start recording, into tables of the database under test."""
    connection.execute(INSTALL.encode())


def read(connection: psycopg.Connection[Any]) -> History:
    """Return all records so far."""

    def rows(table: str) -> list[tuple[Any, ...]]:
        return connection.execute(f"SELECT * FROM {table} ORDER BY n".encode()).fetchall()

    return History(
        [TaskVersion(*row) for row in rows("history_tasks")],
        [LeaseVersion(*row) for row in rows("history_leases")],
        [Commit(*row) for row in rows("history_commits")],
    )


# The rules again, written by hand from the specification; not imported from the product.
FOLLOWING = {"processing": "export", "export": "adf_validation"}
MAX_RETRIES = 3
RESCUED = "The worker died or stopped answering"


def _version_is_legal(v: TaskVersion) -> str | None:  # noqa: C901, PLR0911 - a table, read from above
    same_run = v.old_task_id == v.new_task_id and v.old_type == v.new_type
    match v.old_status, v.new_status:
        case None, "running":
            return (
                None if (v.new_type, v.new_retries) == ("processing", 0) else "illegal first task"
            )
        case "running", "completed" | "cancelled":
            return None if same_run and v.new_retries == v.old_retries else "ended another run"
        case "running", "failed":
            if not same_run:
                return "failed another run"
            expected = min((v.old_retries or 0) + 1, MAX_RETRIES)
            return None if v.new_retries == expected else "a failure was not counted"
        case "completed", "running":
            if v.new_task_id == v.old_task_id:
                return "a task_id was used twice"
            legal = FOLLOWING.get(v.old_type or "") == v.new_type and v.new_retries == 0
            return None if legal else "a completed task was modified"
        case "failed", "running":
            if v.new_task_id == v.old_task_id:
                return "a task_id was used twice"
            legal = v.old_type == v.new_type and (v.old_retries or 0) < MAX_RETRIES
            return None if legal and v.new_retries == v.old_retries else "an illegal retry"
        case "cancelled", "running":
            if v.new_task_id == v.old_task_id:
                return "a task_id was used twice"
            return None if v.old_type == v.new_type else "an illegal restart"
        case _:
            return f"an illegal transition, {v.old_status} to {v.new_status}"


def _stage_agrees(commit: Commit) -> bool:
    if commit.task_type is None:
        return commit.stage == "created"
    if commit.task_type == "adf_validation" and commit.status == "completed":
        return commit.stage == "completed"
    return commit.stage == commit.task_type


def violations(history: History, acknowledged: Iterable[Acknowledged] = ()) -> list[str]:
    """Return all violations of guarantees in this history, as text; empty if it is legal."""
    return [
        *_illegal_versions(history.tasks),
        *(
            f"{c.session_id}: stage {c.stage} with {c.task_type} {c.status}"
            for c in history.commits
            if not _stage_agrees(c)
        ),
        *_doubled_runs(history.tasks),
        *_superseded_claims(history),
        *_false_acknowledgements(history, acknowledged),
    ]


def _illegal_versions(tasks: Sequence[TaskVersion]) -> Iterable[str]:
    last: dict[UUID, TaskVersion] = {}
    for version in tasks:
        reason = _version_is_legal(version)
        if reason:
            yield f"{version.session_id}: {reason} ({version})"
        before = last.get(version.session_id)
        if before is not None and before.new_task_id != version.old_task_id:
            yield f"{version.session_id}: a version is missing between {before} and {version}"
        last[version.session_id] = version


def _doubled_runs(tasks: Sequence[TaskVersion]) -> Iterable[str]:
    ended: dict[tuple[UUID, UUID], int] = defaultdict(int)
    for version in tasks:
        if version.old_status == "running" and version.new_status != "running":
            ended[version.session_id, version.new_task_id] += 1
    for (session_id, task_id), count in ended.items():
        if count > 1:
            yield f"{session_id}: run {task_id} ended {count} times"


def _superseded_claims(history: History) -> Iterable[str]:
    """Find completions by other than the lease's holder, and runs with several holders."""
    removed: dict[tuple[int, UUID], LeaseVersion] = {
        (lease.txid, lease.session_id): lease
        for lease in history.leases
        if lease.action == "DELETE"
    }
    for version in history.tasks:
        if version.new_status == "completed":
            lease = removed.get((version.txid, version.session_id))
            if lease is None or lease.old_token is None or lease.old_task_id != version.new_task_id:
                yield f"{version.session_id}: completed without holding the lease ({version})"
        if version.new_status == "failed" and (version.message or "").startswith(RESCUED):
            lease = removed.get((version.txid, version.session_id))
            if lease is None or lease.still_lasted:
                yield f"{version.session_id}: rescued while its lease lasted ({version})"
    for lease in history.leases:
        taken_over = (
            lease.action == "UPDATE"
            and lease.old_token is not None
            and lease.new_token is not None
            and lease.old_task_id == lease.new_task_id
        )
        if taken_over:
            yield f"{lease.session_id}: a claim was taken over from a living holder ({lease})"


def _false_acknowledgements(
    history: History, acknowledged: Iterable[Acknowledged]
) -> Iterable[str]:
    happened: dict[tuple[str, UUID, UUID], int] = defaultdict(int)
    names = {"running": "started"}
    transaction_of: dict[tuple[UUID, UUID], int] = {}
    for version in history.tasks:
        name = names.get(version.new_status, version.new_status)
        happened[name, version.session_id, version.new_task_id] += 1
        if version.new_status != "running":
            transaction_of[version.session_id, version.new_task_id] = version.txid
    removed = {
        (lease.txid, lease.session_id): lease.old_token
        for lease in history.leases
        if lease.action == "DELETE"
    }
    for one, times in Counter(acknowledged).items():
        count = happened[one.operation, one.session_id, one.task_id]
        if count != 1 or times != 1:
            yield (
                f"{one.session_id}: {one.operation} acknowledged {times} times,"
                f" happened {count} times"
            )
            continue
        if one.claim_token is not None:
            txid = transaction_of[one.session_id, one.task_id]
            if removed.get((txid, one.session_id)) != one.claim_token:
                yield f"{one.session_id}: {one.operation} by a superseded claim"
