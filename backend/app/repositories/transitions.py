"""The transitions of tasks: from requests to the rows that moved.

Each is one of `app.repositories.statements`, or two where one would lock in the wrong order. This
is the only module that uses the driver directly, because it is measurably faster.

Transitions for many callers at once have `skips_locked`, which leaves out rows that another
transaction has locked, so that a lock delays only the callers of those.

One file of more than 450 lines: all transitions share their encoding of arrays and decoding of
rows, and their order of locks can be compared.
"""

from __future__ import annotations

import contextlib
import struct
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format, TransactionStatus
from psycopg.types.json import Jsonb

from app.core.json_safety import safe_text
from app.repositories import statements
from app.values.claims import MESSAGE_CHARACTERS, Claim
from app.values.states import TaskStatus, TaskType

LARGEST_BIGINT = 2**63 - 1

STARTS_PER_STATEMENT = 2_000
"""With more rows in one statement, each takes longer: they no longer fit into `work_mem`."""

RESTORED_LEASE_SECONDS = 30.0
"""The duration of a lease that is restored only to be ended in the same transaction."""


Start = tuple[uuid.UUID, TaskType, uuid.UUID]
"""A start of a task: `(session_id, task_type, task_id)`, with a new id."""


@dataclass(frozen=True, slots=True)
class ClaimRequest:
    """An idempotent claim of this task: repeating it with the same token returns the claim made."""

    session_id: uuid.UUID
    task_id: uuid.UUID
    worker_id: uuid.UUID
    claim_token: uuid.UUID = field(default_factory=uuid.uuid4)


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """One heartbeat: the claim it renews, and its task's progress (None: unchanged)."""

    claim: Claim
    current: int | None = None
    total: int | None = None
    message: str | None = None


class Transition(NamedTuple):
    """A task row that moved, with its new state.

    Attributes:
        retry_count: failures so far.
        moment: when it started or ended, by the database's clock.
        duration_seconds: from start to end; 0.0 for a start.
        auto_advance: whether the session's next task starts automatically.
        failure_context: the stored context, for a failure.

    """

    session_id: uuid.UUID
    task_type: TaskType
    task_id: uuid.UUID
    status: TaskStatus
    retry_count: int
    moment: datetime
    duration_seconds: float
    auto_advance: bool
    failure_context: dict[str, Any] | None


# `TaskType(...)` costs as much as the driver's reading of the whole row.
_TASK_TYPES = {each.value: each for each in TaskType}
_STATUSES = {each.value: each for each in TaskStatus}
_new = tuple.__new__  # takes half the time of a named tuple's constructor

_IS_CLAIMED = 9
"""The column behind those of a `Transition`, of START_CLAIMED."""

_CURSORS = "session_tasks_cursors"


class _Uuids(list[uuid.UUID | None]):
    """A uuid[] with a dumper of its own: the driver's would check each element five times."""


class _UuidsDumper(Dumper):
    """Encodes the array as PostgreSQL reads it (array_recv): one dimension, binary elements."""

    format = Format.BINARY
    oid = 2951  # uuid[]

    def dump(self, obj: _Uuids) -> bytes:
        has_null = False
        try:  # `each.bytes` would be a Python call for each
            items = [_SIXTEEN + each.int.to_bytes(16, "big") for each in obj]  # type: ignore[union-attr]
        except AttributeError:  # of None
            has_null = True
            items = [_NULL if each is None else _SIXTEEN + each.bytes for each in obj]
        return _array_head(_UUID_OID, obj, has_null=has_null) + b"".join(items)


class _TaskTypes(list[TaskType]):
    """A text[] with a dumper of its own, for the same reason."""


class _TaskTypesDumper(Dumper):
    """See `_UuidsDumper`."""

    format = Format.BINARY
    oid = 1009  # text[]

    def dump(self, obj: _TaskTypes) -> bytes:
        return _array_head(_TEXT_OID, obj) + b"".join([_ENCODED[each] for each in obj])


def _array_head(element_oid: int, array: Sequence[Any], *, has_null: bool = False) -> bytes:
    head = struct.pack("!iiIii", bool(array), has_null, element_oid, len(array), 1)
    return head if array else head[:12]


