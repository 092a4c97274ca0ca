"""`session-tasks workers` lists the workers that are alive, and drains one."""

from __future__ import annotations

import json
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from app.cli.application import run_command
from app.cli.following import WaitingHint
from app.cli.snapshot import read_snapshot
from app.cli.terminal import Terminal
from app.engines.presence import host_name
from app.models.session import TaskType
from tests.worker_rows import add_worker, let_it_wait

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.core.database import Database


@pytest.fixture
def workers(cli: Callable[..., tuple[int, str]]) -> Callable[..., tuple[int, str]]:
    """Runs `workers …`; see `cli`."""
    return partial(cli, "workers")


def test_workers_are_listed_with_what_they_hold(
    workers: Any, database: Database, make_session: Any, act: Any
) -> None:
    worker_id = add_worker(database)
    session_id = make_session().id
    act(lambda sessions: sessions.start_task(session_id, TaskType.PROCESSING))
    act(lambda sessions: sessions.claim_next(worker_id))
    code, table = workers()
    assert code == 0
    for shown in (worker_id.hex[:8], "alpha", "celery 1.2.3", "working", "1 of 2 (1 processing)"):
        assert shown in table
    document = json.loads(workers("--json")[1])
    (listed,) = document["workers"]
    assert (listed["id"], listed["state"], listed["held_count"]) == (str(worker_id), "working", 1)
    assert listed["held"][0]["session_id"] == str(session_id)
    assert document["waiting_without_worker"] == 0


def test_tasks_that_wait_for_a_worker_that_does_not_exist_are_told(
    workers: Any, make_session: Any, act: Any, database: Database
) -> None:
    assert "No worker is alive" in workers()[1]
    session_id = make_session().id
    act(lambda sessions: sessions.start_task(session_id, TaskType.PROCESSING))
    let_it_wait(database, session_id)
    assert "1 task waiting, and no worker takes" in workers()[1]
    assert json.loads(workers("--json")[1])["waiting_without_worker"] == 1


def test_a_worker_is_drained_by_the_beginning_of_its_id(
    cli: Any, workers: Any, database: Database
) -> None:
    worker_id = add_worker(database)
    code, said = workers("drain", worker_id.hex[:8])
    assert (code, "claims no more" in said) == (0, True)
    (listed,) = json.loads(workers("--json")[1])["workers"]
    assert listed["state"] == "draining"
    drained = cli("worker", "drain", str(worker_id), "--json")
    assert json.loads(drained[1])["state"] == "draining"


def test_what_cannot_be_drained_is_refused_with_the_reason(
    workers: Any, database: Database
) -> None:
    code, said = workers("drain", "0123")
    assert (code, "No worker that is alive" in said) == (3, True)
    own = add_worker(database, session_ids=[uuid.uuid4()])
    code, said = workers("drain", own.hex)
    assert (code, "one command only" in said) == (3, True)
    add_worker(database, host="beta")
    code, said = workers("drain", "")
    assert code == 3


def test_check_finds_the_workers_of_this_host_alone(workers: Any, database: Database) -> None:
    add_worker(database, host="another")
    code, said = workers("check", "--wait", "0.1")
    assert (code, f"No worker of the host {host_name()} is alive" in said) == (3, True)
    worker_id = add_worker(database, host=host_name(), is_draining=True)
    code, said = workers("check")
    assert (code, f"{worker_id.hex[:8]} draining" in said) == (0, True)
    (listed,) = json.loads(workers("check", "--json")[1])["workers"]
    assert listed["id"] == str(worker_id)


def test_show_and_list_say_why_a_task_waits(
    workers: Any,
    database: Database,
    make_session: Any,
    act: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    session_id = make_session().id
    act(lambda sessions: sessions.start_task(session_id, TaskType.PROCESSING))
    let_it_wait(database, session_id)

    def said(*arguments: str) -> str:
        capsys.readouterr()
        assert run_command(arguments) == 0
        return capsys.readouterr().out

    assert "waiting for a worker (none is alive)" in said("show", str(session_id))
    assert "1 task waiting, and no worker takes them" in said("list")
    add_worker(database)
    assert "a worker has room, and takes it soon" in said("show", str(session_id))
    assert "no worker takes" not in said("list")
    assert workers()[0] == 0


def test_pausing_is_shown_wherever_work_is_and_ends_with_resume(
    workers: Any,
    database: Database,
    make_session: Any,
    act: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    add_worker(database)

    def said(*arguments: str, code: int = 0) -> str:
        capsys.readouterr()
        assert run_command(arguments) == code
        return capsys.readouterr().out

    assert "Claims of export are paused; running tasks continue" in said("pause", "export")
    (paused,) = json.loads(said("pause", "export", "--json"))["paused"]
    assert (paused["task_type"], paused["paused_by"]) == ("export", "local")
    said("pause", "processing")
    session_id = make_session().id
    act(lambda sessions: sessions.start_task(session_id, TaskType.PROCESSING))
    let_it_wait(database, session_id)
    assert "claims of processing are paused" in said("show", str(session_id))
    hint = WaitingHint(Terminal(), database)
    for _ in range(2):
        hint.show(read_snapshot(database, session_id))
    hints = capsys.readouterr().out
    assert hints.count("claims of processing are paused; see session-tasks workers") == 1
    assert "Claims of processing, export are paused" in said("list")
    assert "Claims of processing, export are paused" in workers()[1]
    assert len(json.loads(workers("--json")[1])["paused"]) == 2
    checks = {check["name"]: check for check in json.loads(said("doctor", "--json"))["checks"]}
    assert checks["claims"]["verdict"] == "warning"
    assert "processing, export are paused, since" in checks["claims"]["found"]
    assert "claims of export are paused" in said("resume", "processing")
    assert json.loads(said("resume", "--json")) == {"paused": [], "waiting": 1}
    assert "paused" not in said("list")
    assert "All claims are paused" in said("pause")
    said("resume")
    assert "sideways" in json.dumps(json.loads(said("pause", "sideways", "--json", code=2)))
