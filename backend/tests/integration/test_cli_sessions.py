"""`list`, `show`, `watch`, `cancel`, `sweep`, `cleanup`, `db`, `doctor`, and unexpected errors.

One file of more than 450 lines: a few tests for each command.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from app.cli import session_commands
from app.cli.application import run_command
from app.core.config import Settings
from app.core.database import Database
from app.models.session import TaskType
from app.repositories.session_repository import SessionRepository
from app.values.claims import Claim
from tests.worker_rows import let_it_wait

if TYPE_CHECKING:
    from collections.abc import Callable

Answer = tuple[int, str, str]
BACKEND = Path(__file__).parents[2]


@pytest.fixture
def command(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Answer]:
    """Run the command in this process, on this test's own database."""
    for name in [name for name in os.environ if name.startswith("SESSION_TASKS_TEST_")]:
        monkeypatch.delenv(name)  # a variable of the tests, not a setting
    monkeypatch.setenv("SESSION_TASKS_DATABASE_URL", database_url)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object) -> Answer:
        capsys.readouterr()
        code = run_command([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return code, out, err

    return run


@pytest.fixture
def start_session(database: Database) -> Callable[..., uuid.UUID]:
    """Open sessions whose processing has been started and waits for a worker."""

    def start(**options: Any) -> uuid.UUID:
        with database.transaction() as db:
            sessions = SessionRepository(db)
            session_id = sessions.create_session(**options).id
            sessions.start_task(session_id, TaskType.PROCESSING)
            return session_id

    return start


def fail_task(database: Database, session_id: uuid.UUID, category: str = "user_fixable") -> None:
    with database.transaction() as db:
        sessions = SessionRepository(db)
        context = {"error": "Broken", "message": "It broke", "category": category}
        sessions.fail_task(claimed(sessions, session_id), context, backoff_seconds=3_600)


def claimed(sessions: SessionRepository, session_id: uuid.UUID) -> Claim:
    task = sessions.get(session_id).task
    assert task is not None
    claim = sessions.claim_task(session_id, task.task_id, uuid.uuid4())
    assert claim is not None
    return claim


def test_sessions_are_listed_the_newest_first(
    command: Callable[..., Answer], start_session: Callable[..., uuid.UUID]
) -> None:
    code, out, _ = command("list")
    assert (code, out) == (0, "There are no sessions. Open one: session-tasks run FILES…\n")
    first = start_session(label="the first")
    second = start_session(label="[bold]no markup[/bold] \x1b[31m")

    code, out, _ = command("list")

    assert code == 0
    assert out.index(str(second)[:8]) < out.index(str(first)[:8])
    assert "waiting for a worker" in out
    assert "[bold]no markup[/bold]" in out
    assert "\x1b" not in out
    code, out, _ = command("list", "--limit", "1", "--json")
    assert [s["session"]["id"] for s in json.loads(out)["sessions"]] == [str(second)]


def test_sessions_of_several_owners_are_told_apart_and_narrowed_to_one(
    command: Callable[..., Answer],
    start_session: Callable[..., uuid.UUID],
    database: Database,
) -> None:
    mine = start_session(label="mine")
    _, out, _ = command("list")
    assert "owner" not in out
    with database.transaction() as db:
        hers = SessionRepository(db, owner="alice").create_session(label="hers").id
    _, out, _ = command("list")
    assert "owner" in out
    assert "alice" in out
    _, out, _ = command("list", "--owner", "alice", "--json")
    (listed,) = json.loads(out)["sessions"]
    assert (listed["session"]["id"], listed["session"]["owner"]) == (str(hers), "alice")
    _, out, _ = command("list", "--owner", "local")
    assert str(mine)[:8] in out
    assert str(hers)[:8] not in out
    assert "alice has" in command("list", "--owner", "alice has")[1]
    assert "alice" in command("show", str(hers))[1]


def test_an_id_may_be_given_by_what_tells_it_apart(
    command: Callable[..., Answer], database: Database
) -> None:
    ids = [
        uuid.UUID("aaaa1111-0000-4000-8000-000000000000"),
        uuid.UUID("aaaa2222-0000-4000-8000-000000000000"),
    ]
    with database.transaction() as db:
        for session_id in ids:
            db.execute(text("INSERT INTO sessions (id) VALUES (:id)"), {"id": session_id})

    code, out, _ = command("show", "AAAA2", "--json")
    assert (code, json.loads(out)["session"]["id"]) == (0, str(ids[1]))

    code, _, err = command("show", "aaaa")
    assert code == 2
    assert "aaaa111111" not in err
    assert "aaaa1111" in err
    assert "aaaa2222" in err

    for unknown in ("bbbb", "%", "not-an-id", str(uuid.uuid4())):
        code, _, err = command("show", unknown)
        assert code == 3, unknown
        assert "session-tasks list" in err


def test_a_running_session_says_what_it_waits_for(
    command: Callable[..., Answer], database: Database, start_session: Callable[..., uuid.UUID]
) -> None:
    session_id = start_session()
    waits = "Jira asks to wait; goes on at 10:00:00 UTC"
    with database.transaction() as db:
        sessions = SessionRepository(db)
        sessions.report_progress(claimed(sessions, session_id), 7, 120, waits)
    assert waits in command("show", str(session_id))[1]


def test_a_failed_session_says_why_who_and_what_next(
    command: Callable[..., Answer],
    database: Database,
    start_session: Callable[..., uuid.UUID],
) -> None:
    session_id = start_session()
    short_id = str(session_id)[:8]
    for failures in (1, 2, 3):
        fail_task(database, session_id)
        code, out, _ = command("show", short_id)
        assert code == 0
        assert "It broke" in out
        assert "Who can fix it:" in out
        reset = "" if failures < 3 else " --reset"
        assert f"session-tasks retry {short_id}{reset}\n" in out
        if failures < 3:
            with database.transaction() as db:
                SessionRepository(db).retry_task(session_id)

    code, _, err = command("retry", short_id)
    assert code == 4
    assert "Maximum retry attempts exceeded" in err
    assert "--reset" in err


def test_a_running_task_is_cancelled_once(
    command: Callable[..., Answer], start_session: Callable[..., uuid.UUID]
) -> None:
    session_id = start_session()

    code, out, _ = command("cancel", session_id)
    assert code == 0
    assert f"session-tasks retry {str(session_id)[:8]}" in out

    code, _, err = command("cancel", session_id)
    assert code == 4
    assert "cancelled, not running" in err


def test_watch_ends_with_the_work_and_its_code_says_how(
    command: Callable[..., Answer],
    database: Database,
    start_session: Callable[..., uuid.UUID],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session_commands, "POLL_SECONDS", 0.01)
    failed, cancelled = start_session(), start_session()
    fail_task(database, failed)
    with database.transaction() as db:
        SessionRepository(db).cancel_task(cancelled)

    code, out, _ = command("watch", failed)
    assert code == 6
    assert "processing failed" in out
    assert command("watch", cancelled)[0] == 7

    waiting = start_session()
    let_it_wait(database, waiting)
    follow = session_commands.follow

    def then_cancel(*arguments: Any, **options: Any) -> Any:
        for number, snapshot in enumerate(follow(*arguments, **options)):
            yield snapshot
            if number == 0:
                with database.transaction() as db:
                    SessionRepository(db).cancel_task(waiting)

    monkeypatch.setattr(session_commands, "follow", then_cancel)
    code, out, _ = command("watch", waiting)
    assert code == 7
    assert "Waiting for a worker: none is alive; see session-tasks workers" in out
    assert "processing cancelled" in out


def test_ctrl_c_ends_the_watching_and_not_the_work(
    command: Callable[..., Answer],
    start_session: Callable[..., uuid.UUID],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session_id = start_session()

    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(session_commands, "follow", interrupted)

    code, _, err = command("watch", session_id)

    assert code == 130
    assert "the session continues" in err
    assert json.loads(command("show", session_id, "--json")[1])["task"]["status"] == "running"


def test_an_export_before_its_time_is_refused(
    command: Callable[..., Answer], start_session: Callable[..., uuid.UUID], tmp_path: Path
) -> None:
    code, _, err = command("export", start_session(), "--out", tmp_path / "out")

    assert code == 4
    assert "no validated import yet" in err


def test_a_list_longer_than_any_is_refused_as_an_option(command: Callable[..., Answer]) -> None:
    code, out, err = command("list", "--limit", 10**20)
    assert (code, out) == (2, "")
    assert "--limit" in err


def test_sweep_says_what_it_did(
    command: Callable[..., Answer],
    database: Database,
    start_session: Callable[..., uuid.UUID],
) -> None:
    code, out, _ = command("sweep")
    assert (code, out) == (0, "✓ Swept: nothing to do\n")
    session_id = start_session()
    with database.transaction() as db:
        sessions = SessionRepository(db)
        task = sessions.get(session_id).task
        assert task is not None
        sessions.claim_task(session_id, task.task_id, uuid.uuid4(), lease_seconds=0.0)

    code, out, err = command("sweep", "--json")

    assert code == 0
    report = json.loads(out)
    assert (report["rescued"], report["retried"]) == (1, 1)
    failed = f"SessionTask processing failed for session {session_id}, retry #1"
    told = [json.loads(line) for line in err.splitlines()]
    assert [line["level"] for line in told if line["event"] == failed] == ["warning", "audit"]


def test_cleanup_deletes_what_is_past_its_time_and_never_what_runs(
    command: Callable[..., Answer],
    database: Database,
    start_session: Callable[..., uuid.UUID],
) -> None:
    old, running, young = start_session(), start_session(), start_session()
    with database.transaction() as db:
        for session_id in (old, young):
            SessionRepository(db).cancel_task(session_id)
        db.execute(
            text(
                "UPDATE sessions SET created_at = created_at - interval '8 days',"
                " updated_at = updated_at - interval '8 days' WHERE id = ANY(:ids)"
            ),
            {"ids": [old, running]},
        )

    code, out, _ = command("cleanup", "--json")

    assert (code, json.loads(out)["deleted"]) == (0, 1)
    assert command("show", old)[0] == 3
    assert command("show", running)[0] == command("show", young)[0] == 0


def test_a_given_database_is_brought_up_to_date_only_by_db_upgrade(
    command: Callable[..., Answer], blank_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SESSION_TASKS_DATABASE_URL", blank_database_url)
    for arguments in (["list"], ["db", "check"]):
        code, _, err = command(*arguments)
        assert code == 5
        assert "session-tasks db upgrade" in err
    code, out, _ = command("doctor", "--json")
    assert code == 5
    failed = [check for check in json.loads(out)["checks"] if check["verdict"] == "failed"]
    assert [check["name"] for check in failed] == ["migration"]
    assert "db upgrade" in failed[0]["remedy"]

    assert command("db", "upgrade")[0] == 0

    assert command("db", "check")[0] == 0
    assert command("db", "upgrade")[0] == 0
    assert command("list")[0] == 0


def test_the_guard_is_installed_kept_and_removed_by_upgrades(
    command: Callable[..., Answer], start_session: Callable[..., uuid.UUID], database: Database
) -> None:
    session_id = start_session()
    lie = text("UPDATE sessions SET stage = 'completed' WHERE id = :id")
    assert "guard is off" in command("db", "check")[1]
    code, out, _ = command("db", "upgrade", "--guard")
    assert code == 0
    assert "guard is on" in out
    for _ in range(2):
        with pytest.raises(IntegrityError), database.transaction() as db:
            db.execute(lie, {"id": session_id})
        assert json.loads(command("db", "upgrade", "--json")[1])["guard"] is True
    assert json.loads(command("db", "upgrade", "--no-guard", "--json")[1])["guard"] is False
    assert json.loads(command("db", "check", "--json")[1])["guard"] is False
    with database.transaction() as db:
        db.execute(lie, {"id": session_id})


def test_acts_on_another_owners_session_are_logged_at_audit(
    command: Callable[..., Answer],
    start_session: Callable[..., uuid.UUID],
    database: Database,
    caplog: pytest.LogCaptureFixture,
) -> None:
    own, other = start_session(), start_session()
    with database.transaction() as db:
        db.execute(text("UPDATE sessions SET owner = 'ann' WHERE id = :id"), {"id": other})
    for session_id in (own, other):
        assert command("cancel", session_id)[0] == 0
    audited = [each for each in caplog.records if "by the command" in each.getMessage()]
    assert [(each.levelname, vars(each)["session_id"]) for each in audited] == [("AUDIT", other)]
    assert vars(audited[0])["details"]["owner"] == "ann"
    assert vars(audited[0])["details"]["by_user"]


def test_doctor_finds_nothing_where_all_is_well(command: Callable[..., Answer]) -> None:
    code, out, _ = command("doctor", "--json")

    assert code == 0, out
    checks = {check["name"]: check["verdict"] for check in json.loads(out)["checks"]}
    assert set(checks.values()) == {"ok"}, out
    assert {"Python", "ADF schema", "settings", "database", "migration", "locks"} <= set(checks)
    assert json.loads(out)["counts"] == dict.fromkeys(
        (
            "sessions",
            "live",
            "waiting",
            "lease_expired",
            "running_without_lease",
            "workers",
            "waiting_without_worker",
        ),
        0,
    )
    assert command("doctor")[1].count("✓") == len(checks)


def test_doctor_says_how_to_mend_what_is_not_well(
    command: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SESSION_TASKS_LEASE_SECOND", "10")
    monkeypatch.setenv("SESSION_TASKS_DATABASE_URL", "postgresql://127.0.0.1:1/none")

    code, out, _ = command("doctor")

    assert code == 5
    assert "SESSION_TASKS_LEASE_SECOND: no such setting" in out
    assert "PostgreSQL cannot be reached" in out
    assert "→" in out


def test_doctor_imports_the_handlers(
    command: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SESSION_TASKS_HANDLERS", "export=app.tasks.export:exprot")
    code, out, _ = command("doctor")
    assert code == 2
    assert "app.tasks.export:exprot cannot be imported" in " ".join(out.split())

    monkeypatch.setenv("SESSION_TASKS_ENGINE", "celery")
    monkeypatch.setenv("SESSION_TASKS_BROKER_URL", "redis://127.0.0.1:1/0")
    code, out, _ = command("doctor", "--json")
    checks = {check["name"]: check for check in json.loads(out)["checks"]}
    assert (code, checks["handlers"]["verdict"]) == (1, "warning")


def test_doctor_connects_to_the_broker(
    command: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SESSION_TASKS_ENGINE", "celery")
    for url in (
        "redis://:hunter2@127.0.0.1:1/0",
        "amqp://guest:hunter2@127.0.0.1:1//",
        "foo://bar",
    ):
        monkeypatch.setenv("SESSION_TASKS_BROKER_URL", url)
        code, out, _ = command("doctor", "--json")
        (broker,) = [each for each in json.loads(out)["checks"] if each["name"] == "broker"]
        assert (code, broker["verdict"]) == (1, "failed"), broker
        assert "cannot be reached" in broker["found"]
        assert broker["remedy"]
        assert "hunter2" not in out


def test_doctor_tells_who_has_sessions_locked_for_long(
    command: Callable[..., Answer],
    start_session: Callable[..., uuid.UUID],
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SESSION_TASKS_LOCK_TIMEOUT_SECONDS", "0.001")
    session_id = start_session()
    with database.transaction() as db:
        pid = db.scalar(text("SELECT pg_backend_pid()"))
        db.execute(text("SELECT FROM sessions WHERE id = :id FOR UPDATE"), {"id": session_id})

        code, out, _ = command("doctor")

    assert code == 0
    assert f"process {pid} (" in out
    assert "idle in transaction) for" in out
    assert f"SELECT pg_terminate_backend({pid})" in out


def test_doctor_counts_tasks_that_run_without_a_lease(
    command: Callable[..., Answer], start_session: Callable[..., uuid.UUID], database: Database
) -> None:
    start_session()
    with database.transaction() as db:
        db.execute(text("DELETE FROM session_task_leases"))

    code, out, _ = command("doctor")

    assert code == 0
    assert "1 running without a lease" in out
    assert "→ Run session-tasks sweep" in out


def test_doctor_needs_room_for_the_embedded_server(
    command: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("SESSION_TASKS_DATABASE_URL")
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    monkeypatch.setenv("SESSION_TASKS_DATA_DIR", str(in_the_way / "data"))

    code, out, _ = command("doctor")

    assert code == 5
    assert "SESSION_TASKS_DATA_DIR" in out


def test_an_unexpected_error_is_one_line_and_no_traceback(
    command: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Settings:
        raise RuntimeError("the cause\nwith a second line")

    monkeypatch.setattr(session_commands, "load_settings", broken)

    code, out, err = command("list", "--json")

    assert code == 1
    assert "RuntimeError: the cause" in err
    assert "second line" not in err
    assert json.loads(out)["exit_code"] == 1


def test_the_command_can_be_started_as_a_program(tmp_path: Path) -> None:
    def start(*arguments: str) -> subprocess.CompletedProcess[str]:
        code = "from app.cli import main; main()"
        return subprocess.run(
            [sys.executable, "-c", code, *arguments],
            env={"PYTHONPATH": str(BACKEND), "HOME": str(tmp_path), "PYTHONIOENCODING": "ascii"},
            capture_output=True,
            text=True,
            check=False,
        )

    version = start("--version")
    assert (version.returncode, version.stderr) == (0, "")
    assert version.stdout.startswith("session-tasks ")
    assert start("--help").returncode == 0
    assert start("no-such-command").returncode == 2
    missing = start("run", "ohne–Umlaut.md")  # not in ASCII
    assert missing.returncode == 2
    assert "\\u2013" in missing.stderr
