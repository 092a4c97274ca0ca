"""Previews over HTTP: everything at once, nothing stored, and no document that harms the server."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from app.core.config import Settings
from app.core.errors import DocumentError
from app.engines import reading_apart
from app.engines.reading_apart import preview_apart, problems_apart
from app.repositories.content_reader import IncomingDocument
from app.tasks.intake_check import document_problems
from app.values.options import SessionOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

PREVIEW = "/api/v1/preview"
ISSUES = ("documents", ("issues.csv", b"Summary,Priority,Owner\nPay,High,Ann\nShip,Low,Bob\n"))
LINKS = ("documents", ("links.md", b"# Links\n\n[a](b.md)\n"))
NOTES = ("documents", ("notes.md", b"# Notes\n\n## Part\n\nText\n"))


def test_a_preview_has_mapping_tickets_and_counts_and_stores_nothing(client: httpx.Client) -> None:
    answer = client.post(
        PREVIEW,
        files=[ISSUES, NOTES],
        data={"project_key": "SHOP", "split_level": "2", "parent_type": "Epic"},
    )
    assert answer.status_code == 200
    said = answer.json()
    (table,) = said["documents"][0]["tables"]
    assert [(each["column"], each["field"]) for each in table["columns"]] == [
        ("Summary", "summary"), ("Priority", "priority"), ("Owner", ""),
    ]  # fmt: skip
    assert (said["ticket_count"], said["import_file_count"]) == (4, 2)
    assert said["issue_types"] == {"Task": 3, "Epic": 1}
    assert said["problems"] == []
    assert [(each["summary"], each["parent"]) for each in said["tickets"]] == [
        ("Pay", None), ("Ship", None), ("Notes", None), ("Part", 3),
    ]  # fmt: skip
    assert said["tickets"][0]["fields"] == {"priority": {"name": "High"}}
    (note,) = client.post(PREVIEW, files=[LINKS], data={"project_key": "SHOP"}).json()["notes"]
    assert note["text"].endswith("became text: 1; base_url changes that")
    assert note["options"] == ["base_url"]
    assert client.get("/api/v1/sessions").json()["items"] == []


def test_all_problems_are_told_at_once(client: httpx.Client) -> None:
    files = [
        ISSUES,
        ("documents", ("odd.csv", b"a,b\n1,2\n")),
        ("documents", ("open.csv", b'title\n"1\n')),
        ("documents", ("empty.md", b"")),
        ("documents", ("a.exe", b"x")),
        ISSUES,
    ]
    said = client.post(PREVIEW, files=files, data={"project_key": "shop"}).json()
    told = " ".join(f"{each['message']} {each['next_step']}" for each in said["problems"])
    assert said["problem_count"] == len(said["problems"]) == 6
    for words in ("odd.csv", "title_column", "open.csv", "empty.md", "a.exe", "SHOP", "Two docu"):
        assert words in told
    assert said["ticket_count"] == 2


def test_a_request_that_is_none_is_refused(client: httpx.Client) -> None:
    assert client.post(PREVIEW).status_code == 422
    assert client.post(PREVIEW, files=[NOTES], data={"split_level": "9"}).status_code == 422


def test_documents_that_take_too_long_end_their_process_and_the_server_goes_on(
    make_server: Callable[..., Any],
) -> None:
    api = make_server(preview_seconds=0.05)
    client = api.client(api.key())
    large = ("documents", ("large.csv", b"title\n" + b"One\n" * 300_000))
    refused = client.post(PREVIEW, files=[large], data={"project_key": "A1"})
    assert refused.status_code == 422
    assert "takes longer than 0.05 seconds" in refused.json()["detail"]
    assert client.get("/healthz").status_code == 200


def test_large_documents_are_checked_in_a_process_of_their_own_too(
    make_server: Callable[..., Any],
) -> None:
    api = make_server(preview_seconds=0.05)
    client = api.client(api.key())
    large = ("documents", ("large.csv", b"title\n" + b"One\n" * 300_000))
    refused = client.post("/api/v1/sessions", files=[large], data={"project_key": "A1"})
    assert refused.status_code == 422
    assert "The check of these documents takes longer than 0.05 seconds" in refused.json()["detail"]
    assert client.get("/api/v1/sessions").json()["items"] == []
    small = client.post("/api/v1/sessions", files=[NOTES], data={"project_key": "A1"})
    assert small.status_code == 201


def test_a_check_apart_finds_what_one_in_this_process_finds() -> None:
    documents = [
        IncomingDocument("odd.csv", b"a,b\n1,2\n"),
        IncomingDocument("open.csv", b'title\n"1\n'),
        IncomingDocument("good.csv", b"title\n1\n"),
    ]
    settings = Settings.model_validate({"jira_project": "SHOP"})
    for some, rules in ((documents, ()), (documents[2:], ("Other=labels",))):
        of = ([each.name for each in some], SessionOptions(map=rules), settings)
        found, expected = problems_apart(some, *of), document_problems(some, *of)
        assert expected
        assert [type(each) for each in found] == [type(each) for each in expected]
        assert [vars(each) for each in found] == [vars(each) for each in expected]


def apart(name: str, content: bytes, **settings: Any) -> None:
    made = Settings.model_validate({"jira_project": "SHOP", **settings})
    preview_apart([IncomingDocument(name, content)], [name], SessionOptions(), made)


def test_documents_that_need_too_much_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        reading_apart, "_BOOT", reading_apart._BOOT.replace(
            "; main(",
            "; import app.engines.reading_apart as it; it.MOST_MEMORY_BYTES = 400_000_000; main(",
        )
    )  # fmt: skip
    rows = b"title,body\n" + b"a," + b"x" * 60_000_000 + b"\n"
    with pytest.raises(DocumentError, match=r"MB of memory|ended its process"):
        apart("a.csv", rows)


def test_a_process_that_crashes_is_told_and_gets_no_secret(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("SESSION_TASKS_JIRA_TOKEN", "kettle-token")
    seen = tmp_path / "seen"
    boot = (
        f"import os, sys; data = sys.stdin.buffer.read(); open({str(seen)!r}, 'wb').write(data + "
        "repr(os.environ).encode()); os.abort()"
    )
    monkeypatch.setattr(reading_apart, "_BOOT", boot)
    with pytest.raises(DocumentError, match="ended its process"):
        apart(
            "a.md",
            b"# A",
            jira_token="kettle-token",
            database_url="postgresql://u:kettle-password@h/d",
        )
    told = seen.read_bytes()
    assert b"# A" in told
    assert b"kettle-" not in told
    assert os.environ["SESSION_TASKS_JIRA_TOKEN"] == "kettle-token"
