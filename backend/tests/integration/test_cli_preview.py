"""`run --dry-run`: all that is wrong, at once, and what the documents would become; no database."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from app.cli.application import run_command
from app.core.database import Database

if TYPE_CHECKING:
    from collections.abc import Callable

Answer = tuple[int, str]

EXPORT = (
    "Summary,Issue key,Issue Type,Priority,Labels,Labels,Parent,Internal,Owner,Description\n"
    "Pay,SH-2,Story,High,shop,two words,SH-1,x,Ann,Pay by card\n"
    "Shop,SH-1,Epic,Low,shop,,,y,Bob,All\n"
)


@pytest.fixture
def dry_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Answer]:
    """Run the command where opening a database would fail; returns exit code and output."""

    def fail(*_: object, **__: object) -> None:
        pytest.fail("a database was opened")

    monkeypatch.setattr(Database, "open", fail)
    monkeypatch.delenv("SESSION_TASKS_JIRA_PROJECT", raising=False)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Answer:
        capsys.readouterr()
        code = run_command(["run", "--dry-run", *arguments])
        return code, capsys.readouterr().out

    return run


def test_the_mapping_the_first_tickets_and_the_counts_are_shown(
    dry_run: Callable[..., Answer],
) -> None:
    Path("jira.csv").write_text(EXPORT)
    Path("notes.md").write_text("---\npriority: high\n---\n# Notes\n\nText\n")

    code, out = dry_run("jira.csv", "notes.md", "--project", "SHOP", "--map", "Internal=")

    assert code == 0
    lines = [" ".join(line.split()) for line in out.splitlines()]
    for line in (
        "jira.csv · 180 bytes · 2 tickets", "an export of Jira", "Summary Title",
        "Issue key text in the description", "Internal left out", "Labels Labels",
        "Parent Parent", "priority Priority", "1. Epic · Shop", "3. Story · Pay",
        "jira.csv, row 1 · below 1", "Labels: shop, two-words", "Priority: High", "│ Pay by card",
        "✓ 3 issues (1 Epic, 1 Task, 1 Story) in 2 import files; no problems",
    ):  # fmt: skip
        assert line in lines, (line, out)
    assert not list(Path().glob("out*"))


def test_all_problems_of_all_files_come_at_once(dry_run: Callable[..., Answer]) -> None:
    Path("untitled.csv").write_text("a,b\n1,2\n")
    Path("open.csv").write_text('title\n"1\n')
    Path("deep.md").write_text("> " * 200 + "x\n")
    Path("long.md").write_text("# Long\n\n" + "word " * 8_000)
    Path("empty.md").write_text("")
    Path("good.csv").write_text("title\nA\n")
    names = ["untitled.csv", "open.csv", "deep.md", "long.md", "empty.md", "none.md", "a.exe"]
    Path("a.exe").write_text("x")

    code, out = dry_run(*names, "good.csv", "--project", "shop", "--json")

    assert code == 2
    said = json.loads(out)
    assert said["exit_code"] == 2
    told = [problem["message"] for problem in said["problems"]]
    assert said["problem_count"] == len(told) == len(names) + 1, told
    for name in (*names, "'shop'"):
        assert any(name in message for message in told), (name, told)
    steps = [problem["next_step"] for problem in said["problems"]]
    assert any("Write it as SHOP (--project KEY)" in step for step in steps)
    assert any("--title-column NAME" in step for step in steps)
    assert any("--too-long" in step for step in steps)
    assert [each["summary"] for each in said["tickets"]] == ["Long", "A"]
    _, out = dry_run("empty.md", "none.md", "good.csv", "--project", "SHOP")
    assert out.startswith("Preview of 1 of 3 documents, 8 bytes; nothing is stored")


def test_a_rule_for_one_file_holds_for_its_sheets_too(dry_run: Callable[..., Answer]) -> None:
    Path("one.csv").write_text("Title,Kind\nA,b c\n")
    Path("two.csv").write_text("Title,Kind\nA,b c\n")

    _code, out = dry_run(
        "one.csv", "two.csv", "--project", "SHOP", "--json", "--map", "two.csv:Kind=labels"
    )

    fields = [each["fields"] for each in json.loads(out)["tickets"]]
    assert fields == [{}, {"labels": ["b-c"]}]


def test_a_rule_that_speaks_of_no_column_is_a_problem(dry_run: Callable[..., Answer]) -> None:
    Path("one.csv").write_text("Title,Kind\nA,b\n")
    code, out = dry_run("one.csv", "--project", "SHOP", "--map", "Sort=labels")
    assert code == 2
    assert "No document has a column “Sort”" in out
    assert "the columns are Title, Kind" in out


def test_a_rule_that_cannot_be_read_does_not_hide_the_documents(
    dry_run: Callable[..., Answer],
) -> None:
    Path("one.csv").write_text("Title,Kind\nA,b\n")
    Path("two.csv").write_text("Kind\nb\n")
    code, out = dry_run("one.csv", "two.csv", "--project", "SHOP", "--map", "Kind=nothing")
    assert code == 2
    assert "there is no field 'nothing'" in out
    assert "two.csv has no column" in out
    assert "one.csv · 15 bytes · 1 ticket" in out
