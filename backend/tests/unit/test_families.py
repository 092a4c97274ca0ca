"""Families: parents come first and in earlier files; what is no family is noted with its place."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.tasks.documents.tickets import TicketOptions, tickets_from
from app.tasks.jira.families import arrange_families
from app.tasks.jira_import import build_bodies
from app.values.options import TooLong
from app.values.results import TicketDraft
from tests.notes import said
from tests.unit.test_documents_kinds import WORD, word

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NOWHERE = (
    "t.csv, row 3: the parent stands in no document, so Jira must have an issue of its key already"
    " (1 ticket: “S-9”)"
)
EMPTY = '{"type":"doc","version":1,"content":[]}'


def draft(title: str, below: int | None = None, /, **fields: Any) -> TicketDraft:
    return TicketDraft(title, EMPTY, "t.csv", int(title[1:]), json.dumps(fields), below)


def arranged(
    tickets: Sequence[TicketDraft],
    keys: Mapping[str, int] | None = None,
    *,
    issue_type: str = "Task",
    parent_type: str | None = None,
) -> tuple[list[TicketDraft], list[str]]:
    return arrange_families(tickets, keys or {}, issue_type=issue_type, parent_type=parent_type)


def issues_of(tickets: Sequence[TicketDraft], **options: Any) -> list[list[dict[str, Any]]]:
    bodies = build_bodies(tickets, project_key="SHOP", issue_type="Task", **options)
    return [[issue["fields"] for issue in json.loads(body.body)["issueUpdates"]] for body in bodies]


def test_generations_follow_one_another_and_each_keeps_its_order() -> None:
    tickets = [draft("a1", 3), draft("b2", 1), draft("c3"), draft("d4"), draft("e5", 4)]
    found, _notes = arranged(tickets)
    assert [(each.title, each.parent) for each in found] == [
        ("c3", None), ("d4", None), ("a1", 1), ("e5", 2), ("b2", 3),
    ]  # fmt: skip


def test_a_parent_is_found_by_its_key_in_another_document() -> None:
    found, notes = arranged([draft("a1", parent="S-1"), draft("b2", issuetype="Epic")], {"S-1": 2})
    assert [(each.title, each.parent, json.loads(each.fields)) for each in found] == [
        ("b2", None, {"issuetype": "Epic"}), ("a1", 1, {}),
    ]  # fmt: skip
    assert notes == []


def test_circles_and_parents_that_are_nowhere_are_told_with_their_places() -> None:
    tickets = [draft("a1", parent="S-2"), draft("b2", parent="S-1"), draft("c3", parent="S-9")]
    found, notes = arranged(tickets, {"S-1": 1, "S-2": 2})
    assert [each.parent for each in found] == [None, None, None]
    assert json.loads(found[2].fields) == {"parent": "S-9"}
    assert said(notes) == [
        NOWHERE,
        "t.csv, row 1: its parents lead back to it, so it gets none (2 tickets: “a1”)",
    ]


def test_parents_get_the_type_that_is_chosen_unless_their_document_names_one() -> None:
    tickets = [
        draft("a1"), draft("b2", 1), draft("c3", 2), draft("d4", issuetype="Story"), draft("e5", 4),
    ]  # fmt: skip
    found, notes = arranged(tickets, parent_type="Epic")
    kinds = {each.title: json.loads(each.fields).get("issuetype") for each in found}
    assert kinds == {"a1": "Epic", "b2": None, "c3": None, "d4": "Story", "e5": None}
    (note,) = said(notes)
    assert note.startswith(
        "t.csv, row 3: Jira takes no Task as the parent of a Task, but an Epic, say"
    )
    assert note.endswith("(1 ticket: “c3”); --parent-type NAME changes that")
    _found, notes = arranged([draft("a1")], parent_type="Epic")
    assert "none becomes an Epic" in said(notes)[0]


@given(
    parents=st.lists(st.one_of(st.none(), st.integers(1, 30)), min_size=1, max_size=30),
    size=st.integers(1, 4),
)
def test_no_issue_stands_beside_or_before_its_parent(parents: list[int | None], size: int) -> None:
    tickets = [
        draft(f"t{at}", parent if parent is not None and parent <= len(parents) else None)
        for at, parent in enumerate(parents, 1)
    ]
    found, _notes = arranged(tickets)
    assert sorted(each.title for each in found) == sorted(each.title for each in tickets)
    bodies = issues_of(found, issues_per_body=size)
    titles = {each.title: tickets[int(each.title[1:]) - 1] for each in found}
    seen: list[dict[str, str]] = []
    for number, body in enumerate(bodies, 1):
        for fields in body:
            if "parent" not in fields:
                continue
            file, _, position = fields["parent"]["key"].partition("#")
            at = int(file.removeprefix("import-").removesuffix(".json"))
            assert at < number
            parent = bodies[at - 1][int(position) - 1]["summary"]
            assert titles[fields["summary"]].parent == int(parent[1:])
            seen.append(fields)
    assert len(seen) == sum(each.parent is not None for each in found)


def test_a_parent_behind_its_child_as_earlier_versions_stored_it_is_left_out() -> None:
    (body,) = issues_of([draft("a1", 2), draft("b2")])
    assert not any("parent" in fields for fields in body)


# ------------------------------------------------------------------------------------- headings

OUTLINE = (("Shop", 1), ("Cart", 2), ("Colours", 3), ("Search", 2), ("Ops", 1), ("Backup", 2))
MARKDOWN = "".join(f"{'#' * level} {title}\n\ntext\n\n" for title, level in OUTLINE)
HTML = "".join(f"<h{level}>{title}</h{level}><p>text</p>" for title, level in OUTLINE)
STYLES = "".join(
    f"<w:style w:type='paragraph' w:styleId='H{level}'><w:name w:val='heading {level}'/></w:style>"
    for level in (1, 2, 3)
)
WORD_FILE = word(
    "".join(
        f"<w:p><w:pPr><w:pStyle w:val='H{level}'/></w:pPr><w:r><w:t>{title}</w:t></w:r></w:p>"
        "<w:p><w:r><w:t>text</w:t></w:r></w:p>"
        for title, level in OUTLINE
    ),
    **{"word/styles.xml": f"<w:styles xmlns:w='{WORD}'>{STYLES}</w:styles>"},
)


def sections(name: str, content: bytes, **options: Any) -> list[TicketDraft]:
    limits = {"max_rows": 1000, "max_columns": 100, "max_nesting": 100}
    return list(tickets_from(name, content, TicketOptions(**limits, **options)))


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.md", MARKDOWN.encode()), ("a.html", HTML.encode()), ("a.docx", WORD_FILE)],
)
def test_headings_of_the_highest_level_are_parents_of_those_below(
    name: str, content: bytes
) -> None:
    found = sections(name, content, split_level=3, parent_type="Epic")
    assert [(each.title, each.parent) for each in found] == [
        ("Shop", None), ("Cart", 1), ("Colours", 1), ("Search", 1), ("Ops", None), ("Backup", 5),
    ]  # fmt: skip
    kinds = [json.loads(each.fields).get("issuetype") for each in found]
    assert kinds == ["Epic", None, None, None, "Epic", None]
    flat = sections(name, content, split_level=3)
    assert {(each.parent, each.fields) for each in flat} == {(None, "{}")}


def test_what_stands_before_the_first_heading_has_no_parent() -> None:
    found = sections(
        "a.md", b"Before\n\n# A\n\nx\n\n## B\n\nx\n", split_level=2, parent_type="Epic"
    )
    assert [each.parent for each in found] == [None, None, 2]


def test_a_highest_heading_with_nothing_below_is_no_parent() -> None:
    found = sections("a.md", b"# A\n\nx\n\n# B\n\nx\n", split_level=2, parent_type="Epic")
    assert {each.fields for each in found} == {"{}"}


def test_front_matter_speaks_of_the_tickets_and_not_of_the_type_of_their_parents() -> None:
    source = b"---\nissuetype: Story\nparent: SH-1\n---\n# A\n\nx\n\n## B\n\nx\n"
    first, second = sections("a.md", source, split_level=2, parent_type="Epic")
    assert json.loads(first.fields) == {"issuetype": "Epic", "parent": "SH-1"}
    assert (json.loads(second.fields), second.parent) == ({"issuetype": "Story"}, 1)


def test_divided_parents_and_children_keep_their_family() -> None:
    long = "\n\n".join(["word " * 40] * 4)
    found = sections(
        "a.md",
        f"# A\n\n{long}\n\n## B\n\n{long}\n\n## C\n\nx\n".encode(),
        split_level=2,
        parent_type="Epic",
        too_long=TooLong.SPLIT,
        max_description_characters=700,
    )
    parents = {each.title: each.parent and found[each.parent - 1].title for each in found}
    (first, *others), parts = list(parents), [each for each in parents if each.startswith("B (")]
    assert first.startswith("A (1/")
    assert len(parts) > 1
    assert {parents[each] for each in [*parts, "C"]} == {first}
    assert {parents[each] for each in others if each.startswith("A (")} == {None}
