"""`run --to jira`: from a document to issues, as people and scripts see it."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.cli.application import run_command
from tests.jira.jira_export import issues_of, jira_export
from tests.jira_stand_in.misbehaving import Fault
from tests.jira_stand_in.server import JiraStandIn

pytestmark = pytest.mark.usefixtures("project", "configured")

Answer = tuple[int, str, str]


@pytest.fixture
def command(
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> Callable[..., Answer]:
    monkeypatch.setenv("SESSION_TASKS_DATABASE_URL", database_url)
    monkeypatch.setenv("SESSION_TASKS_JIRA_INDEX_SECONDS", "0.5")
    monkeypatch.setenv("SESSION_TASKS_JIRA_TIMEOUT_SECONDS", "5")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    rows = "Summary,Priority,Labels\n=1+1,High,a\nSecond,Low,b\nThird,Medium,c\n"
    (tmp_path / "issues.csv").write_text(rows, encoding="utf-8")

    def run(*arguments: object) -> Answer:
        capsys.readouterr()
        code = run_command([str(argument) for argument in arguments])
        return (code, *capsys.readouterr())

    return run


RUN = ("run", "issues.csv", "--project", "SHOP", "--to", "jira", "--out", "out")


def test_one_command_makes_issues_of_a_document(
    command: Callable[..., Answer], jira: JiraStandIn, tmp_path: Path
) -> None:
    code, out, err = command(*RUN)
    assert code == 0, err
    assert "✓ 3 issues created in Jira" in out
    assert f"SHOP-1  {jira.url}/browse/SHOP-1" in out
    assert len(jira.site.issues) == 3
    (folder,) = (tmp_path / "out").iterdir()
    written = (folder / "issues.csv").read_text(encoding="utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(written)))
    assert [row["key"] for row in rows] == ["SHOP-1", "SHOP-2", "SHOP-3"]
    assert rows[0]["summary"] == "'=1+1"
    assert rows[1]["url"] == f"{jira.url}/browse/SHOP-2"
    assert not (folder / "import.sh").exists()
    assert "Nothing is left to be sent" in (folder / "README.txt").read_text()
    code, written, _ = command("export", folder.name, "--out", folder)
    assert "3 issues written, all created in Jira" in written
    assert "sent again, it would create the issues again" in written
    code, shown, _ = command("show", folder.name)
    assert "SHOP-3" in shown
    assert "✓ 3 issues created in Jira" in command("watch", folder.name)[1]
    code, shown, _ = command("show", folder.name, "--json")
    document: dict[str, Any] = json.loads(shown)
    assert [each["key"] for each in document["issues"]] == ["SHOP-1", "SHOP-2", "SHOP-3"]
    assert document["tickets"][0]["issue_key"] == "SHOP-1"
    assert jira.violations == []


def test_a_preview_says_that_it_does_not_ask_the_site(
    command: Callable[..., Answer], jira: JiraStandIn
) -> None:
    said = "note: A preview does not ask the Jira site"
    assert said in command(*RUN, "--dry-run")[1]
    assert said not in command("run", "issues.csv", "--project", "SHOP", "--dry-run")[1]
    assert jira.requests == []


def test_what_jira_refuses_is_named_and_a_retry_sends_it_alone(
    command: Callable[..., Answer], jira: JiraStandIn
) -> None:
    jira.misbehave(Fault(refused=frozenset((1,))))
    code, out, err = command(*RUN)
    assert code == 6
    said = out + err
    assert "Something went wrong on our side" in said
    assert "issues.csv" in said
    assert "✓ 2 issues of 3 created in Jira" in out
    assert len(jira.site.issues) == 2
    session = next(word for word in said.split() if len(word) == 8 and word.isalnum())
    code, out, err = command("retry", session)
    assert code == 0, err
    assert len(jira.site.issues) == 3
    assert "✓ 3 issues created in Jira" in out


def test_the_command_that_shows_every_refusal_names_the_session(
    command: Callable[..., Answer], jira: JiraStandIn, tmp_path: Path
) -> None:
    rows = "".join(f"Row {number}\n" for number in range(12))
    (tmp_path / "issues.csv").write_text(f"Summary\n{rows}", encoding="utf-8")
    jira.misbehave(Fault(refused=frozenset(range(12))))
    code, out, _ = command(*RUN)
    assert code == 6
    shown = re.search(r"and 2 more: session-tasks (show \w{8} --json)", out)
    assert shown is not None
    findings = json.loads(command(*shown[1].split())[1])["findings"]
    assert len(findings) == 12


@pytest.mark.parametrize("to", ["jira:none", "trello"])
def test_an_unknown_site_is_refused_before_anything_is_stored(
    to: str, command: Callable[..., Answer]
) -> None:
    code, _out, err = command("run", "issues.csv", "--project", "SHOP", "--to", to)
    assert code == 2
    assert "--to" in err or "to:" in err
    assert "no session" in command("list")[1].lower()


def test_an_issue_type_that_the_project_lacks_is_mended_by_the_command_that_is_printed(
    command: Callable[..., Answer], jira: JiraStandIn
) -> None:
    code, out, _ = command(*RUN, "--issue-type", "Wish")
    assert code == 6
    (then,) = (line for line in out.splitlines() if "Then:" in line)
    assert "--issue-type NAME" in then
    assert "(issues.csv, row 1)" in out
    assert "does not fit the site" in out
    assert "at /fields/issuetype" in out
    assert jira.site.issues == {}
    mended = then.split("session-tasks ")[1].replace("NAME", "Bug").split()
    code, out, err = command(*mended)
    assert code == 0, err
    assert "✓ 3 issues created in Jira" in out


def test_a_project_that_the_site_lacks_is_mended_by_the_command_that_is_printed(
    command: Callable[..., Answer],
) -> None:
    code, out, _ = command(*RUN, "--project", "NONE")
    assert code == 6
    (then,) = (line for line in out.splitlines() if "Then:" in line)
    code, out, err = command(*then.split("session-tasks ")[1].replace("KEY", "SHOP").split())
    assert code == 0, err
    assert "✓ 3 issues created in Jira" in out


def test_a_description_that_is_too_long_is_mended_by_the_command_that_is_printed(
    command: Callable[..., Answer], jira: JiraStandIn, tmp_path: Path
) -> None:
    (tmp_path / "long.csv").write_text("Betreff,Description\nOne," + "word " * 10_000 + "\n")
    code, out, _ = command(
        "run", "long.csv", "--project", "SHOP", "--to", "jira", "--map", "Betreff=summary"
    )
    assert code == 6
    assert jira.site.issues == {}
    (then,) = (line for line in out.splitlines() if "Then:" in line)
    code, out, err = command(*shlex.split(then.split("session-tasks ")[1]))
    assert code == 0, err
    assert "✓ 2 issues created in Jira" in out


@pytest.mark.parametrize("count", [120, pytest.param(1_000, marks=pytest.mark.long)])
def test_an_export_of_jira_is_delivered_with_every_field_by_one_command(
    count: int, command: Callable[..., Answer], jira: JiraStandIn, tmp_path: Path
) -> None:
    text, expected = jira_export(count)
    (tmp_path / "export.csv").write_text(text, encoding="utf-8")
    code, out, err = command("run", "export.csv", "--project", "SHOP", "--to", "jira")
    assert code == 0, out + err
    assert f"✓ {count:,} issues created in Jira" in out
    assert issues_of(jira.site) == expected
    assert jira.violations == []
