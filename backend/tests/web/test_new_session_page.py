"""The page that opens a session: what it takes, and what it says of what it does not take."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING

import pytest

from app.tasks.jira.column_rules import read_rules
from app.tasks.preview import Preview, PreviewColumn, PreviewDocument, PreviewTable
from app.web.column_choices import columns_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

CSV = ("documents", ("a.csv", b"title,b\n1,2\n", "text/csv"))
EMPTY = ("empty.md", b"", "text/markdown")
COLUMN = PreviewColumn(column="x:y=", field="", label="", is_left_out=False)
NOTES = ("documents", ("notes.md", b"# A\n\nb\n", "text/markdown"))


@pytest.fixture
def browser(sign_in: Callable[[str], httpx.Client]) -> httpx.Client:
    return sign_in(f"owner-{uuid.uuid4()}")


def token(browser: httpx.Client) -> str:
    found = re.search(r'name="token" value="([\w-]+)"', browser.get("/new").text)
    assert found is not None
    return found.group(1)


def test_a_session_is_opened_started_and_led_to(browser: httpx.Client) -> None:
    form = {"token": token(browser), "project_key": "REL", "auto_advance": "on", "start": "on"}

    answer = browser.post("/new", data=form, files=[NOTES])

    assert answer.status_code == 303
    session = browser.get(f"/api/v1{answer.headers['location']}").json()
    assert session["documents"] == ["notes.md"]
    assert session["label"] == "notes.md"
    assert session["options"] == {"project_key": "REL"}
    assert session["auto_advance"] is True
    assert session["task"]["status"] == "running"
    assert "processing started" in browser.get(answer.headers["location"]).text


def test_a_form_that_is_sent_twice_opens_one_session(browser: httpx.Client) -> None:
    form = {"token": token(browser), "start": "on"}

    first = browser.post("/new", data=form, files=[NOTES])
    second = browser.post("/new", data=form, files=[NOTES])

    assert first.headers["location"] == second.headers["location"]
    assert len(browser.get("/api/v1/sessions").json()["items"]) == 1
    assert "opened before" in browser.get(second.headers["location"]).text


def test_a_session_may_be_opened_without_being_started(browser: httpx.Client) -> None:
    answer = browser.post("/new", data={"token": token(browser), "label": "Later"}, files=[NOTES])

    session = browser.get(f"/api/v1{answer.headers['location']}").json()
    assert (session["label"], session["task"]["status"]) == ("Later", None)
    assert session["auto_advance"] is False


@pytest.mark.parametrize(
    ("data", "files", "field", "words"),
    [
        ({}, [], "documents", "Choose at least one document."),
        ({}, [("documents", ("", b"", "text/csv"))], "documents", "Choose at least one"),
        ({}, [("documents", ("a.exe", b"x", "text/csv"))], "documents", "is not a type"),
        ({}, [("documents", ("a.md", b"", "text/csv"))], "documents", "a.md is empty"),
        ({}, [NOTES, NOTES], "documents", "Two documents are called notes.md"),
        ({"split_level": "7"}, [NOTES], "split_level", "3 or less"),
        ({"label": "x" * 201}, [NOTES], "label", "at most 200"),
        ({"project_key": "\x00"}, [NOTES], "project_key", "NUL"),
        ({"project_key": "AB-1"}, [NOTES], "project_key", "is no Jira project key"),
        ({}, [("documents", ("a.csv", b"a,b\n1,2\n", "text/csv"))], "title_column", "no column"),
        ({"title_column": "x"}, [CSV], "title_column", "a.csv has no column"),
    ],
)
def test_what_cannot_be_taken_is_said_beside_its_field(
    browser: httpx.Client,
    data: dict[str, str],
    files: list[tuple[str, tuple[str, bytes, str]]],
    field: str,
    words: str,
) -> None:
    form = {"token": token(browser), "issue_type": "<Story>", **data}

    answer = browser.post("/new", data=form, files=files or {"none": b""})

    assert answer.status_code == 422
    found = re.search(rf'id="{field}-problem" data-problem>.*?<span>(.*?)</span>', answer.text)
    assert found is not None
    assert words in found.group(1)
    assert 'value="&lt;Story&gt;"' in answer.text
    assert browser.get("/api/v1/sessions").json()["items"] == []


def test_a_key_in_small_letters_is_offered_in_capitals(browser: httpx.Client) -> None:
    form = {"token": token(browser), "project_key": "shop"}

    answer = browser.post("/new", data=form, files=[NOTES])

    assert answer.status_code == 422
    assert "Write it as SHOP" in answer.text
    assert re.search(r'name="project_key" value="SHOP"', answer.text)


def test_decisions_about_columns_are_kept(browser: httpx.Client) -> None:
    form = {"token": token(browser), "map": ["b=labels", "title=summary"], "day_first": "true"}

    answer = browser.post("/new", data=form, files=[CSV])

    session = browser.get(f"/api/v1{answer.headers['location']}").json()
    assert session["options"]["map"] == ["b=labels", "title=summary"]
    assert session["options"]["day_first"] is True


def test_the_limits_are_told_before_they_are_hit(browser: httpx.Client) -> None:
    page = browser.get("/new").text

    assert "At most 1,000 files of 52 MB each, 105 MB together." in page


def test_a_form_of_another_origin_opens_nothing(browser: httpx.Client) -> None:
    answer = browser.post("/new", files=[NOTES], headers={"origin": "https://evil.example"})

    assert answer.status_code == 403
    assert browser.get("/api/v1/sessions").json()["items"] == []


def test_a_preview_shows_problems_mapping_and_tickets_and_stores_nothing(
    browser: httpx.Client,
) -> None:
    issues = ("documents", ("i.csv", b"Summary,Severity,Due\nA <b>,High,2026-12-24\n", "text/csv"))
    odd = ("documents", ("odd.csv", b"a,b\n1,2\n", "text/csv"))
    form = {
        "token": token(browser), "project_key": "shop", "map": ["", "i.csv:Severity=priority"],
        "more_rules": "Due=\n",
    }  # fmt: skip

    answer = browser.post("/new/preview", data=form, files=[issues, odd, ("documents", EMPTY)])

    assert answer.status_code == 200
    page = answer.text
    assert "Preview: 1 issue in 1 import file" in page
    assert "3 problems to correct" in page
    assert "odd.csv has no column" in page
    assert "empty.md is empty" in page
    assert re.search(r'id="project_key-problem" data-problem>.*?Write it as SHOP', page)
    assert 'name="project_key" value="SHOP"' in page
    assert '<option value="i.csv:Severity=priority" selected>Priority</option>' in page
    assert '<option value="i.csv:Due=duedate">Due date</option>' in page
    assert re.search(r'name="more_rules"[^>]*>Due=</textarea>', page)
    assert "Task: A &lt;b&gt;" in page
    assert "Priority: High" in page
    assert browser.get("/api/v1/sessions").json()["items"] == []


def test_the_choices_of_a_preview_open_the_session(browser: httpx.Client) -> None:
    form = {
        "token": token(browser), "project_key": "SHOP", "parent_type": "Epic",
        "map": ["", "a.csv:b=labels"], "more_rules": "b=priority\r\n\r\n", "day_first": "false",
    }  # fmt: skip
    answer = browser.post("/new", data=form, files=[CSV])
    options = browser.get(f"/api/v1{answer.headers['location']}").json()["options"]
    assert options == {
        "project_key": "SHOP", "parent_type": "Epic", "map": ["a.csv:b=labels", "b=priority"],
        "day_first": False,
    }  # fmt: skip


def test_a_preview_without_documents_says_so_beside_them(browser: httpx.Client) -> None:
    answer = browser.post("/new/preview", data={"token": token(browser)}, files={"none": b""})
    assert answer.status_code == 422
    assert "Choose at least one document." in answer.text


def test_every_field_that_a_preview_offers_can_be_chosen() -> None:
    document = PreviewDocument(
        name="a.csv",
        byte_count=1,
        ticket_count=1,
        tables=[PreviewTable(name="a.csv", origin="", columns=[COLUMN, COLUMN])],
    )
    made = Preview(
        documents=[document], tickets=[], problems=[], notes=[], ticket_count=1, problem_count=0,
        import_file_count=1, issue_types={}, options={},
    )  # fmt: skip
    (table,) = columns_of(made, ["a.csv:x:y==priority", "z="]).by_document["a.csv"]
    (column,) = table.columns
    rules = [rule for rule, _words, _chosen in column.choices if rule]
    read = [rule for text in rules for rule in read_rules([text], ["a.csv"])]
    assert {(rule.file, rule.column) for rule in read} == {("a.csv", "x:y=")}
    assert len({rule.field for rule in read}) == len(rules) > 10
    assert [words for _rule, words, chosen in column.choices if chosen] == ["Priority"]
