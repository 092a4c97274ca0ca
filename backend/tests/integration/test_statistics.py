"""The overview's figures: counts, groups of failures, live tasks, run times."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import String, literal, select, text

from app.core.errors import ErrorCategory
from app.models.session import MAX_RETRY_COUNT, TaskStatus, TaskType
from app.repositories.content_reader import IncomingDocument
from app.repositories.session_queries import SessionFilter, SessionQueries
from app.repositories.session_repository import SessionRepository
from app.repositories.statistics import SessionCounts, Standing, Statistics, normalised

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.core.database import Database

OWNER = "ada"
P, E, V = TaskType.PROCESSING, TaskType.EXPORT, TaskType.ADF_VALIDATION


def failure(message: str, category: str = "user_fixable", error: str = "DocumentError") -> Any:
    return {"error": error, "message": message, "category": category}


@pytest.fixture
def opened(database: Database) -> Callable[..., uuid.UUID]:
    """Open a session of `OWNER`; return its id."""

    def open_one(label: str = "", *, size: int = 10, owner: str = OWNER) -> uuid.UUID:
        with database.transaction() as db:
            document = IncomingDocument("a.md", b"x" * size)
            session = SessionRepository(db, owner=owner).create_session(
                [document], label=label, auto_advance=False
            )
            return session.id

    return open_one


@pytest.fixture
def moved(database: Database, opened: Callable[..., uuid.UUID]) -> Callable[..., uuid.UUID]:
    """Open a session and bring its processing to the given state."""

    def move(to: str, context: Any = None, *, times: int = 1, **options: Any) -> uuid.UUID:
        session_id = opened(**options)
        for attempt in range(times):
            with database.transaction() as db:
                sessions = SessionRepository(db)
                if attempt:
                    sessions.retry_task(session_id)
                    task_id = sessions.get(session_id).task.task_id
                else:
                    task_id = sessions.start_task(session_id, P).task_id
                if to == "waiting":
                    continue
                if to == "cancelled":
                    sessions.cancel_task(session_id)
                    continue
                claim = sessions.claim_task(session_id, task_id, uuid.uuid4(), lease_seconds=30)
                assert claim is not None
                if to == "failed":
                    sessions.fail_task(claim, context or failure("Row 1 is empty"))
                elif to == "completed":
                    sessions.complete_task(claim)
        return session_id

    return move


def read(database: Database, what: Callable[[Statistics], Any], owner: str = OWNER) -> Any:
    with database.transaction() as db:
        return what(Statistics(db, owner=owner))


def test_every_session_is_counted_once_and_only_the_owners(
    database: Database, opened: Callable[..., uuid.UUID], moved: Callable[..., uuid.UUID]
) -> None:
    for state, count in (
        ("waiting", 1),
        ("running", 2),
        ("completed", 3),
        ("failed", 4),
        ("cancelled", 2),
    ):
        for _ in range(count):
            moved(state)
    opened()
    for state in ("waiting", "running", "completed", "failed", "cancelled"):
        moved(state, owner="bert")
    standing: Standing = read(database, Statistics.standing)
    assert standing.counts == SessionCounts(
        total=13, not_started=1, running=3, waiting=1, completed=3, failed=4, cancelled=2
    )
    assert read(database, Statistics.standing, owner="nobody").counts == SessionCounts()


def test_failures_that_differ_in_names_and_numbers_only_are_one_group(
    database: Database, moved: Callable[..., uuid.UUID]
) -> None:
    first = moved("failed", failure('Row 3 of "a.csv" has 7 columns'))
    moved("failed", failure('Row 41 of "b, c.csv" has 12 columns'))
    spent = moved("failed", failure('Row 5 of "d.csv" has 1 columns'), times=MAX_RETRY_COUNT)
    moved("failed", failure("The disk is full", "admin_required", "StorageError"))
    moved("failed", failure('Row 3 of "a.csv" has 7 columns'), owner="bert")
    standing: Standing = read(database, Statistics.standing)
    rows, *others = standing.failure_groups
    (used_up,) = (group for group in others if group.message == rows.message)
    (disk,) = (group for group in others if group is not used_up)
    assert (used_up.category, used_up.count, used_up.retryable_count) == (
        ErrorCategory.ADMIN_REQUIRED,
        1,
        0,
    )
    assert (rows.message, rows.count, rows.retryable_count) == (
        "Row … of … has … columns",
        2,
        2,
    )
    assert (rows.shown, used_up.shown) == (rows.message, 'Row 5 of "d.csv" has 1 columns')
    assert (disk.error, disk.category, disk.count) == (
        "StorageError",
        ErrorCategory.ADMIN_REQUIRED,
        1,
    )
    assert rows.first_seen_at < rows.last_seen_at
    assert standing.failed_by_category == {
        ErrorCategory.USER_FIXABLE: 2,
        ErrorCategory.ADMIN_REQUIRED: 2,
        ErrorCategory.TEMPORARY: 0,
    }
    runs = read(
        database, lambda s: s.failed_like(rows.task_type, rows.error, rows.message, limit=10)
    )
    assert runs[0][0] == first
    assert len(runs) == 2
    assert spent not in {session_id for session_id, _ in runs}
    assert read(database, lambda s: s.failed_like(E, rows.error, rows.message, limit=10)) == []


def test_failures_with_one_message_are_shown_by_it(
    database: Database, moved: Callable[..., uuid.UUID]
) -> None:
    message = "“shop.md” has no “title” in 3 rows"
    moved("failed", failure(message))
    moved("failed", failure(message))
    standing: Standing = read(database, Statistics.standing)
    (group,) = standing.failure_groups
    assert (group.shown, group.count) == (message, 2)
    assert group.message == "… has no … in … rows"


def test_a_failure_whose_attempts_are_used_up_is_an_administrators_everywhere(
    database: Database, moved: Callable[..., uuid.UUID]
) -> None:
    for category in (*ErrorCategory, "of another program"):
        for times in range(1, MAX_RETRY_COUNT + 1):
            moved("failed", failure("m", category), times=times)
    moved("running")
    moved("cancelled")
    with database.transaction() as db:
        queries = SessionQueries(db, owner=OWNER)
        failed = queries.page(SessionFilter(status=TaskStatus.FAILED), limit=100)
        found = {
            category: {
                s.session_id for s in queries.page(SessionFilter(category=category), limit=100)
            }
            for category in ErrorCategory
        }
    for category in ErrorCategory:
        assert found[category] == {s.session_id for s in failed if s.fixable_by is category}
    standing: Standing = read(database, Statistics.standing)
    assert standing.failed_by_category == {c: len(found[c]) for c in ErrorCategory}
    assert standing.failed_by_category == {
        ErrorCategory.USER_FIXABLE: 2,
        ErrorCategory.ADMIN_REQUIRED: 3 + 3 + 1 + 1,
        ErrorCategory.TEMPORARY: 2,
    }


def test_a_failure_that_is_being_retried_is_no_failure(
    database: Database, moved: Callable[..., uuid.UUID]
) -> None:
    session_id = moved("failed")
    with database.transaction() as db:
        SessionRepository(db).retry_task(session_id)
    standing: Standing = read(database, Statistics.standing)
    assert standing.failure_groups == ()
    assert standing.counts.running == 1


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("can't open 'a b.md': won't do", "can't open …: won't do"),
        ("no 0b8f7c1e-6a0c-4a53-9f0a-1f0d5c1c7b52 here", "no … here"),
        ("3,211 of 9 bytes in 12.5 s, at 10:04:05.", "… of … bytes in … s, at …."),
        ('`x` and “y z” and "w"', "… and … and …"),
        ("nothing varies", "nothing varies"),
        ("", ""),
    ],
)
def test_what_varies_is_left_out_of_a_message(
    database: Database, message: str, expected: str
) -> None:
    with database.transaction() as db:
        assert db.scalar(select(normalised(literal(message, String)))) == expected


def test_what_has_waited_and_run_longest_is_named(
    database: Database, moved: Callable[..., uuid.UUID]
) -> None:
    waiting, running = moved("waiting", label="old"), moved("running", label="slow")
    moved("waiting"), moved("running"), moved("waiting", owner="bert")
    with database.transaction() as db:
        for column, session_id in (("enqueued_at", waiting), ("claimed_at", running)):
            db.execute(
                text(
                    f"UPDATE session_task_leases SET {column} = {column} - interval '60 s'"
                    " WHERE session_id = :id"
                ),
                {"id": session_id},
            )
    live = read(database, Statistics.live)
    assert [worker.held_count for worker in live.workers] == [1, 1]
    assert live.unserved_count == 0, "other programs may run workers, and take it"
    assert (live.oldest_waiting.session_id, live.oldest_running.session_id) == (waiting, running)
    assert (live.oldest_waiting.label, live.oldest_running.label) == ("old", "slow")
    assert 60 <= live.oldest_waiting.seconds < 90
    nobody = read(database, Statistics.live, owner="nobody")
    assert (nobody.oldest_waiting, nobody.oldest_running) == (None, None)


def set_times(database: Database, session_id: uuid.UUID, at: datetime, ran: float) -> None:
    with database.transaction() as db:
        db.execute(
            text(
                "UPDATE sessions SET processing_completed_at = :at, processing_ran_seconds = :ran,"
                " processing_waited_seconds = 1 WHERE id = :id"
            ),
            {"at": at, "ran": ran, "id": session_id},
        )


def test_run_times_are_told_by_slice_and_type(
    database: Database, moved: Callable[..., uuid.UUID]
) -> None:
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    for minutes, ran in ((1, 2.0), (2, 4.0), (14, 6.0), (16, 9.0), (-1, 99.0)):
        set_times(database, moved("completed"), noon + timedelta(minutes=minutes), ran)
    first, second = read(
        database, lambda s: s.run_times(since=noon, slice_length=timedelta(minutes=15))
    )
    assert (first.task_type, first.begins_at, first.count) == (P, noon, 3)
    assert first.ran_median == 4.0
    assert first.ran_p95 == pytest.approx(5.8)
    assert (second.begins_at, second.count) == (noon + timedelta(minutes=15), 1)


def test_time_to_expect_comes_from_past_runs_over_as_much(
    database: Database, moved: Callable[..., uuid.UUID]
) -> None:
    now = datetime.now(UTC)
    for ran in (10.0, 20.0, 30.0, 40.0, 50.0):
        set_times(database, moved("completed", size=1_000), now, ran)
    set_times(database, moved("completed", size=100_000), now, 5_000.0)
    set_times(database, moved("completed", size=1_000, owner="bert"), now, 7_000.0)
    alike, other = moved("running", size=1_500), moved("running", size=50)
    likely = read(database, lambda s: s.likely_seconds([alike, other]))
    assert set(likely) == {alike}
    assert (likely[alike].low, likely[alike].high, likely[alike].run_count) == (20.0, 40.0, 5)
    assert read(database, lambda s: s.likely_seconds([alike]), owner="bert") == {}
    assert read(database, lambda s: s.likely_seconds([])) == {}
