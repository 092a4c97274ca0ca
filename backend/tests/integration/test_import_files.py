"""The files of an import: what they hold, the same everywhere, and the script that sends them."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import tracemalloc
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from app.cli.application import run_command
from app.cli.output_directory import OutputDirectory, WrittenExport
from app.core.config import Settings
from app.core.database import Database
from app.models.session import TaskType
from app.presentation.import_files import SCRIPT, SessionImport
from app.repositories.content_repository import ContentRepository
from app.repositories.session_repository import SessionRepository
from app.tasks.jira_import import build_bodies
from app.values.results import ExportBody, TaskResults, TicketDraft
from tests.jira_stand_in.conftest import TOKEN, account, jira, project
from tests.jira_stand_in.misbehaving import Does, Fault, Says

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.jira_stand_in.server import JiraStandIn
    from tests.jira_stand_in.site import Account

__all__ = ["account", "jira", "project"]

EMPTY = '{"type":"doc","version":1,"content":[]}'


@pytest.fixture
def database(shared_database_url: str) -> Iterator[Database]:
    with Database(Settings(database_url=shared_database_url), shared_database_url) as opened:
        yield opened


@pytest.fixture
def exported(database: Database) -> Callable[..., SessionImport]:
    """Store a session with these tickets and their export."""

    def make(tickets: Sequence[TicketDraft], bodies: Sequence[ExportBody] = ()) -> SessionImport:
        bodies = bodies or list(build_bodies(tickets, project_key="SHOP", issue_type="Task"))
        with database.transaction() as db:
            session = SessionRepository(db).create_session([], label="", options={})
            content = ContentRepository(db)
            content.write_results(session.id, TaskType.PROCESSING, TaskResults(tickets=tickets))
            content.write_results(session.id, TaskType.EXPORT, TaskResults(exports=bodies))
            return SessionImport(database, session.id)

    return make


def tickets(count: int, description: str = EMPTY) -> list[TicketDraft]:
    return [TicketDraft(f"Ticket {at}", description, "rows.csv", at) for at in range(1, count + 1)]


def written(made: SessionImport, directory: Path) -> WrittenExport:
    return OutputDirectory(directory).write(made.session_id, made.files())


def report_of(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))


# ------------------------------------------------------------------------------------- the files


def test_the_report_leads_from_each_ticket_to_its_place_in_the_files(
    exported: Callable[..., SessionImport], tmp_path: Path
) -> None:
    drafts = tickets(120)
    drafts[60] = TicketDraft('=HYPERLINK("http://evil.example")', EMPTY, "-notes.md", 7)
    made = exported(drafts)

    export = written(made, tmp_path)

    assert [path.name for path in export.files] == [f"import-00{at}.json" for at in (1, 2, 3)]
    assert export.issue_count == 120
    rows = report_of(export.report.read_bytes())
    assert len(rows) == 120
    for number, (row, draft) in enumerate(zip(rows, drafts, strict=True), 1):
        body = json.loads((export.directory / row["file"]).read_text())
        issue = body["issueUpdates"][int(row["position"]) - 1]
        assert (int(row["ticket"]), issue["fields"]["summary"]) == (number, draft.title)
    assert (rows[59]["row"], rows[59]["line"]) == ("60", "")
    assert (rows[60]["row"], rows[60]["line"]) == ("", "7")
    assert rows[60]["summary"] == '\'=HYPERLINK("http://evil.example")'
    assert rows[60]["document"] == "'-notes.md"


def test_the_archive_has_the_files_of_the_command_byte_for_byte_each_time(
    exported: Callable[..., SessionImport], tmp_path: Path
) -> None:
    made = exported(tickets(51))
    export = written(made, tmp_path)

    first, second = (b"".join(made.zipped()) for _ in range(2))

    assert first == second
    archive = zipfile.ZipFile(io.BytesIO(first))
    assert archive.testzip() is None
    directory = f"jira-import-{export.directory.name}"
    assert {name: archive.read(name) for name in archive.namelist()} == {
        f"{directory}/{path.name}": path.read_bytes() for path in export.directory.iterdir()
    }
    readme = export.readme.read_text()
    assert "51 issues in 2 files" in readme
    assert f"JIRA_URL=https://YOUR-SITE.atlassian.net JIRA_EMAIL=you@example.com sh {SCRIPT}" in (
        readme
    )


def test_issues_that_come_from_no_tickets_get_no_place(
    exported: Callable[..., SessionImport], tmp_path: Path
) -> None:
    """A team's own export may divide or leave out tickets as it likes."""
    made = exported(tickets(3), [ExportBody('{"issueUpdates":[]}', 2)])
    rows = report_of(written(made, tmp_path).report.read_bytes())
    assert [(row["ticket"], row["file"]) for row in rows] == [("1", ""), ("2", ""), ("3", "")]


