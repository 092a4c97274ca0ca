"""`run` and `retry`, as users and scripts call them: on real documents, in a real database.

One file of more than 450 lines: its tests share processes that are interrupted.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import func, select

from app.cli.application import run_command
from app.cli.output_directory import OutputDirectory
from app.core.config import Settings
from app.core.database import Database
from app.core.errors import OutputError
from app.models.session import Session, TaskStatus, TaskType
from app.presentation.import_files import ImportFile
from app.repositories.content_reader import IncomingDocument
from app.repositories.session_queries import SessionFilter, SessionQueries
from app.repositories.session_repository import SessionRepository
from tests.leases import lease_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

EXAMPLES = Path(__file__).parents[3] / "examples"
BACKEND = Path(__file__).parents[2]
DEADLINE_SECONDS = 60.0

Answer = tuple[int, str, str]


@pytest.fixture
def command(
    shared_database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> Callable[..., Answer]:
    """Run the command in this process; return exit code, standard output and standard error."""
    monkeypatch.setenv("SESSION_TASKS_DATABASE_URL", shared_database_url)
    monkeypatch.setenv("SESSION_TASKS_JIRA_PROJECT", "TASK")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Answer:
        capsys.readouterr()
        code = run_command([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        # A failure context has a traceback, but the output must not.
        assert "Traceback" not in (err if "--json" in arguments else out + err)
        return code, out, err

    return run


@pytest.fixture
def shared_database(shared_database_url: str) -> Iterator[Database]:
    with Database(Settings(database_url=shared_database_url), shared_database_url) as database:
        yield database


@pytest.fixture
def blocking_handler(tmp_path: Path) -> dict[str, str]:
    """An environment in which processing runs until it is cancelled."""
    folder = tmp_path / "handlers"
    folder.mkdir()
    (folder / "until_cancelled.py").write_text(
        "import threading\n"
        "def run(context):\n"
        "    while True:\n"
        "        context.progress(1, 2)\n"
        "        threading.Event().wait(0.02)\n"
    )
    return {
        "SESSION_TASKS_HANDLERS": "processing=until_cancelled:run",
        "PYTHONPATH": os.pathsep.join([str(folder), str(BACKEND)]),
    }


def start_process(
    arguments: Sequence[object], environment: dict[str, str], directory: Path
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", "from app.cli import main; main()", *map(str, arguments)],
        env=os.environ
        | {"PYTHONPATH": str(BACKEND), "PYTHONUNBUFFERED": "1"}
        | {"SESSION_TASKS_JIRA_PROJECT": "TASK"}
        | environment,
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_line(process: subprocess.Popen[str], part: str) -> str:
    """Read the process's output up to a line that contains `part`."""
    assert process.stdout is not None
    seen = []
    timer = threading.Timer(DEADLINE_SECONDS, process.kill)
    timer.start()
    try:
        for line in process.stdout:
            seen.append(line)
            if part in line:
                return line
    finally:
        timer.cancel()
    pytest.fail(f"{part!r} did not come; got {seen} and {process.communicate()}")


def latest(database: Database) -> Any:
    with database.transaction() as db:
        (newest,) = SessionQueries(db, owner=None).page(SessionFilter(), limit=1)
        return SessionRepository(db).get(newest.session_id)


def only_document(text: str) -> Any:
    """Parse `text`, which must be one JSON document and nothing else."""
    return json.loads(text)


# ------------------------------------------------------------------------------- the main job


def test_real_documents_become_a_jira_import(
    command: Callable[..., Answer], tmp_path: Path
) -> None:
    files = sorted([*EXAMPLES.glob("*.md"), *EXAMPLES.glob("*.csv")])

    code, out, _ = command("run", *files, "--out", tmp_path / "out", "--project", "DEMO", "--json")

    assert code == 0
    said = only_document(out)
    assert said["session"]["stage"] == "completed"
    assert [document["name"] for document in said["documents"]] == [file.name for file in files]
    issues = [
        issue["fields"]
        for file in said["export"]["files"]
        for issue in json.loads(Path(file).read_text())["issueUpdates"]
    ]
    assert len(issues) == said["counts"]["tickets"] == said["export"]["issue_count"] > 90
    assert {issue["project"]["key"] for issue in issues} == {"DEMO"}
    assert all(issue["description"]["type"] == "doc" for issue in issues)
    directory = tmp_path / "out" / said["session"]["id"][:8]
    assert sorted(map(str, directory.iterdir())) == sorted(
        [
            *said["export"]["files"],
            *(said["export"][name] for name in ("report", "readme", "script")),
        ]
    )

    code, out, _ = command("export", said["session"]["id"], "--out", tmp_path / "again", "--json")
    assert code == 0
    for first, second in zip(
        said["export"]["files"], only_document(out)["export"]["files"], strict=True
    ):
        assert Path(first).read_bytes() == Path(second).read_bytes()


