"""Compare the model's methods and the guarded SQL, step by step, with rules written by hand.

Three implementations of the rules are compared: the objects, the rows, and `chaos.by_hand`.
`SESSION_TASKS_TEST_STEPS` sets the number of steps over all shards.
"""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import psycopg
import pytest
from chaos.by_hand import NEXT, REFUSED, TYPES, ByHand
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import make_url

from app.core.database import Database
from app.core.errors import TaskError
from app.models.session import Session, SessionStage, SessionTask, TaskStatus, TaskType
from app.repositories.session_repository import SessionRepository, successor_id
from app.repositories.transitions import Transition
from app.values.claims import Claim

if TYPE_CHECKING:
    from collections.abc import Callable

STEPS = int(os.environ.get("SESSION_TASKS_TEST_STEPS", "4000"))
SHARDS = 4
STEPS_PER_EXAMPLE = 50

messages = st.one_of(
    st.sampled_from(["it broke", "x" * 400, "password=hunter2", "\x00\ud800"]), st.text(max_size=30)
)
categories = st.sampled_from(["user_fixable", "admin_required", "temporary"])


class Faces(RuleBasedStateMachine):
    """One session in three forms; every rule does the same to each, and compares them."""

    def __init__(self, database: Database, count_step: Callable[[], None]) -> None:
        super().__init__()
        self.database = database
        self.count_step = count_step
        self.raw = psycopg.connect(
            make_url(database.url).set(drivername="postgresql").render_as_string(False),
            autocommit=True,
        )

    def teardown(self) -> None:
        self.raw.close()

    @initialize(advances=st.booleans())
    def open_a_session(self, advances: bool) -> None:
        self.by_hand = ByHand(advances=advances)
        with self.database.transaction() as db:
            self.session_id = SessionRepository(db).create_session(auto_advance=advances).id
        self.session = Session(
            id=self.session_id, stage=SessionStage.CREATED, auto_advance=advances
        )
        self.task: SessionTask | None = None
        self.claim: Claim | None = None
        self.old_claims: list[Claim] = []

    # -- the acts ---------------------------------------------------------------------------------

    @rule(task_type=st.sampled_from(TYPES))
    def start(self, task_type: str) -> None:
        word = self.by_hand.start(task_type)
        in_sql = self._in_sql(lambda s: s.start_task(self.session_id, TaskType(task_type)))
        task_id = in_sql.task_id if isinstance(in_sql, Transition) else uuid.uuid4()
        in_memory = _outcome(lambda: self._start_in_memory(TaskType(task_type), task_id))
        for outcome in (in_sql, in_memory):
            _expect(outcome, REFUSED.get(word))
        self._compare()

    @rule()
    def retry(self) -> None:
        own_type = self.by_hand.task_type
        word = self.by_hand.start(own_type) if own_type else "nothing to retry"
        in_sql = self._in_sql(lambda s: s.retry_task(self.session_id))
        if not own_type:
            _expect(in_sql, ("TaskValidationError", "user_fixable", "has no task yet"))
            return
        task_id = in_sql.task_id if isinstance(in_sql, Transition) else uuid.uuid4()
        assert self.task is not None
        in_memory = _outcome(lambda: self._there.mark_started(task_id))
        for outcome in (in_sql, in_memory):
            _expect(outcome, REFUSED.get(word))
        self._compare()

    @rule()
    def complete(self) -> None:
        was = self.by_hand.task_type
        is_legal = self.by_hand.complete()
        claim = self._claim()
        in_sql = self._in_sql(lambda s: s.complete_task(claim))
        self._ended(is_legal, in_sql, SessionTask.mark_completed)
        if is_legal and self.by_hand.advances and was in NEXT:
            self._there.advance(TaskType(NEXT[was]), successor_id(claim.task_id))
        self._compare()

    @rule(message=messages, category=categories)
    def fail(self, message: str, category: str) -> None:
        context = {"error": "Broken", "message": message, "category": category}
        is_legal = self.by_hand.fail(message)
        claim = self._claim()
        in_sql = self._in_sql(lambda s: s.fail_task(claim, context))
        self._ended(is_legal, in_sql, lambda task: task.mark_failed(context))
        self._compare()

    @rule()
    def cancel(self) -> None:
        is_legal = self.by_hand.cancel()
        in_sql = self._in_sql(lambda s: s.cancel_task(self.session_id))
        self._ended(is_legal, in_sql, SessionTask.mark_cancelled, "TaskValidationError")
        self._compare()

    @rule()
    def lose_the_worker(self) -> None:
        was_running = self.by_hand.status == "running"
        if was_running:
            claim = self._claim()
            self._in_sql(lambda s: s.heartbeat([claim], lease_seconds=-1))
        moved = self._in_sql(lambda s: s.rescue_expired(only=[self.session_id]))
        if not was_running:
            assert moved == []
            return
        self.by_hand.fail("The worker died")
        lost = {k: moved[0].failure_context[k] for k in ("error", "message", "category", "worker")}
        self._there.mark_failed({**lost, "next_step": moved[0].failure_context["next_step"]})
        if self.by_hand.count < 3:
            self.by_hand.start(self.by_hand.task_type)
            self._there.mark_started(moved[1].task_id)
        self._compare()

    @rule()
    def claim_beat_and_release(self) -> None:
        if self.by_hand.status == "running":
            claim = self._claim()
            assert self._in_sql(lambda s: s.heartbeat([claim])) == {self.session_id}
            assert self._in_sql(lambda s: s.release_task(claim)) is None
            self.old_claims.append(claim)
            self.claim = None
        self._compare()

    @precondition(lambda self: self.old_claims)
    @rule(data=st.data())
    def write_with_a_claim_of_the_past(self, data: st.DataObject) -> None:
        old = data.draw(st.sampled_from(self.old_claims))
        refusals = self._in_sql(
            lambda s: [
                _outcome(lambda: s.complete_task(old)),
                _outcome(lambda: s.fail_task(old, {"message": "late"})),
                _outcome(lambda: s.report_progress(old, 1)),
                _outcome(lambda: s.release_task(old)),
            ]
        )
        for refusal in refusals:
            _expect(refusal, ("StaleClaim", "temporary", "no longer yours"))
        self._compare()

    @rule()
    def lose_the_leases(self) -> None:
        """Crash the database, for this session: its worker restores the lease and continues."""
        if self.by_hand.status == "running":
            claim = self._claim()
            self.raw.execute(
                "DELETE FROM session_task_leases WHERE session_id = %s", [self.session_id]
            )
            assert self._in_sql(lambda s: s.heartbeat([claim])) == {self.session_id}
        self._compare()

    @precondition(lambda self: self.by_hand.status == "failed")
    @rule()
    def give_attempts_back(self) -> None:
        self.by_hand.count = 0
        self._in_sql(lambda s: s.reset_retries(self.session_id))
        self._there.retry_count = 0
        self._compare()

    # -- the three shapes -------------------------------------------------------------------------

    @property
    def _there(self) -> SessionTask:
        assert self.task is not None
        return self.task

    def _start_in_memory(self, task_type: TaskType, task_id: uuid.UUID) -> None:
        if self.task is None:
            task = SessionTask(
                session=self.session, session_id=self.session_id, task_type=task_type
            )
            try:
                task.mark_started(task_id)
            except TaskError:
                self.session.task = None
                raise
            self.task = task
        elif self.task.status == TaskStatus.COMPLETED:
            self.task.advance(task_type, task_id)
        elif self.task.task_type == task_type:
            self.task.mark_started(task_id)
        else:
            raise self.task.start_error(task_type)

    def _in_sql(self, act: Callable[[SessionRepository], Any]) -> Any:
        with self.database.transaction() as db:
            return _outcome(lambda: act(SessionRepository(db)))

    def _claim(self) -> Claim:
        """Return the running task's claim, made now or before; without one, an invented claim."""
        task_id = self.task.task_id if self.task else uuid.uuid4()
        if self.claim is None or self.claim.task_id != task_id:
            if self.claim is not None:
                self.old_claims.append(self.claim)
            self.claim = self._in_sql(
                lambda s: s.claim_task(self.session_id, task_id, uuid.uuid4())
            )
        if self.claim is not None:
            return self.claim
        return Claim(self.session_id, task_id, TaskType.PROCESSING, 1, uuid.uuid4(), uuid.uuid4())

    def _ended(
        self,
        is_legal: bool,
        in_sql: Any,
        in_memory: Callable[[SessionTask], None],
        sql_refusal: str = "StaleClaim",
    ) -> None:
        """A worker's refusal says that its claim is stale, a user's which state the task is in."""
        if is_legal:
            assert isinstance(in_sql, Transition), in_sql
            assert _outcome(lambda: in_memory(self._there)) is None
            return
        assert type(in_sql).__name__ == sql_refusal
        if self.task is not None:
            words = "Cannot modify completed" if self.by_hand.status == "completed" else "Cannot"
            refused = _outcome(lambda: in_memory(self._there))
            _expect(refused, ("TaskValidationError", "user_fixable", words))

    def _compare(self) -> None:
        self.count_step()
        row = self.raw.execute(
            "SELECT s.stage, t.task_type, t.status, t.task_id, t.retry_count, t.completed_at,"
            " t.failed_at, t.failure_context, l.task_id"
            " FROM sessions s LEFT JOIN session_tasks t ON t.session_id = s.id"
            " LEFT JOIN session_task_leases l ON l.session_id = s.id WHERE s.id = %s",
            [self.session_id],
        ).fetchone()
        assert row is not None
        expected = self.by_hand
        assert row[0] == self.session.stage.value == expected.stage
        if self.task is None:
            assert row[1] is None
            assert expected.task_type == ""
            return
        assert row[1] == self.task.task_type.value == expected.task_type
        assert row[2] == self.task.status.value == expected.status
        assert row[3] == self.task.task_id
        assert row[4] == self.task.retry_count == expected.count
        for moment, in_memory, status in (
            (row[5], self.task.completed_at, "completed"),
            (row[6], self.task.failed_at, "failed"),
        ):
            assert (moment is not None) == (in_memory is not None) == (expected.status == status)
        assert row[8] == (row[3] if expected.status == "running" else None), "lease and row"
        context = self.task.failure_context
        assert _without_moments(row[7]) == _without_moments(context)
        assert (context is None) == (not expected.failures)
        if context is not None:
            told = [*context.get("earlier", ()), context]
            assert [failure["attempt"] for failure in told] == expected.attempts
            assert len(told) == len(expected.failures)