_UUID_OID, _TEXT_OID = 2950, 25
_SIXTEEN = struct.pack("!i", 16)
_NULL = b"\xff\xff\xff\xff"
_ENCODED = {each: struct.pack("!i", len(each.value)) + each.value.encode() for each in TaskType}
psycopg.adapters.register_dumper(_Uuids, _UuidsDumper)
psycopg.adapters.register_dumper(_TaskTypes, _TaskTypesDumper)


def _transitions(
    connection: psycopg.Connection[Any], statement: str, parameters: Mapping[str, Any]
) -> list[Transition]:
    return _moved(_rows(connection, statement, parameters))


def _moved(rows: Sequence[tuple[Any, ...]]) -> list[Transition]:
    return [
        _new(Transition, (row[0], _TASK_TYPES[row[1]], row[2], _STATUSES[row[3]], *row[4:9]))
        for row in rows
    ]


def _claim_tokens(
    connection: psycopg.Connection[Any], statement: str, parameters: Mapping[str, Any]
) -> set[uuid.UUID]:
    return {row[0] for row in _rows(connection, statement, parameters)}


def _rows(
    connection: psycopg.Connection[Any], statement: str, parameters: Mapping[str, Any]
) -> list[tuple[Any, ...]]:
    """Execute the statement, and return its rows.

    Each connection keeps a cursor for each statement, which caches the adapters of its parameters
    and columns; a new one would look them all up again.
    """
    cursors: dict[str, psycopg.Cursor[Any]] = vars(connection).setdefault(_CURSORS, {})
    cursor = cursors.get(statement)
    if cursor is None:
        cursor = cursors[statement] = connection.cursor(binary=True)
    return cursor.execute(statement, parameters).fetchall()


def _variant(statement: str, *, skips_locked: bool) -> str:
    return statements.skipping_locked(statement) if skips_locked else statement


def _claim_parameters(claims: Sequence[Claim | ClaimRequest]) -> dict[str, Any]:
    return {
        "session_ids": _Uuids([claim.session_id for claim in claims]),
        "task_ids": _Uuids([claim.task_id for claim in claims]),
        "claim_tokens": _Uuids([claim.claim_token for claim in claims]),
    }


def start(
    connection: psycopg.Connection[Any],
    starts: Sequence[Start],
    *,
    owner: str | None = None,
    skips_locked: bool = False,
) -> list[Transition]:
    """Start each; no session twice in one call.

    Many are sent in several statements, in id order, so that all are locked as by one; the driver
    reads the rows of one while the server executes the next (pipeline mode).
    """
    statement = _variant(statements.START, skips_locked=skips_locked)
    return _moved(_started_rows(connection, statement, starts, {"owner": owner}))


def start_claimed(
    connection: psycopg.Connection[Any],
    starts: Sequence[Start],
    *,
    worker_id: uuid.UUID,
    lease_seconds: float,
    skips_locked: bool = False,
) -> tuple[list[Transition], list[Claim]]:
    """Start each and claim it for that worker; no session twice in one call.

    Returns the starts that moved, and the claims: none for a type whose claims are paused.
    """
    statement = _variant(statements.START_CLAIMED, skips_locked=skips_locked)
    known = {"owner": None, "worker_id": worker_id, "lease_seconds": lease_seconds}
    rows = _started_rows(connection, statement, starts, known)
    moved = _moved(rows)
    return moved, [
        claim_with_its_start(each, worker_id)
        for each, row in zip(moved, rows, strict=True)
        if row[_IS_CLAIMED]
    ]


def _started_rows(
    connection: psycopg.Connection[Any],
    statement: str,
    starts: Sequence[Start],
    known: Mapping[str, Any],
) -> list[tuple[Any, ...]]:
    def parameters(some: Sequence[Start]) -> dict[str, Any]:
        return {
            **known,
            "session_ids": _Uuids([session_id for session_id, _, _ in some]),
            "task_types": _TaskTypes([task_type for _, task_type, _ in some]),
            "task_ids": _Uuids([task_id for _, _, task_id in some]),
        }

    if len(starts) <= STARTS_PER_STATEMENT:
        return _rows(connection, statement, parameters(starts))
    in_order = sorted(starts, key=lambda each: each[0].bytes)
    with contextlib.ExitStack() as stack:
        stack.enter_context(connection.pipeline())
        cursors = [
            stack.enter_context(connection.cursor(binary=True)).execute(
                statement, parameters(in_order[first : first + STARTS_PER_STATEMENT])
            )
            for first in range(0, len(in_order), STARTS_PER_STATEMENT)
        ]
        return [row for cursor in cursors for row in cursor.fetchall()]