def test_elsewhere_than_on_a_terminal_each_transition_is_one_plain_line(
    command: Callable[..., Answer], tmp_path: Path
) -> None:
    document = tmp_path / "one.md"
    document.write_text("# One\n\nText.\n")

    code, out, err = command("run", document, "--out", "out")

    assert code == 0
    assert err == ""
    assert "\x1b" not in out
    short_id = out.split()[1]
    lines = [line.split(" in ")[0] for line in out.splitlines() if line.startswith(short_id)]
    assert lines == [
        f"{short_id} {name} {event}"
        for name in ("processing", "export", "adf_validation")
        for event in ("started", "completed")
    ]
    assert f"out/{short_id}/import-001.json" in out
    assert (tmp_path / "out" / short_id / "import-001.json").exists()


def test_two_files_of_one_name_are_told_apart(
    command: Callable[..., Answer], tmp_path: Path
) -> None:
    for folder in ("api", "web"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "README.md").write_text(f"# {folder}\n")

    code, out, _ = command("run", "api/README.md", "web/README.md", "--json")

    assert code == 0
    names = [document["name"] for document in only_document(out)["documents"]]
    assert names == ["api/README.md", "web/README.md"]


# ------------------------------------------------------------------- what is refused at once


def _missing(folder: Path) -> Path:
    return folder / "missing.md"


def _directory(folder: Path) -> Path:
    (folder / "folder").mkdir()
    return folder / "folder"


def _empty(folder: Path) -> Path:
    (folder / "empty.md").write_bytes(b"")
    return folder / "empty.md"


def _blank(folder: Path) -> Path:
    (folder / "blank.md").write_text(" \n\n")
    return folder / "blank.md"


def _binary(folder: Path) -> Path:
    (folder / "picture.md").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8)
    return folder / "picture.md"


def _unknown_type(folder: Path) -> Path:
    (folder / "notes.pages").write_bytes(b"PK\x03\x04")
    return folder / "notes.pages"


def _undecodable(folder: Path) -> Path:
    (folder / "torn.md").write_bytes(b"\xff\xfea\x00b\x00\x00\xd8c\x00")  # half a surrogate pair
    return folder / "torn.md"


def _too_large(folder: Path) -> Path:
    with (folder / "large.csv").open("wb") as file:
        file.truncate(100 * 1024 * 1024)
    return folder / "large.csv"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_missing, "missing.md does not exist"),
        (_directory, "is a directory"),
        (_empty, "empty.md is empty"),
        (_blank, "blank.md is empty"),
        (_binary, "looks like a PNG image"),
        (_unknown_type, "“.pages” is not a type"),
        (_undecodable, "byte order mark"),
        (_too_large, "104,857,600 bytes"),
    ],
)
def test_a_document_that_cannot_be_used_is_refused_before_a_session_is_opened(
    command: Callable[..., Answer],
    shared_database: Database,
    tmp_path: Path,
    make: Callable[[Path], Path],
    said: str,
) -> None:
    before = _session_count(shared_database)

    code, out, err = command("run", make(tmp_path), "--out", "out")

    assert code == 2
    assert out == ""
    assert said in err
    assert "Next:" in err
    assert "Who can fix it: you" in err
    assert len(err.splitlines()) <= 3
    assert _session_count(shared_database) == before
    assert not (tmp_path / "out").exists()