def _outcome(act: Callable[[], Any]) -> Any:
    try:
        return act()
    except TaskError as error:
        return error


def _expect(outcome: Any, refusal: tuple[str, str, str] | None) -> None:
    if refusal is None:
        assert not isinstance(outcome, Exception), outcome
        return
    name, category, words = refusal
    assert isinstance(outcome, TaskError), outcome
    assert (type(outcome).__name__, outcome.category.value) == (name, category)
    assert words in outcome.message


def _without_moments(context: Any) -> Any:
    if isinstance(context, dict):
        return {k: _without_moments(v) for k, v in context.items() if k != "failed_at"}
    if isinstance(context, list):
        return [_without_moments(item) for item in context]
    return context


@pytest.mark.parametrize("shard", range(SHARDS))
def test_objects_rows_and_the_table_by_hand_agree(shard: int, database: Database) -> None:
    steps = 0

    def count_step() -> None:
        nonlocal steps
        steps += 1

    wanted = STEPS // SHARDS
    while steps < wanted:
        run_state_machine_as_test(
            lambda: Faces(database, count_step),
            settings=settings(
                max_examples=max(1, (wanted - steps) // STEPS_PER_EXAMPLE + 1),
                stateful_step_count=STEPS_PER_EXAMPLE,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    assert steps >= wanted