def claim_with_its_start(started: Transition, worker_id: uuid.UUID) -> Claim:
    """Return the claim of a start by `start_claimed`, unless claims were paused."""
    return Claim(
        started.session_id,
        started.task_id,
        started.task_type,
        started.retry_count + 1,
        started.task_id,
        worker_id,
    )


def retry(
    connection: psycopg.Connection[Any],
    retries: Sequence[tuple[uuid.UUID, uuid.UUID | None, uuid.UUID]],
    *,
    owner: str | None = None,
    skips_locked: bool = False,
) -> list[Transition]:
    """Retry each `(session_id, expected task_id or None, new task_id)`."""
    return _transitions(
        connection,
        _variant(statements.RETRY, skips_locked=skips_locked),
        {
            "owner": owner,
            "session_ids": _Uuids([session_id for session_id, _, _ in retries]),
            "expected_task_ids": _Uuids([expected for _, expected, _ in retries]),
            "task_ids": _Uuids([task_id for _, _, task_id in retries]),
        },
    )


def cancel(
    connection: psycopg.Connection[Any],
    cancels: Sequence[tuple[uuid.UUID, uuid.UUID | None]],
    *,
    owner: str | None = None,
    skips_locked: bool = False,
) -> list[Transition]:
    """Cancel each `(session_id, expected task_id or None)`, whatever its claim.

    The only transition that begins with the task and not with its lease. A lease made while it
    waited for the session (a run that just began) is newer than the waiting statement's snapshot,
    and would be left behind: so a separate statement locks the sessions first.
    """
    session_ids = _Uuids([session_id for session_id, _ in cancels])
    # psycopg's `transaction()` would commit the caller's transaction if it has not begun.
    with connection.transaction() if connection.autocommit else contextlib.nullcontext():
        connection.execute(
            _variant(statements.LOCK, skips_locked=skips_locked), {"session_ids": session_ids}
        )
        return _transitions(
            connection,
            _variant(statements.CANCEL, skips_locked=skips_locked),
            {
                "owner": owner,
                "session_ids": session_ids,
                "expected_task_ids": _Uuids([expected for _, expected in cancels]),
            },
        )


def claim_next(  # noqa: PLR0913 - what a claim is made of
    connection: psycopg.Connection[Any],
    worker_id: uuid.UUID,
    *,
    task_types: Sequence[TaskType],
    limit: int,
    lease_seconds: float,
    call_id: uuid.UUID | None = None,
) -> list[Claim]:
    """Claim up to `limit` waiting tasks, the longest waiting first.

    After a lost response, `claims_of_call` with the same `call_id` returns the claims.
    """
    return _claims(
        connection,
        statements.CLAIM_NEXT,
        {
            "worker_id": worker_id,
            "call_id": call_id or uuid.uuid4(),
            "task_types": _TaskTypes(task_types),
            "limit": limit,
            "lease_seconds": lease_seconds,
        },
    )


def claims_of_call(
    connection: psycopg.Connection[Any], worker_id: uuid.UUID, call_id: uuid.UUID
) -> list[Claim]:
    """Return the claims of this call of `claim_next` that still hold."""
    return _claims(
        connection, statements.CLAIMS_OF_CALL, {"worker_id": worker_id, "call_id": call_id}
    )


def waiting(
    connection: psycopg.Connection[Any],
    session_ids: Collection[uuid.UUID],
    *,
    task_types: Sequence[TaskType],
    limit: int,
) -> list[tuple[uuid.UUID, uuid.UUID]]:
    """Return the runs `(session_id, task_id)` of these sessions that wait to be claimed."""
    rows = _rows(
        connection,
        statements.WAITING,
        {
            "session_ids": _Uuids(session_ids),
            "task_types": _TaskTypes(task_types),
            "limit": limit,
        },
    )
    return [(session_id, task_id) for session_id, task_id in rows]