def test_a_reader_who_leaves_strands_no_session(
    shared_database: Database, shared_database_url: str, tmp_path: Path
) -> None:
    """Read one line, as `session-tasks run … | head -1` does."""
    with start_process(
        ["run", EXAMPLES / "click-readme.md", "--label", "piped"],
        {"SESSION_TASKS_DATABASE_URL": shared_database_url},
        tmp_path,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Session ")
        process.stdout.close()
        assert process.wait(DEADLINE_SECONDS) == 0
    view = latest(shared_database)
    assert (view.label, view.stage.value) == ("piped", "completed")


def test_handlers_that_cannot_be_used_are_refused_before_a_session_is_opened(
    command: Callable[..., Answer], shared_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SESSION_TASKS_HANDLERS", "bogus")
    before = _session_count(shared_database)

    code, _, err = command("run", EXAMPLES / "click-readme.md")

    assert (code, "SESSION_TASKS_HANDLERS" in err) == (2, True)
    assert _session_count(shared_database) == before


@pytest.mark.parametrize("arguments", [("worker",), ("serve", "--port", "0"), ("run",)])
def test_a_mistyped_handler_is_told_before_anything_is_claimed(
    command: Callable[..., Answer],
    shared_database: Database,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
) -> None:
    monkeypatch.setenv("SESSION_TASKS_HANDLERS", "export=app.tasks.export:exprot")
    monkeypatch.setenv("SESSION_TASKS_SWEEP_SECONDS", "600")
    with shared_database.transaction() as db:
        sessions = SessionRepository(db)
        session_id = sessions.create_session([IncomingDocument("a.md", b"# A\n")]).id
        sessions.start_task(session_id, TaskType.PROCESSING)
    before = _session_count(shared_database)
    documents = [EXAMPLES / "click-readme.md"] if arguments == ("run",) else []

    code, _, err = command(*arguments, *documents)

    assert code == 2
    assert "app.tasks.export:exprot" in err
    assert "SESSION_TASKS_HANDLERS" in err
    assert _session_count(shared_database) == before
    with shared_database.transaction() as db:
        sessions = SessionRepository(db)
        assert lease_of(sessions, session_id).claim_token is None
        sessions.cancel_task(session_id)


def _session_count(database: Database) -> int:
    with database.transaction() as db:
        return db.scalar(select(func.count()).select_from(Session)) or 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_an_unreadable_file_is_refused(command: Callable[..., Answer], tmp_path: Path) -> None:
    document = tmp_path / "secret.md"
    document.write_text("# Secret\n")
    document.chmod(0)

    code, _, err = command("run", document)

    assert code == 2
    assert "may not be read" in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--project", "no key"], "'no key' is no Jira project key"),
        (["--issue-type", " "], "is no Jira issue type"),
        (["--split-level", "9"], "3 or less"),
        (["--no-such-option"], "No such option"),
    ],
)
def test_an_option_that_cannot_be_used_is_refused(
    command: Callable[..., Answer], tmp_path: Path, options: list[str], said: str
) -> None:
    (tmp_path / "one.md").write_text("# One\n")

    code, _, err = command("run", "one.md", *options)

    assert code == 2
    assert said in err


def test_a_directory_that_cannot_be_written_is_refused_before_any_work(
    command: Callable[..., Answer], shared_database: Database, tmp_path: Path
) -> None:
    (tmp_path / "one.md").write_text("# One\n")
    (tmp_path / "file").write_text("in the way")
    before = _session_count(shared_database)

    code, _, err = command("run", "one.md", "--out", "file/out")

    assert code == 2
    assert "Nothing can be written to file/out" in err
    assert "--out DIR" in err
    assert _session_count(shared_database) == before


