"""The page that opens a session: what it takes, and what it says of what it does not take."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

CSV = ("documents", ("a.csv", b"title,b\n1,2\n", "text/csv"))
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