def claim_these(
    connection: psycopg.Connection[Any], wishes: Sequence[ClaimRequest], *, lease_seconds: float
) -> list[Claim]:
    """Claim each that is still waiting; no session twice in one call."""
    return _claims(
        connection,
        statements.CLAIM_THESE,
        {
            "session_ids": _Uuids([wish.session_id for wish in wishes]),
            "task_ids": _Uuids([wish.task_id for wish in wishes]),
            "worker_ids": _Uuids([wish.worker_id for wish in wishes]),
            "claim_tokens": _Uuids([wish.claim_token for wish in wishes]),
            "lease_seconds": lease_seconds,
        },
    )


def _claims(
    connection: psycopg.Connection[Any], statement: str, parameters: Mapping[str, Any]
) -> list[Claim]:
    return [
        _new(Claim, (row[0], row[1], _TASK_TYPES[row[2]], *row[3:]))
        for row in _rows(connection, statement, parameters)
    ]


def complete(
    connection: psycopg.Connection[Any], claims: Sequence[Claim], *, skips_locked: bool = False
) -> list[Transition]:
    """Complete each task whose claim still holds, or whose lease was lost in a database crash."""
    statement = _variant(statements.COMPLETE, skips_locked=skips_locked)

    def send(some: Sequence[Claim]) -> list[Transition]:
        return _transitions(connection, statement, _claim_parameters(some))

    return _ended_by(connection, claims, send, skips_locked=skips_locked)


def fail(
    connection: psycopg.Connection[Any],
    failures: Sequence[tuple[Claim, Mapping[str, Any]]],
    *,
    backoff_seconds: float,
    skips_locked: bool = False,
) -> list[Transition]:
    """Fail each task whose claim still holds, with its (already safe) context.

    Also if its lease was lost in a database crash.
    """
    contexts = dict(failures)
    statement = _variant(statements.FAIL, skips_locked=skips_locked)

    def send(some: Sequence[Claim]) -> list[Transition]:
        return _transitions(
            connection,
            statement,
            {
                **_claim_parameters(some),
                "contexts": [Jsonb(contexts[claim]) for claim in some],
                "backoff_seconds": backoff_seconds,
            },
        )

    return _ended_by(connection, list(contexts), send, skips_locked=skips_locked)


def _ended_by(
    connection: psycopg.Connection[Any],
    claims: Sequence[Claim],
    send: Callable[[Sequence[Claim]], list[Transition]],
    *,
    skips_locked: bool,
) -> list[Transition]:
    """Send the claims; if some moved nothing, restore leases lost in a crash, and send again.

    Inside a transaction, the first locks are released before it waits for those of the others.
    """
    may_deadlock = len(claims) > 1 and not skips_locked and not _is_between_transactions(connection)
    if may_deadlock:
        connection.execute("SAVEPOINT before_ending")
        moved = send(claims)
        if len(moved) < len(claims):
            connection.execute("ROLLBACK TO SAVEPOINT before_ending")
            restore_leases(connection, claims)
            moved = send(claims)
        connection.execute("RELEASE SAVEPOINT before_ending")
        return moved
    moved = send(claims)
    if len(moved) == len(claims):
        return moved
    ended = {transition.task_id for transition in moved}
    lost = [claim for claim in claims if claim.task_id not in ended]
    restored = restore_leases(connection, lost, skips_locked=skips_locked)
    again = [claim for claim in lost if claim.claim_token in restored]
    return moved + (send(again) if again else [])


def _is_between_transactions(connection: psycopg.Connection[Any]) -> bool:
    """Return whether each statement is a transaction of its own, which keeps no lock."""
    return connection.autocommit and connection.info.transaction_status == TransactionStatus.IDLE


def rescue(
    connection: psycopg.Connection[Any], *, limit: int, only: Sequence[uuid.UUID] | None = None
) -> list[Transition]:
    """Fail (`worker_lost`, counted) up to `limit` tasks whose lease has ended."""
    return _transitions(
        connection,
        statements.RESCUE,
        {"limit": limit, "only": None if only is None else list(only)},
    )