def test_a_database_that_cannot_be_reached_ends_with_its_own_code(
    command: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one.md").write_text("# One\n")
    monkeypatch.setenv("SESSION_TASKS_DATABASE_URL", "postgresql://nobody:hidden@127.0.0.1:1/none")

    code, out, err = command("run", "one.md", "--json")

    assert code == 5
    assert "PostgreSQL cannot be reached" in err
    assert "SESSION_TASKS_DATABASE_URL is right" in err
    assert "hidden" not in out + err
    said = only_document(out)
    assert (said["exit_code"], said["error"]["error"]) == (5, "DatabaseUnavailable")


def test_the_celery_engine_needs_a_broker(
    command: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one.md").write_text("# One\n")
    monkeypatch.setenv("SESSION_TASKS_ENGINE", "celery")

    code, _, err = command("run", "one.md")
    assert code == 2
    assert "SESSION_TASKS_BROKER_URL" in err

    code, _, err = command("worker")
    assert code == 2
    assert "celery -A app.engines.celery worker" in err


def test_a_setting_that_cannot_be_used_is_named(
    command: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SESSION_TASKS_LEASE_SECONDS", "soon")

    code, _, err = command("list")

    assert code == 2
    assert "SESSION_TASKS_LEASE_SECONDS" in err


# ------------------------------------------------------------------ what fails while it is done


def test_a_csv_without_a_title_column_is_refused_and_lists_the_columns_there_are(
    command: Callable[..., Answer], shared_database: Database, tmp_path: Path
) -> None:
    (tmp_path / "werk.csv").write_text("Kurztext;Text\nEins;Wort\nZwei;Wort\n")
    before = _session_count(shared_database)

    code, out, err = command("run", "werk.csv", "--out", "out")

    assert (code, out) == (2, "")
    assert "Kurztext" in err
    assert "--title-column NAME" in err
    assert _session_count(shared_database) == before

    code, out, _ = command("run", "werk.csv", "--out", "out", "--map", "Kurztext=summary", "--json")

    assert code == 0
    (file,) = only_document(out)["export"]["files"]
    summaries = [
        issue["fields"]["summary"] for issue in json.loads(Path(file).read_text())["issueUpdates"]
    ]
    assert summaries == ["Eins", "Zwei"]


@pytest.mark.parametrize("preview", [(), ("--dry-run",)])
def test_a_rule_that_cannot_be_used_hides_no_other_problem(
    command: Callable[..., Answer], tmp_path: Path, preview: tuple[str, ...]
) -> None:
    (tmp_path / "named.csv").write_text("a,b\n1,2\n")
    (tmp_path / "open.csv").write_text('title,b\n"1,2\n')
    rules = (
        f"--map={rule}" for rule in ("x=Wish", "named.csv:a=summary", "y=Wish", "b=", "B=labels")
    )
    code, out, err = command("run", "named.csv", "open.csv", "--project", "SHOP", *rules, *preview)
    assert code == 2
    problems = [line for line in (out + err).splitlines() if "Error: " in line]
    assert [said for said in ("'x=Wish'", "'y=Wish'", "Two rules say what “B”", "open.csv: a quote")
            if sum(said in line for line in problems) != 1] == []  # fmt: skip
    assert "named.csv has no column" not in out + err


def test_all_problems_of_all_files_and_options_are_told_at_once(
    command: Callable[..., Answer], shared_database: Database, tmp_path: Path
) -> None:
    (tmp_path / "good.md").write_text("# Good\n")
    (tmp_path / "untitled.csv").write_text("a,b\n1,2\n")
    (tmp_path / "open.csv").write_text('title,b\n"1,2\n')
    before = _session_count(shared_database)
    arguments = ["run", "good.md", "untitled.csv", "open.csv", "--project", "shop"]

    code, _, err = command(*arguments)

    assert code == 2
    for said in ("untitled.csv", "open.csv", "'shop' is no Jira project key", "Write it as SHOP"):
        assert said in err
    code, out, _ = command(*arguments, "--json")
    assert code == 2
    assert len(only_document(out)["error"]["problems"]) == 3
    assert _session_count(shared_database) == before

    code, _, err = command("run", "missing.md", "gone.csv")
    assert code == 2
    assert "missing.md does not exist" in err
    assert "gone.csv does not exist" in err


def test_run_asks_for_a_project_where_no_setting_has_one(
    command: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "one.md").write_text("# One\n")
    monkeypatch.delenv("SESSION_TASKS_JIRA_PROJECT")

    code, _, err = command("run", "one.md")
    assert code == 2
    assert "No Jira project is named" in err
    assert "--project KEY" in err

    monkeypatch.setenv("SESSION_TASKS_JIRA_PROJECT", "SHOP")
    code, out, _ = command("run", "one.md", "--json")
    assert code == 0
    assert only_document(out)["session"]["options"]["project_key"] == "SHOP"


def test_columns_of_no_document_cannot_be_mapped(
    command: Callable[..., Answer], tmp_path: Path
) -> None:
    (tmp_path / "one.csv").write_text("title,Severity\nOne,2\n")
    code, _, err = command("run", "one.csv", "--map", "Sverity=priority")
    assert code == 2
    assert "No document has a column “Sverity”" in err
    assert "title, Severity" in err


def test_a_document_that_fails_can_be_corrected_or_left_out_as_the_command_says(
    command: Callable[..., Answer], tmp_path: Path
) -> None:
    (tmp_path / "good.md").write_text("# Good\n")
    (tmp_path / "bad.csv").write_text(f"title,body\nOne,{'>' * 10_000} deep\n")
    code, out, _ = command("run", "good.md", "bad.csv")
    assert code == 6, out
    (right,) = (line for line in out.splitlines() if "Once it is fixed" in line)
    (without,) = (line for line in out.splitlines() if "Or without it" in line)
    session_id = right.split()[-2]
    assert right.endswith(f"session-tasks retry {session_id} bad.csv")
    assert without.endswith(f"session-tasks retry {session_id} --without bad.csv")

    (tmp_path / "other.csv").write_text("title\nOne\n")
    code, _, err = command("retry", session_id, "other.csv")
    assert code == 2
    assert "no document named other.csv" in err
    assert "good.md, bad.csv" in err
    code, _, err = command("retry", session_id, "bad.csv", "--title-column", "none")
    assert code == 2, "what would fail again is refused, and costs no attempt"

    code, out, _ = command(*without.split("session-tasks ")[1].split(), "--json")
    assert code == 0
    said = only_document(out)
    assert [document["name"] for document in said["documents"]] == ["good.md"]


def test_a_corrected_file_takes_the_place_of_the_one_that_failed(
    command: Callable[..., Answer], tmp_path: Path
) -> None:
    (tmp_path / "bad.csv").write_text(f"title,body\nOne,{'>' * 10_000} deep\n")
    code, out, _ = command("run", "bad.csv", "--json")
    assert code == 6, out
    said = only_document(out)
    assert "retry_command" not in said, "unchanged, it would fail again"
    session_id = said["session"]["id"]
    assert command("retry", session_id, "--without", "bad.csv")[0] == 2

    (tmp_path / "bad.csv").write_text("title,b\nOne,2\n")
    code, out, _ = command("retry", session_id, "bad.csv", "--json")
    assert code == 0
    said = only_document(out)
    assert [document["ticket_count"] for document in said["documents"]] == [1]
    assert said["task"]["retry_count"] == 0


def test_a_csv_that_goes_too_far_is_refused(command: Callable[..., Answer], tmp_path: Path) -> None:
    (tmp_path / "wide.csv").write_text(",".join(f"c{n}" for n in range(1_000_000)) + "\n")
    code, _, err = command("run", "wide.csv")
    assert code == 2
    assert "more than 1,000 columns" in err


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("deep.md", lambda: ">" * 10_000 + " deep\n", "nest"),
    ],
)
def test_a_document_that_goes_too_far_fails_its_task_and_no_more(
    command: Callable[..., Answer],
    tmp_path: Path,
    name: str,
    content: Callable[[], str],
    said: str,
) -> None:
    (tmp_path / name).write_text(content())

    code, out, err = command("run", name, "--json")

    assert code == 6
    failure = only_document(out)["task"]["failure_context"]
    assert failure["category"] == "user_fixable"
    assert failure["document"] == name
    assert said in failure["message"]
    assert failure["next_step"]
    assert err == ""


def test_a_disk_that_runs_full_leaves_nothing_half_written_and_says_how_to_go_on(
    tmp_path: Path,
) -> None:
    """A limit on the size of files simulates a full disk: writing fails in the same place."""
    output = OutputDirectory(tmp_path)
    session_id = uuid.uuid4()
    files = [ImportFile(f"{at}.json", [b"x" * size]) for at, size in ((1, 1_000), (2, 100_000))]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    former = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(OutputError) as raised:
            output.write(session_id, files)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, former)

    assert "could not be written" in raised.value.message
    assert f"session-tasks export {str(session_id)[:8]}" in raised.value.next_step
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_cannot_be_written_in_the_end_is_kept_in_the_database(
    command: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one.md").write_text("# One\n")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        code, out, err = command("run", "one.md", "--out", "out", "--json")

    assert code == 2
    assert "No space left on device" in err
    said = only_document(out)
    assert said["session"]["stage"] == "completed"
    assert "export" not in said
    assert not list((tmp_path / "out").iterdir())
    again = err.split("session-tasks ")[1].split()
    assert command(*again[:-1], "there")[0] == 0
    assert list((tmp_path / "there").rglob("import-001.json"))


# ------------------------------------------------------------------------------ interruptions


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGHUP, pytest.param(signal.SIGTERM, marks=pytest.mark.long)]
)
def test_an_interrupted_run_keeps_its_session_and_retry_takes_it_up(
    command: Callable[..., Answer],
    shared_database_url: str,
    blocking_handler: dict[str, str],
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    (tmp_path / "one.md").write_text("# One\n")
    environment = blocking_handler | {"SESSION_TASKS_DATABASE_URL": shared_database_url}
    process = start_process(["run", "one.md", "--out", "out"], environment, tmp_path)
    short_id = wait_for_line(process, "processing started").split()[0]

    process.send_signal(number)
    out, err = process.communicate(timeout=DEADLINE_SECONDS)

    assert process.returncode == 130, (out, err)
    assert "Traceback" not in out + err
    assert f"session-tasks retry {short_id} --out out" in err
    code, out, _ = command("show", short_id, "--json")
    said = only_document(out)
    assert (said["task"]["status"], said["task"]["retry_count"]) == ("cancelled", 0)

    code, out, _ = command("retry", short_id, "--out", "out", "--json")

    assert code == 0
    assert only_document(out)["export"]["issue_count"] == 1


def test_a_run_that_was_killed_can_be_cancelled_and_taken_up_again(
    command: Callable[..., Answer],
    shared_database_url: str,
    blocking_handler: dict[str, str],
    tmp_path: Path,
) -> None:
    (tmp_path / "one.md").write_text("# One\n")
    environment = blocking_handler | {"SESSION_TASKS_DATABASE_URL": shared_database_url}
    process = start_process(["run", "one.md"], environment, tmp_path)
    short_id = wait_for_line(process, "processing started").split()[0]
    _until(lambda: _lease_state(command, short_id) == "held")
    process.kill()
    process.communicate()

    code, _, err = command("retry", short_id)
    assert code == 4  # its lease has not expired: a worker may still run it
    assert "already running" in err

    assert command("cancel", short_id)[0] == 0
    assert command("retry", short_id)[0] == 0


def _lease_state(command: Callable[..., Answer], short_id: str) -> str:
    return str(only_document(command("show", short_id, "--json")[1])["task"]["lease_state"])


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < end
        threading.Event().wait(0.05)


def test_a_session_that_nobody_has_in_hand_is_taken_up_by_retry(
    command: Callable[..., Answer], shared_database: Database
) -> None:
    """The state after a `run` that died between opening the session and claiming its task."""
    from app.repositories.content_reader import IncomingDocument  # noqa: PLC0415

    with shared_database.transaction() as db:
        sessions = SessionRepository(db)
        session_id = sessions.create_session([IncomingDocument("one.md", b"# One\n")]).id
        sessions.start_task(session_id, TaskType.PROCESSING)

    code, out, _ = command("retry", session_id, "--json")

    assert code == 0
    assert only_document(out)["session"]["stage"] == "completed"


def test_what_comes_too_late_is_refused_and_changes_nothing(
    command: Callable[..., Answer], shared_database: Database, tmp_path: Path
) -> None:
    (tmp_path / "one.md").write_text("# One\n")
    code, out, _ = command("run", "one.md", "--json")
    assert code == 0
    session_id = only_document(out)["session"]["id"]

    code, _, err = command("retry", session_id)
    assert code == 4
    assert "Cannot modify completed task" in err

    code, _, err = command("retry", session_id, "one.md", "--split-level", "1", "--project", "AB")
    assert code == 4
    assert "too late for other documents, --project, --split-level" in err
    with shared_database.transaction() as db:
        view = SessionRepository(db).get(uuid.UUID(session_id))
        assert view.task is not None
        assert view.task.status == TaskStatus.COMPLETED
        assert "split_level" not in view.options
