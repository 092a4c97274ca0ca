"""The heart: whose claim holds goes on, whose does not is stopped."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from app.engines.connections import vital_database
from app.engines.heartbeat import LeaseRenewer
from app.engines.runs import RunRegistry, StopReason
from app.models.session import TaskType
from app.repositories.session_repository import SessionRepository

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from app.engines.runs import Run


class Beating:
    """A table of runs and the heart that beats for them, without a worker around."""

    def __init__(self, bench: Any) -> None:
        self.database = bench.database
        self.runs = RunRegistry(bench.settings, on_clock=lambda: None, on_first=lambda: None)
        self.vital = vital_database(bench.database, bench.settings)
        self.heart = LeaseRenewer(self.vital, bench.settings, self.runs, bench.database)
        self.worker_id = uuid.uuid4()

    def act(self, act: Any) -> Any:
        with self.database.transaction() as db:
            return act(SessionRepository(db))

    def begun(self, session_id: UUID) -> Run:
        """The run of a session's first task."""
        started = self.act(lambda s: s.start_task(session_id, TaskType.PROCESSING))
        return self.run_of(session_id, started.task_id)

    def run_of(self, session_id: UUID, task_id: UUID) -> Run:
        claim = self.act(lambda s: s.claim_task(session_id, task_id, self.worker_id))
        (run,) = self.runs.add([claim], claimed_at=time.monotonic())
        return run


@pytest.fixture
def beating(bench: Any) -> Iterator[Beating]:
    beating = Beating(bench)
    yield beating
    beating.heart.close()
    beating.vital.close()


def test_a_cancelled_run_is_stopped_also_beside_the_one_that_follows_it(
    bench: Any, beating: Beating
) -> None:
    session_id = bench.new_session()
    cancelled = beating.begun(session_id)
    beating.act(lambda s: s.cancel_task(session_id))
    again = beating.act(lambda s: s.retry_task(session_id))
    follower = beating.run_of(session_id, again.task_id)
    with cancelled.running(kill=lambda: None), follower.running(kill=lambda: None):
        beating.heart.beat()
    assert cancelled.stop_reason is StopReason.CLAIM_LOST
    assert follower.stop_reason is None


def test_a_run_that_was_given_back_is_stopped_also_beside_its_own_next_claim(
    bench: Any, beating: Beating
) -> None:
    old = beating.begun(bench.new_session())
    beating.act(lambda s: s.release_task(old.claim))
    new = beating.run_of(old.claim.session_id, old.claim.task_id)
    beating.heart.beat()
    assert (old.stop_reason, new.stop_reason) == (StopReason.CLAIM_LOST, None)
