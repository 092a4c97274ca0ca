"""Several tasks at once in one child: which one its death fails, and which return unstarted."""

from __future__ import annotations

import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from app.engines import runners
from app.engines.execution import Cancelled, Completed, Failed, Outcome, Released
from app.engines.runners import ProcessRunner, make_setup
from app.engines.runs import Run, RunRegistry, StopReason
from app.models.session import TaskStatus, TaskType
from app.tasks.registry import handler_references
from app.values.claims import Claim

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


class Handover:
    """A runner with its child, and runs of sessions with a given behaviour."""

    def __init__(self, bench: Any) -> None:
        self.bench = bench
        self.given_back: list[Run] = []
        setup = make_setup(
            bench.database, bench.settings, handler_references(bench.settings), worker="me"
        )
        self.runner = ProcessRunner(setup, give_back=self.given_back.extend)
        self.lease_seconds = 3600.0
        patient = bench.settings.model_copy(update={"lease_seconds": self.lease_seconds})
        self.table = RunRegistry(patient, on_clock=lambda: None, on_first=lambda: None)

    def run(self, behaviour: str = "succeed", *, age: float = 0.0, **options: Any) -> Run:
        session_id = self.bench.session(behaviour, **options)
        claim = Claim(session_id, uuid.uuid4(), TaskType.PROCESSING, 1, uuid.uuid4(), uuid.uuid4())
        (run,) = self.table.add([claim], claimed_at=time.monotonic() - age)
        return run

    def outcomes(self, runs: Sequence[Run]) -> list[tuple[Run, Outcome]]:
        return list(self.runner.run(runs))


@pytest.fixture
def handover(bench: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Handover]:
    """Disable recalls: on a busy machine, even the lightest task may be slow."""
    monkeypatch.setattr(runners, "SECONDS_BEFORE_RETURN", 3600.0)
    handover = Handover(bench)
    yield handover
    handover.runner.close()


def test_tasks_that_are_handed_over_together_end_one_after_another(handover: Handover) -> None:
    runs = [handover.run(), handover.run("own_error"), handover.run("make_tickets", count=2)]
    outcomes = handover.outcomes(runs)
    assert [run for run, _ in outcomes] == runs
    light, failed, heavy = (outcome for _, outcome in outcomes)
    assert light == Completed()
    assert isinstance(failed, Failed)
    assert isinstance(heavy, Completed)
    assert len(heavy.results.tickets) == 2


def test_a_death_is_of_the_task_that_had_begun_and_the_others_run_elsewhere(
    handover: Handover,
) -> None:
    runs = [handover.run(), handover.run("die"), handover.run(), handover.run("exit")]
    before, death, after, end = (outcome for _, outcome in handover.outcomes(runs))
    assert before == after == Completed()
    assert isinstance(death, Failed)
    assert "SIGKILL" in death.context["message"]
    assert isinstance(end, Failed)
    assert "status 3" in end.context["message"]


def test_tasks_behind_one_that_takes_its_time_are_recalled(
    handover: Handover, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = tmp_path / "go on"
    runs = [
        handover.run(),
        handover.run("wait_for_file", file=str(go_on)),
        handover.run("die"),
        handover.run("die"),
    ]
    outcomes = handover.runner.run(runs)
    assert next(outcomes)[1] == Completed()
    monkeypatch.setattr(runners, "SECONDS_BEFORE_RETURN", 0.1)
    rest: list[tuple[Run, Outcome]] = []
    listener = threading.Thread(target=lambda: rest.extend(outcomes))
    listener.start()
    handover.bench.until(lambda: handover.given_back)
    assert handover.given_back == runs[2:]
    go_on.touch()
    listener.join(60)
    assert rest == [(runs[1], Completed())]
    again = handover.run()
    assert handover.outcomes([again]) == [(again, Completed())]


def test_a_task_whose_lease_may_have_ended_is_not_begun(handover: Handover) -> None:
    late = handover.run("die", age=handover.lease_seconds)
    assert handover.outcomes([handover.run(), late])[1] == (late, Released())


def test_a_task_that_is_stopped_while_a_child_is_started_goes_back_and_the_others_run(
    handover: Handover, caplog: pytest.LogCaptureFixture
) -> None:
    before = set(psutil.Process().children())
    handover.runner.warm_up()
    (child,) = set(psutil.Process().children()) - before
    child.kill()
    stopped, other = handover.run(), handover.run()
    stopped.stop(StopReason.NOT_RENEWED, grace_seconds=60)
    assert handover.outcomes([stopped, other]) == [(stopped, Released()), (other, Completed())]
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a_task_that_lost_its_claim_before_it_began_is_told_at_once(handover: Handover) -> None:
    lost = handover.run("wait_cooperatively")
    lost.stop(StopReason.CLAIM_LOST, grace_seconds=60)
    assert handover.outcomes([handover.run(), lost])[1] == (lost, Cancelled())


def test_a_worker_hands_over_light_tasks_together_and_a_death_among_them_is_its_own(
    bench: Any,
) -> None:
    sessions = [bench.session("die" if n == 90 else "succeed") for n in range(120)]
    worker = bench.worker(concurrency=2, sweeps=False)
    bench.until(lambda: worker.outcome_counts["completed"] == 119)
    bench.until(lambda: worker.outcome_counts["failed"] == 1)
    statuses = [bench.task(session_id).status for session_id in sessions]
    assert [n for n, status in enumerate(statuses) if status == TaskStatus.FAILED] == [90]