def expired(connection: psycopg.Connection[Any]) -> list[uuid.UUID]:
    """Return the sessions whose lease has ended, in the order of their ends."""
    rows = connection.execute(
        "SELECT session_id FROM session_task_leases"
        " WHERE leased_until < clock_timestamp() ORDER BY leased_until"
    )
    return [session_id for (session_id,) in rows]


def release(
    connection: psycopg.Connection[Any],
    claims: Sequence[Claim | ClaimRequest],
    *,
    skips_locked: bool = False,
) -> set[uuid.UUID]:
    """Release claims without spending an attempt; return the tokens of those that still held."""
    return _claim_tokens(
        connection,
        _variant(statements.RELEASE, skips_locked=skips_locked),
        _claim_parameters(claims),
    )


def still_valid(connection: psycopg.Connection[Any], claims: Sequence[Claim]) -> set[uuid.UUID]:
    """Return the tokens of claims that hold or can be restored, without waiting for locks.

    If such a claim could write nothing, another transaction has locked the session.
    """
    if not claims:
        return set()
    return _claim_tokens(connection, statements.STILL_VALID, _claim_parameters(claims))


def heartbeat(
    connection: psycopg.Connection[Any],
    beats: Sequence[Heartbeat],
    *,
    lease_seconds: float,
    skips_locked: bool = False,
) -> set[uuid.UUID]:
    """Renew leases and record progress; return the tokens of the claims that still hold.

    A lease lost in a database crash is restored. That locks sessions, which must never be waited
    for while leases are locked: inside a transaction, the renewals are first rolled back to a
    savepoint, and repeated afterwards.
    """
    if _is_between_transactions(connection):
        renewed = _renew(connection, beats, lease_seconds, skips_locked=skips_locked)
        lost = [beat.claim for beat in beats if beat.claim.claim_token not in renewed]
        return renewed | restore_leases(
            connection, lost, lease_seconds=lease_seconds, skips_locked=skips_locked
        )
    connection.execute("SAVEPOINT before_renewal")
    renewed = _renew(connection, beats, lease_seconds, skips_locked=skips_locked)
    if len(renewed) < len(beats):
        connection.execute("ROLLBACK TO SAVEPOINT before_renewal")
        restore_leases(
            connection,
            [beat.claim for beat in beats],
            lease_seconds=lease_seconds,
            skips_locked=skips_locked,
        )
        renewed = _renew(connection, beats, lease_seconds, skips_locked=skips_locked)
    connection.execute("RELEASE SAVEPOINT before_renewal")
    return renewed


def _renew(
    connection: psycopg.Connection[Any],
    beats: Sequence[Heartbeat],
    lease_seconds: float,
    *,
    skips_locked: bool,
) -> set[uuid.UUID]:
    return _claim_tokens(
        connection,
        _variant(statements.HEARTBEAT, skips_locked=skips_locked),
        {
            **_claim_parameters([beat.claim for beat in beats]),
            "currents": [_whole(beat.current) for beat in beats],
            "totals": [_whole(beat.total) for beat in beats],
            "messages": [
                None if beat.message is None else safe_text(beat.message)[:MESSAGE_CHARACTERS]
                for beat in beats
            ],
            "lease_seconds": lease_seconds,
        },
    )


def _whole(number: int | None) -> int | None:
    """Return the number, or the nearest that can be stored: an error would cost the lease."""
    return None if number is None else max(0, min(int(number), LARGEST_BIGINT))


def restore_leases(
    connection: psycopg.Connection[Any],
    claims: Sequence[Claim],
    *,
    lease_seconds: float = RESTORED_LEASE_SECONDS,
    skips_locked: bool = False,
) -> set[uuid.UUID]:
    """Restore leases that a database crash removed; return the tokens of their claims.

    Claims that hold are unchanged, but their leases are locked in one order with the rest: in a
    transaction, name all claims that it will write.
    """
    if not claims:
        return set()
    return _claim_tokens(
        connection,
        _variant(statements.RESTORE_LEASE, skips_locked=skips_locked),
        {
            **_claim_parameters(claims),
            "worker_ids": _Uuids([claim.worker_id for claim in claims]),
            "lease_seconds": lease_seconds,
        },
    )