def test_an_archive_of_10_000_tickets_is_made_within_a_few_megabytes(
    exported: Callable[..., SessionImport],
) -> None:
    text = json.dumps({"type": "text", "text": "word " * 1_000})
    paragraph = f'{{"type":"paragraph","content":[{text}]}}'
    description = f'{{"type":"doc","version":1,"content":[{paragraph}]}}'
    made = exported(tickets(10_000, description))
    tracemalloc.start()
    try:
        size = sum(map(len, made.zipped()))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size > 100_000
    assert peak < 24 * 1024 * 1024  # the bodies alone are 50 MB


# ------------------------------------------------------------------------------------ the script

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@pytest.fixture
def send(jira: JiraStandIn, account: Account) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the script in a directory, against the stand-in."""

    def run(directory: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        given = {"JIRA_URL": jira.url, "JIRA_EMAIL": account.email, "JIRA_TOKEN": TOKEN}
        return subprocess.run(
            ["sh", directory / SCRIPT],
            env=os.environ | given | {"WAIT_SECONDS": "0"} | environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def summaries(jira: JiraStandIn) -> list[str]:
    return [issue.fields["summary"] for issue in jira.site.issues.values()]


@needs_curl
@pytest.mark.usefixtures("project")
def test_the_script_creates_each_issue_once_however_often_it_is_run(
    exported: Callable[..., SessionImport],
    send: Callable[..., subprocess.CompletedProcess[str]],
    jira: JiraStandIn,
    tmp_path: Path,
) -> None:
    export = written(exported(tickets(120)), tmp_path)
    jira.misbehave(Fault(does=Does.NOTHING, says=Says.STATUS, status=429))

    first = send(export.directory)
    second = send(export.directory)

    assert first.returncode == second.returncode == 0, first.stderr
    assert summaries(jira) == [f"Ticket {at}" for at in range(1, 121)]
    assert jira.violations == []
    assert TOKEN not in first.stdout + first.stderr
    assert sorted(path.name for path in export.directory.iterdir() if path.name[0] == ".") == []


@needs_curl
@pytest.mark.usefixtures("project")
def test_the_script_puts_the_keys_of_parents_in_their_place(
    send: Callable[..., subprocess.CompletedProcess[str]], jira: JiraStandIn, tmp_path: Path
) -> None:
    shutil.copy(Path(__file__).parents[2] / "app" / "tasks" / "jira" / SCRIPT, tmp_path)

    def issue(summary: str, kind: str, **fields: Any) -> dict[str, Any]:
        given = {"project": {"key": "SHOP"}, "issuetype": {"name": kind}, "summary": summary}
        return {"fields": given | fields}

    text = 'Not this one: "parent":{"key":"import-001.json#1"}'
    description = {"type": "doc", "version": 1, "content": [
        {"type": "paragraph", "content": [{"type": "text", "text": text}]}]}  # fmt: skip
    bodies = [
        [issue("Epic A", "Epic"), issue("Epic B", "Epic")],
        [issue("Of B", "Task", parent={"key": "import-001.json#2"}, description=description),
         issue("Of A", "Task", parent={"key": "import-001.json#1"})],
    ]  # fmt: skip
    for number, issues in enumerate(bodies, 1):
        written = json.dumps({"issueUpdates": issues}, separators=(",", ":"))
        (tmp_path / f"import-00{number}.json").write_text(written + "\n")

    done = send(tmp_path)

    assert done.returncode == 0, done.stderr
    by_summary = {each.fields["summary"]: each for each in jira.site.issues.values()}
    for child, parent in (("Of A", "Epic A"), ("Of B", "Epic B")):
        assert by_summary[child].fields["parent"]["key"] == by_summary[parent].key
    paragraph = by_summary["Of B"].fields["description"]["content"][0]
    assert paragraph["content"][0]["text"] == text


@needs_curl
@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("says", [Says.HALF, Says.NOTHING, Says.HTML, Says.STATUS])
def test_the_script_never_sends_a_file_again_whose_answer_it_did_not_get(
    exported: Callable[..., SessionImport],
    send: Callable[..., subprocess.CompletedProcess[str]],
    jira: JiraStandIn,
    tmp_path: Path,
    says: Says,
) -> None:
    export = written(exported(tickets(60)), tmp_path)
    jira.misbehave(Fault(says=says))

    first = send(export.directory)
    second = send(export.directory)

    assert first.returncode == second.returncode == 1
    assert len(summaries(jira)) == 50
    assert "Look in Jira" in second.stderr
    (unknown,) = export.directory.glob(".answer-*.unknown")
    unknown.rename(export.directory / "answer-001.json")
    assert send(export.directory).returncode == 0
    assert len(summaries(jira)) == 60


@needs_curl
@pytest.mark.usefixtures("project")
def test_the_script_stops_where_jira_refuses_issues_and_then_goes_on_behind_them(
    exported: Callable[..., SessionImport],
    send: Callable[..., subprocess.CompletedProcess[str]],
    jira: JiraStandIn,
    tmp_path: Path,
) -> None:
    export = written(exported(tickets(60)), tmp_path)
    jira.misbehave(Fault(refused=frozenset({3})))

    first = send(export.directory)
    second = send(export.directory)

    assert (first.returncode, second.returncode) == (1, 0)
    assert "refused some of its issues" in first.stderr
    assert summaries(jira) == [f"Ticket {at}" for at in range(1, 61) if at != 4]


@needs_curl
def test_the_script_sends_nothing_where_the_site_refuses_or_is_not_there(
    exported: Callable[..., SessionImport],
    send: Callable[..., subprocess.CompletedProcess[str]],
    jira: JiraStandIn,
    tmp_path: Path,
) -> None:
    export = written(exported(tickets(1)), tmp_path)

    refused = send(export.directory, JIRA_TOKEN='wrong"\\$(token)')
    absent = send(export.directory, JIRA_URL="http://127.0.0.1:9")

    assert (refused.returncode, absent.returncode) == (1, 1)
    assert "status 401" in refused.stderr
    assert "nothing was sent" in absent.stderr
    assert summaries(jira) == []
    assert not list(export.directory.glob(".answer-*.unknown"))


@needs_curl
@pytest.mark.usefixtures("project")
def test_families_of_documents_arrive_in_jira_as_families(
    send: Callable[..., subprocess.CompletedProcess[str]],
    jira: JiraStandIn,
    shared_database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    rows = [f"Story {at},S-{at},Story,S-{1000 + at % 60},\n" for at in range(1, 121)]
    rows += [f"Epic {at},S-{at},Epic,,\n" for at in range(1000, 1060)]
    rows += [f"Part {at},S-{at},Sub-task,,S-{at - 2000}\n" for at in range(2001, 2121)]
    header = "Summary,Issue key,Issue Type,Epic Link,Parent key\n"
    (tmp_path / "jira.csv").write_text(header + "".join(rows))
    (tmp_path / "plan.md").write_text("# Plan\n\n## Step 1\n\nx\n\n## Step 2\n\nx\n")
    monkeypatch.setenv("SESSION_TASKS_DATABASE_URL", shared_database_url)
    monkeypatch.chdir(tmp_path)
    code = run_command(
        ["run", "jira.csv", "plan.md", "--out", "out", "--project", "SHOP", "--json",
         "--split-level", "2", "--parent-type", "Epic"]
    )  # fmt: skip
    assert code == 0
    (directory,) = (tmp_path / "out").iterdir()

    done = send(directory)

    assert done.returncode == 0, done.stderr
    assert jira.violations == []
    by_key = {issue.key: issue.fields for issue in jira.site.issues.values()}
    assert len(by_key) == 303
    families = {
        fields["summary"]: by_key[fields["parent"]["key"]]["summary"]
        for fields in by_key.values()
        if fields.get("parent")
    }
    expected = {f"Story {at}": f"Epic {1000 + at % 60}" for at in range(1, 121)}
    expected |= {f"Part {at}": f"Story {at - 2000}" for at in range(2001, 2121)}
    assert families == expected | {"Step 1": "Plan", "Step 2": "Plan"}
