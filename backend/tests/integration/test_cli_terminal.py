"""The terminal: help, narrow windows, Tab, full disks, closed streams."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from app.cli import session_commands
from app.cli.application import run_command
from app.cli.commands import COMMANDS
from app.cli.completion import offer_sessions
from app.models.session import TaskType
from app.repositories.session_repository import SessionRepository
from app.values.results import TaskResults, TicketDraft

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from app.core.database import Database

Answer = tuple[int, str, str]
SESSION_TASKS = "from app.cli import main; main()"


@pytest.fixture
def environment(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SESSION_TASKS_TEST_")]:
        monkeypatch.delenv(name)  # the tests' own, and no setting
    monkeypatch.setenv("SESSION_TASKS_DATABASE_URL", database_url)


@pytest.fixture
def command(
    environment: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Answer]:
    """Runs the command in this process, in a terminal of so many columns."""

    def run(*arguments: object, columns: int = 200) -> Answer:
        monkeypatch.setenv("COLUMNS", str(columns))
        capsys.readouterr()
        code = run_command([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return code, out, err

    return run


def open_session(database: Database, *, label: str = "", tickets: int = 0) -> uuid.UUID:
    with database.transaction() as db:
        sessions = SessionRepository(db)
        session_id = sessions.create_session(label=label).id
        started = sessions.start_task(session_id, TaskType.PROCESSING)
    if tickets:
        drafts = [
            TicketDraft(f"Ticket {n}", '{"type":"doc","version":1,"content":[]}', "list.csv", n + 1)
            for n in range(1, tickets + 1)
        ]
        with database.transaction() as db:
            sessions = SessionRepository(db)
            claim = sessions.claim_task(session_id, started.task_id, uuid.uuid4())
            assert claim is not None
            sessions.complete_task(claim, TaskResults(tickets=drafts))
    return session_id


@pytest.mark.parametrize("name", [None, *COMMANDS])
def test_help_shows_no_types(name: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    words = [name] if name else []
    assert run_command([*words, "--help"]) == 0
    shown = capsys.readouterr().out
    inner = re.findall(r"│ (create|list|revoke|upgrade|check) ", shown) if name in GROUPS else []
    for each in inner:
        assert run_command([*words, each, "--help"]) == 0
    shown += capsys.readouterr().out
    assert not re.findall(r"bool|<\w|int range|float range", shown)
    assert not inner or "--json" in shown


GROUPS = {"keys", "db", "jira"}


@pytest.mark.parametrize(
    "words",
    [
        "list --limit x",
        "list --limit 0",
        "list --limit 99999999999999999999999",
        "run --split-level 9 a.md",
        "run --body-format odd a.md",
        "keys create --days 0",
        "serve --port 99999",
        "run",
        "lst",
    ],
)
def test_wrong_words_get_plain_ones(command: Callable[..., Answer], words: str) -> None:
    code, out, err = command(*words.split(), "--json")
    assert code == 2
    said = json.loads(out)
    assert said["exit_code"] == 2
    assert said["error"]["category"] == "user_fixable"
    assert "--help" in said["error"]["next_step"]
    for raw in ("Input should", "Value error", "pydantic", "valid integer"):
        assert raw not in err + out


def test_a_setting_is_refused_in_plain_words(
    command: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SESSION_TASKS_POOL_SIZE", "many")
    monkeypatch.setenv("SESSION_TASKS_LEASE_SECONDS", "-1")
    code, _, err = command("list")
    assert code == 2
    assert "SESSION_TASKS_POOL_SIZE must be a whole number" in err
    assert "SESSION_TASKS_LEASE_SECONDS must be more than 0" in err


def test_a_session_is_shown_with_its_tickets(
    command: Callable[..., Answer], database: Database
) -> None:
    session_id = open_session(database, tickets=12)
    _, out, _ = command("show", session_id)
    assert "10  Ticket 10  list.csv:11" in out
    assert "Ticket 11" not in out
    assert "and 2 more tickets: --tickets" in out
    _, out, _ = command("show", session_id, "--tickets")
    assert "12  Ticket 12  list.csv:13" in out
    assert "more ticket" not in out
    shown = json.loads(command("show", session_id, "--tickets", "--json")[1])["tickets"]
    assert [ticket["number"] for ticket in shown] == list(range(1, 13))
    assert shown[0]["title"] == "Ticket 1"


def test_one_is_one(command: Callable[..., Answer], database: Database) -> None:
    session_id = open_session(database, tickets=11)
    assert "and 1 more ticket: --tickets" in command("show", session_id)[1]
    assert "0 documents, 11 tickets" in command("show", session_id)[1]


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_a_list_fits_the_terminal_and_cuts_no_word(
    command: Callable[..., Answer], database: Database, columns: int
) -> None:
    label = "Extraordinarily comprehensive documentation of everything"
    session_id = open_session(database, label=label)
    code, out, _ = command("list", columns=columns)
    assert code == 0
    assert all(len(line) <= columns for line in out.splitlines())
    words = set(re.findall(r"\w+", out))
    assert {str(session_id)[:8], "processing", "waiting", "worker"} <= words
    assert {word for word in words if word[:4] in {"Extr", "comp", "docu"}} <= set(label.split())


def test_keys_are_listed_below_headings_with_their_expiry(command: Callable[..., Answer]) -> None:
    command("keys", "create", "--name", "laptop", "--days", "3")
    command("keys", "create", "--name", "tower")
    _, out, _ = command("keys", "list")
    heading, tower, laptop = out.splitlines()
    assert heading.split("  ")[1].strip() == "key"
    assert "expires" in heading
    assert "last used" in heading
    assert re.search(r"laptop +20\d\d-\d\d-\d\d \d\d:\d\d UTC +never", laptop)
    assert re.search(r"tower +never +never", tower)
    assert all(len(line) <= 60 for line in command("keys", "list", columns=60)[1].splitlines())
    key_id = laptop.split()[0]
    _, out, _ = command("keys", "revoke", key_id, "--json")
    assert json.loads(out) == {"id": key_id, "state": "revoked"}


def test_watching_writes_a_json_line_per_state(
    command: Callable[..., Answer], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = open_session(database)
    follow = session_commands.follow

    def then_cancel(*arguments: Any, **options: Any) -> Any:
        for number, snapshot in enumerate(follow(*arguments, **options)):
            yield snapshot
            if number == 1:
                with database.transaction() as db:
                    SessionRepository(db).cancel_task(session_id)

    monkeypatch.setattr(session_commands, "follow", then_cancel)
    code, out, _ = command("watch", session_id, "--json")
    assert code == 7
    first, last = map(json.loads, out.splitlines())
    assert (first["task"]["status"], last["task"]["status"]) == ("running", "cancelled")
    assert last["exit_code"] == 7
    assert last["counts"]["documents"] == 0


def test_tab_offers_sessions_by_id_and_by_label(
    environment: None, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = open_session(database, label="Release notes")
    offered = [(str(session_id)[:8], "waiting for a worker · Release notes")]
    assert offer_sessions("") == offered
    assert offer_sessions(str(session_id)[:3]) == offered
    assert offer_sessions("release") == offered
    assert offer_sessions("zz") == []
    asked = {
        "_SESSION_TASKS_COMPLETE": "complete_zsh",
        "_TYPER_COMPLETE_ARGS": "session-tasks show ",
    }
    ended = _run("", asked)
    assert ended.stdout.startswith(f'_arguments \'*: :(("{str(session_id)[:8]}":"waiting')
    monkeypatch.delenv("SESSION_TASKS_DATABASE_URL")
    monkeypatch.setenv("SESSION_TASKS_DATA_DIR", str(tmp_path / "none"))
    assert offer_sessions("") == []
    assert not (tmp_path / "none").exists()


def _run(words: str, extra: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    program = shlex.join([sys.executable, "-c", SESSION_TASKS])
    return subprocess.run(
        ["bash", "-c", f"{program} {words}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=os.environ | (extra or {}),
    )


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("words", ["list", "list --json", "--help"])
@pytest.mark.parametrize(
    ("stream", "code", "lines"),
    [
        (">/dev/full", 2, 3),
        (">/dev/full 2>/dev/full", 2, 0),
        (">&-", 0, 0),
        ("| true; exit ${PIPESTATUS[0]}", 0, 0),
    ],
)
def test_an_output_that_takes_nothing_ends_in_plain_words_or_in_silence(
    database: Database, words: str, stream: str, code: int, lines: int
) -> None:
    open_session(database, label="x")
    ended = _run(f"{words} {stream}")
    assert ended.returncode == code, ended.stderr
    assert len(ended.stderr.splitlines()) == lines, ended.stderr
    if lines:
        assert "Standard output cannot be written: No space left on device" in ended.stderr


def test_a_closed_standard_error_changes_nothing(environment: None, database: Database) -> None:
    ended = _run("list 2>&-")
    assert (ended.returncode, ended.stdout[:22]) == (0, "There are no sessions.")
    assert _run("show zz 2>&-").returncode == 3
