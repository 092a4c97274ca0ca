"""The bodies of Jira's bulk import: every ticket once, in order, in a shape that Jira takes."""

from __future__ import annotations

import json
import unicodedata
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import ConfigurationError, ContentViolation, ErrorCategory
from app.tasks.adf.validation import find_violations
from app.tasks.jira_import import NO_TITLE, build_bodies, make_summary
from app.values.results import TicketDraft

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

STORABLE = st.characters(exclude_categories=("Cs",), exclude_characters="\0")
"""Of these a ticket's title may be made."""


def description(text: str = "text") -> str:
    paragraph = {"type": "paragraph", "content": [{"type": "text", "text": text}]}
    return json.dumps({"version": 1, "type": "doc", "content": [paragraph]}, separators=(",", ":"))


def utf16_length(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def drafts(tickets: Iterable[tuple[str, str]]) -> Iterator[TicketDraft]:
    return (TicketDraft(title, text, "a.md", 1) for title, text in tickets)


def issues_of(tickets: list[tuple[str, str]], **options: Any) -> list[Any]:
    arguments = {"project_key": "ABC", "issue_type": "Task"} | options
    bodies = list(build_bodies(drafts(tickets), **arguments))
    return [issue for body in bodies for issue in json.loads(body.body)["issueUpdates"]]


def test_body_has_the_shape_of_jiras_bulk_request() -> None:
    [body] = build_bodies(
        drafts([("A title", description())]), project_key="AB_1", issue_type="User Story"
    )
    assert json.loads(body.body) == {
        "issueUpdates": [
            {
                "fields": {
                    "project": {"key": "AB_1"},
                    "issuetype": {"name": "User Story"},
                    "summary": "A title",
                    "description": json.loads(description()),
                }
            }
        ]
    }
    assert body.issue_count == 1


def test_fields_of_the_document_stand_in_the_issue() -> None:
    fields = {
        "issuetype": "User Story", "priority": "Urgent", "labels": ["a"], "duedate": "2026-12-24",
        "parent": "ABC-1", "assignee": "ann", "storypoints": "5", "customfield_10030": "x",
    }  # fmt: skip
    plain, full = (
        TicketDraft("A title", description(), "a.csv", 1),
        TicketDraft("A title", description(), "a.csv", 2, json.dumps(fields)),
    )
    [body] = build_bodies([plain, full], project_key="ABC", issue_type="Bug")
    first, second = (issue["fields"] for issue in json.loads(body.body)["issueUpdates"])
    assert first["issuetype"] == {"name": "Bug"}
    assert second == {
        "project": {"key": "ABC"},
        "issuetype": {"name": "Story"},
        "summary": "A title",
        "description": json.loads(description()),
        "priority": {"name": "Highest"},
        "labels": ["a"],
        "duedate": "2026-12-24",
        "parent": {"key": "ABC-1"},
        "customfield_10030": "x",
    }


@given(
    titles=st.lists(st.text(STORABLE, max_size=300), max_size=130),
    size=st.integers(1, 50),
    issue_type=st.sampled_from(["Task", 'Quoted "Story"', "Fehler ä"]),
)
def test_every_ticket_stands_in_exactly_one_body_in_order(
    titles: list[str], size: int, issue_type: str
) -> None:
    tickets = [(title, description(f"ticket {n}")) for n, title in enumerate(titles)]
    bodies = list(
        build_bodies(
            drafts(tickets), project_key="ABC", issue_type=issue_type, issues_per_body=size
        )
    )
    seen = []
    for number, body in enumerate(bodies):
        body.body.encode("utf-8")
        issues = json.loads(body.body)["issueUpdates"]
        assert len(issues) == body.issue_count
        assert body.issue_count == size or number == len(bodies) - 1
        seen += issues
    assert len(seen) == len(tickets)
    for issue, (title, text) in zip(seen, tickets, strict=True):
        fields = issue["fields"]
        assert fields["issuetype"] == {"name": issue_type}
        assert fields["summary"] == make_summary(title)[0]
        kept = json.loads(text)["content"]
        assert fields["description"]["content"][-len(kept) :] == kept


@given(title=st.text() | st.text(alphabet="ab 😄\u0301\n\x00é", min_size=200, max_size=600))
def test_summary_is_one_short_line_and_never_empty(title: str) -> None:
    summary, whole = make_summary(title)
    assert summary.strip() == summary != ""
    assert len(summary) <= utf16_length(summary) <= 255
    for text in (summary, whole):
        assert not any(unicodedata.category(character) in ("Cc", "Cs") for character in text)
        assert len(text.splitlines()) == 1
    if summary != whole:
        assert summary.endswith("…")
        assert whole.startswith(summary[:-1])
        assert utf16_length(whole) > 255


@given(title=st.text(STORABLE, max_size=900))
def test_whole_title_survives_in_summary_or_description(title: str) -> None:
    [issue] = issues_of([(title, description())])
    words = "".join(c if unicodedata.category(c) != "Cc" else " " for c in title).split()
    fields = issue["fields"]
    place = fields["summary"]
    if place != " ".join(words) and place != NO_TITLE:
        place = fields["description"]["content"][0]["content"][0]["text"]
    assert place in (" ".join(words), NO_TITLE)


def test_title_that_fits_is_kept_and_the_description_copied_to_the_letter() -> None:
    odd = '{ "version":1,\n"type":"doc","content":[],"note":1.0e2 }'
    [body] = build_bodies(drafts([("a" * 255, odd)]), project_key="ABC", issue_type="Task")
    assert odd in body.body


def test_title_that_is_cut_stands_whole_at_the_start_of_the_description() -> None:
    title = "word " * 60 + "end"
    [issue] = issues_of([(title, description("kept"))])
    summary = issue["fields"]["summary"]
    assert summary.endswith(" word…") or summary == ("word " * 51)[:254] + "…"
    content = issue["fields"]["description"]["content"]
    assert [node["content"][0]["text"] for node in content] == [title, "kept"]
    assert find_violations(issue["fields"]["description"]) == []


@pytest.mark.parametrize(
    ("title", "summary"),
    [
        ("a" * 255, "a" * 255),
        ("a" * 256, "a" * 254 + "…"),
        ("a" * 240 + " " + "b" * 60, "a" * 240 + "…"),
        ("a" * 100 + " " + "b" * 200, "a" * 100 + " " + "b" * 153 + "…"),
        ("😄" * 127, "😄" * 127),
        ("😄" * 128, "😄" * 127 + "…"),
        ("a" + "😄" * 128, "a" + "😄" * 126 + "…"),
        ("a" * 253 + "e\u0301" + "b" * 9, "a" * 253 + "…"),
        ("a" * 252 + "👍🏽" + "b" * 9, "a" * 252 + "…"),
        ("a" * 250 + "👩\u200d👧" + "b" * 9, "a" * 250 + "…"),
        (" two\n\tlines\x00 and\u2028more ", "two lines and more"),
        ("half \ud83d pair", "half \ufffd pair"),
        ("", NO_TITLE),
        (" \n\x00\u200b", NO_TITLE),
    ],
)
def test_summary_is_cut_between_words_and_never_inside_a_character(
    title: str, summary: str
) -> None:
    assert make_summary(title)[0] == summary


def test_one_endless_cluster_of_marks_is_cut_all_the_same() -> None:
    summary, _ = make_summary("a" + "\u0301" * 1_000)
    assert 200 < len(summary) <= 255


def test_bodies_are_built_while_the_tickets_are_read() -> None:
    read = 0

    def tickets() -> Iterator[tuple[str, str]]:
        nonlocal read
        for number in range(1_000_000):
            read += 1
            yield f"ticket {number}", description()

    bodies = build_bodies(drafts(tickets()), project_key="ABC", issue_type="Task")
    assert read == 0
    assert next(bodies).issue_count == 50
    assert read == 50


@pytest.mark.parametrize(
    ("tickets", "size", "counts"),
    [(130, 50, [50, 50, 30]), (100, 50, [50, 50]), (7, 3, [3, 3, 1]), (2, 1, [1, 1])],
)
def test_bodies_are_filled_one_after_the_other(tickets: int, size: int, counts: list[int]) -> None:
    many = [("title", description())] * tickets
    bodies = build_bodies(drafts(many), project_key="ABC", issue_type="Task", issues_per_body=size)
    assert [body.issue_count for body in bodies] == counts


def test_no_tickets_make_no_body() -> None:
    assert issues_of([]) == []


@pytest.mark.parametrize(
    ("key", "offered"),
    [
        ("", "ABC-123"), ("A", "ABC-123"), ("abc", "Write it as ABC."), ("1AB", "ABC-123"),
        ("AB-1", "ABC-123"), ("ÄB", "ABC-123"), ("AB ", "Write it as AB."), ("_AB", "ABC-123"),
        ("ab\n", "Write it as AB."), ("AB\x00", "ABC-123"),
    ],
)  # fmt: skip
def test_project_key_that_jira_cannot_have_is_refused_before_reading(
    key: str, offered: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        build_bodies([], project_key=key, issue_type="Task")
    assert caught.value.category is ErrorCategory.USER_FIXABLE
    assert offered in caught.value.next_step


@pytest.mark.parametrize(
    "options",
    [{"issue_type": " "}, {"issue_type": "a\nb"}, {"issues_per_body": 0}, {"issues_per_body": 51}],
)
def test_other_options_that_jira_cannot_take_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        issues_of([], **options)
    assert caught.value.category is ErrorCategory.USER_FIXABLE
    assert caught.value.next_step


@pytest.mark.parametrize("text", ["", "null", "[]", '"text"', "{"])
def test_description_that_is_no_object_is_refused_by_number(text: str) -> None:
    with pytest.raises(ContentViolation, match=r"ticket 2 \(second\)"):
        issues_of([("first", description()), ("second", text)])


@pytest.mark.parametrize(
    "text", ["{}", '{"content":{}}', "{broken}", '{"a":' * 5_000 + "1" + "}" * 5_000]
)
def test_description_that_cannot_take_the_title_is_refused(text: str) -> None:
    with pytest.raises(ContentViolation, match="ticket 1"):
        issues_of([("x" * 300, text)])
