"""Columns become fields: in each program's spelling, by rules, and never with a word lost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from app.core.errors import ConfigurationError, ErrorCategory
from app.tasks.documents.tickets import TicketOptions, tickets_from
from app.tasks.jira.column_rules import MappingOptions, read_rules
from app.tasks.jira.columns import ColumnMapping, MappedRow, fields_of_front_matter
from app.tasks.jira.payload import named_fields
from app.tasks.jira.spellings import FIELDS, Origin, field_named, origin_of
from tests.notes import said

DOCUMENTATION = Path(__file__).parents[3] / "docs" / "jira.md"


def mapped(
    header: Sequence[str],
    *rows: Sequence[str],
    title: int = 0,
    body: int | None = None,
    rules: Sequence[str] = (),
    **options: Any,
) -> tuple[ColumnMapping, list[MappedRow]]:
    mapping = ColumnMapping(
        "issues.csv",
        header,
        title=title,
        body=body,
        options=MappingOptions(rules=read_rules(rules, ["issues.csv"]), **options),
        rows=lambda: iter(enumerate(rows, 1)),
    )
    return mapping, [mapping.row(number, cells) for number, cells in enumerate(rows, 1)]


def fields(header: Sequence[str], *cells: str, **options: Any) -> dict[str, Any]:
    """The fields of one row below the header, whose first column is the title."""
    _mapping, (row,) = mapped(["Title", *header], ["A title", *cells], **options)
    return row.fields


def shown(header: Sequence[str], row: MappedRow) -> list[str]:
    return [header[index] for index in sorted(row.shown)]


JIRA = (
    ["Summary", "Issue Type", "Priority", "Assignee", "Reporter", "Labels", "Labels", "Components",
     "Fix Version/s", "Due Date", "Parent", "Epic Link", "Story Points", "Status", "Sprint",
     "Description"],
    ["Login fails", "Bug", "High", "alice@example.com", "bob@example.com", "backend",
     "customer impact", "Auth", "1.2.0", "2026-12-24", "SHOP-10", "SHOP-1", "5", "In Progress",
     "Sprint 7", "Text"],
    ["Add dark mode", "Story", "Low", "", "", "ui", "", "Web", "", "", "", "", "3", "To Do", "",
     ""],
)  # fmt: skip


def test_a_jira_export_without_a_site_becomes_what_names_can_say() -> None:
    header, *rows = JIRA
    mapping, (first, second) = mapped(header, *rows, body=15)
    assert named_fields(first.fields | {"parent": first.parent_key}) == {
        "priority": {"name": "High"},
        "labels": ["backend", "customer-impact"],
        "components": [{"name": "Auth"}],
        "fixVersions": [{"name": "1.2.0"}],
        "duedate": "2026-12-24",
        "parent": {"key": "SHOP-10"},
    }
    assert (first.fields["issuetype"], second.fields["issuetype"]) == ("Bug", "Story")
    assert shown(header, first) == [
        "Assignee", "Reporter", "Epic Link", "Story Points", "Status", "Sprint",
    ]  # fmt: skip
    notes = "\n".join(said(mapping.notes()))
    assert "customer impact" in notes
    for stays in ("Assignee", "Reporter", "Story Points", "Status", "Sprint"):
        assert f"“{stays}” stays in the table" in notes


def test_with_a_site_people_and_points_leave_the_table_too() -> None:
    header, *rows = JIRA
    _mapping, (first, _second) = mapped(header, *rows, body=15, has_site=True)
    assert first.fields["assignee"] == "alice@example.com"
    assert first.fields["storypoints"] == "5"
    assert shown(header, first) == ["Epic Link", "Status", "Sprint"]


AZURE = ["ID", "Work Item Type", "Title", "Assigned To", "State", "Tags", "Priority",
         "Original Estimate", "Parent"]  # fmt: skip
REDMINE = ["#", "Project", "Tracker", "Status", "Priority", "Subject", "Category",
           "Target version", "Due date", "Estimated time", "Parent task"]  # fmt: skip
LINEAR = ["ID", "Team", "Title", "Status", "Estimate", "Priority", "Labels", "Due Date",
          "Parent issue", "Cycle Name"]  # fmt: skip
TRELLO = ["Card ID", "Card Name", "Card Description", "Labels", "Members", "Due Date", "List Name"]
ASANA = ["Task ID", "Name", "Section/Column", "Assignee", "Due Date", "Tags", "Notes",
         "Parent task"]  # fmt: skip
GITHUB = ["number", "title", "body", "state", "labels", "assignees", "milestone"]
GITHUB_PROJECT = ["Title", "URL", "Repository", "Assignees", "Status", "Labels", "Milestone",
                  "Estimate", "Parent issue"]  # fmt: skip
GITLAB = ["Title", "Issue ID", "Author", "Author Username", "Milestone", "Weight", "Labels",
          "Time Estimate"]  # fmt: skip
AZURE_IN_GERMAN = ["ID", "Arbeitselementtyp", "Titel", "Zugewiesen an", "Zustand"]
REDMINE_IN_GERMAN = ["#", "Tracker", "Thema", "Priorität", "Kategorie", "Zielversion",
                     "Abgabedatum", "Geschätzter Aufwand"]  # fmt: skip
JIRA_IN_GERMAN = ["Zusammenfassung", "Vorgangsschlüssel", "Vorgangstyp", "Komponente(n)",
                  "Komponente(n)", "Lösungsversion(en)", "Betroffene Version(en)", "Stichwörter",
                  "Ursprüngliche Schätzung", "Benutzerdefiniertes Feld (Epos-Verknüpfung)",
                  "Fälligkeitsdatum"]  # fmt: skip


@pytest.mark.parametrize(
    ("origin", "header", "title", "cells", "expected"),
    [
        (Origin.AZURE_DEVOPS, AZURE, 2,
         ["7", "User Story", "T", "Ann <ann@e.org>", "New", "a; b c", "1", "4", ""],
         {"issuetype": "User Story", "labels": ["a", "b-c"], "priority": "1",
          "originalEstimate": "4h"}),
        (Origin.REDMINE, REDMINE, 5,
         ["7", "p", "Bug", "New", "Urgent", "T", "Auth", "1.2", "12/24/2026", "1.50", ""],
         {"issuetype": "Bug", "priority": "Urgent", "components": ["Auth"],
          "fixVersions": ["1.2"], "duedate": "2026-12-24", "originalEstimate": "1h 30m"}),
        (Origin.LINEAR, LINEAR, 2,
         ["A-7", "T", "T", "Todo", "3", "No priority", "Bug, UI", "2026-12-24", "", ""],
         {"labels": ["Bug", "UI"], "duedate": "2026-12-24"}),
        (Origin.TRELLO, TRELLO, 1, ["5f", "T", "D", "Bug (red), UI (sky_dark)", "ann", "", "Doing"],
         {"labels": ["Bug", "UI"]}),
        (Origin.ASANA, ASANA, 1, ["12", "T", "To do", "Ann", "2026-12-24", "a,b", "N", ""],
         {"duedate": "2026-12-24", "labels": ["a", "b"]}),
        (Origin.GITHUB, GITHUB, 1, ["3", "T", "B", "OPEN", "good first issue,bug", "ann", "v2"],
         {"labels": ["good-first-issue", "bug"], "fixVersions": ["v2"]}),
        (Origin.GITHUB, GITHUB, 1,
         ["3", "T", "B", "OPEN", '[{"id":"x","name":"bug"},{"name":"ui"}]', "[]",
          '{"title":"v2"}'],
         {"labels": ["bug", "ui"], "fixVersions": ["v2"]}),
        (Origin.GITHUB, GITHUB_PROJECT, 0,
         ["T", "https://g/1", "x/y", "ann, bob", "Todo", "bug, ui", "v2", "3", ""],
         {"labels": ["bug", "ui"], "fixVersions": ["v2"]}),
        (Origin.GITLAB, GITLAB, 0, ["T", "7", "Ann", "ann", "v2", "3", "bug,ui thing", "28800"],
         {"fixVersions": ["v2"], "labels": ["bug", "ui-thing"], "originalEstimate": "8h"}),
        (Origin.AZURE_DEVOPS, AZURE_IN_GERMAN, 2, ["7", "Bug", "T", "Ann", "Aktiv"],
         {"issuetype": "Bug"}),
        (Origin.REDMINE, REDMINE_IN_GERMAN, 2,
         ["7", "Fehler", "T", "Hoch", "Korb", "1.2", "24.12.2026", "1,50"],
         {"issuetype": "Fehler", "priority": "Hoch", "components": ["Korb"],
          "fixVersions": ["1.2"], "duedate": "2026-12-24", "originalEstimate": "1h 30m"}),
        (Origin.JIRA, JIRA_IN_GERMAN, 0,
         ["T", "A-2", "Story", "Korb", "Suche", "1.0", "0.9", "eins", "28800", "BB-9",
          "24/Dez/26 12:00 AM"],
         {"issuetype": "Story", "components": ["Korb", "Suche"], "fixVersions": ["1.0"],
          "versions": ["0.9"], "labels": ["eins"], "originalEstimate": "8h",
          "duedate": "2026-12-24"}),
    ],
    ids=lambda value: value.value if isinstance(value, Origin) else "",
)  # fmt: skip
def test_other_programs_exports_are_read_by_their_names(
    origin: Origin, header: list[str], title: int, cells: list[str], expected: dict[str, Any]
) -> None:
    assert origin_of(header) is origin
    _mapping, (row,) = mapped(header, cells, title=title)
    assert row.fields == expected


@pytest.mark.parametrize(
    ("cells", "name"),
    [
        (["Vorgangstyp", "Story"], "issuetype"), (["Priorité", "High"], "priority"),
        (["Etiquetas", "a"], "labels"), (["Componentes", "a"], "components"),
        (["修正バージョン", "1"], "fixVersions"), (["Fälligkeitsdatum", "24.12.2026"], "duedate"),
        (["ISSUE  TYPE", "Bug"], "issuetype"), (["Custom field (Due Date)", "24.12.26"], "duedate"),
    ],
)  # fmt: skip
def test_jiras_own_export_is_read_in_other_languages(cells: list[str], name: str) -> None:
    assert name in fields([cells[0]], cells[1])


def test_columns_of_other_tables_are_not_taken_for_fields() -> None:
    """`type` and `category` mean something else in a table of public art."""
    header = ["title", "type", "category", "author", "state", "estimate", "creator"]
    mapping, (row,) = mapped(header, ["Dock", "Mural", "A", "B", "C", "D", "E"])
    assert row.fields == {}
    assert shown(header, row) == header[1:]
    assert said(mapping.notes()) == []


def test_rules_win_over_names_and_can_leave_out() -> None:
    header = ["Title", "Prio", "Priority", "Secret", "Points"]
    mapping, (row,) = mapped(
        header,
        ["T", "P1", "Low", "x", "8"],
        rules=["Prio=Priority", "issues.csv:Secret=", "other.csv:Points=labels",
               "Points=customfield_10016"],
    )  # fmt: skip
    assert row.fields == {"priority": "P1", "customfield_10016": "8"}
    assert shown(header, row) == ["Priority"]
    assert {use.column: (use.field, use.is_left_out) for use in mapping.uses} == {
        "Title": ("summary", False),
        "Prio": ("priority", False),
        "Priority": ("", False),
        "Secret": ("", True),
        "Points": ("customfield_10016", False),
    }


def test_rules_choose_title_and_body_of_one_file() -> None:
    rules = read_rules(["a.csv:Betreff=summary", "Text=Description"], ["a.csv", "b.csv"])
    options = MappingOptions(rules=rules)
    assert options.column_for("a.csv", "summary") == "Betreff"
    assert options.column_for("b.csv", "summary") is None
    assert options.columns_like("summary") == ()
    assert options.columns_like("description") == ("Text",)


def test_columns_and_files_may_hold_colons_and_equals_signs() -> None:
    (rule, other) = read_rules(["a:b.csv:x=y: z=labels", "c: d=priority"], ["a:b.csv"])
    assert (rule.file, rule.column, rule.field) == ("a:b.csv", "x=y: z", "labels")
    assert (other.file, other.column, other.field) == ("", "c: d", "priority")


@pytest.mark.parametrize("general_first", [True, False])
def test_a_rule_for_one_file_goes_before_one_for_all(general_first: bool) -> None:
    rules = sorted(["Severity=priority", "issues.csv:severity=labels"], reverse=not general_first)
    assert mapped(["Title", "Severity"], ["T", "High"], rules=rules)[1][0].fields == {
        "labels": ["High"]
    }


def test_rules_that_contradict_each_other_are_refused() -> None:
    assert len(read_rules(["Severity=priority", "Severity=Priority"], [])) == 1
    with pytest.raises(ConfigurationError, match="Two rules say what “severity” becomes"):
        read_rules(["Severity=priority", "severity="], [])


@pytest.mark.parametrize("text", ["Points", "=priority", "Points=Wish", "Points=customfield_x"])
def test_rules_that_cannot_be_used_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read_rules([text], [])
    assert refused.value.category is ErrorCategory.USER_FIXABLE
    assert refused.value.next_step


def test_ambiguous_dates_stay_until_somebody_decides() -> None:
    mapping, (row,) = mapped(["Title", "Due"], ["T", "03/04/2026"])
    assert (row.fields, row.shown) == ({}, {1})
    assert "--day-first" in said(mapping.notes())[0]
    assert "03/04/2026" in said(mapping.notes())[0]
    assert fields(["Due"], "03/04/2026", day_first=True) == {"duedate": "2026-04-03"}
    assert fields(["Due"], "03/04/2026", day_first=False) == {"duedate": "2026-03-04"}


def test_numbers_in_a_column_of_dates_are_excel_s_and_a_note_says_what_they_became() -> None:
    mapping, (row,) = mapped(["Title", "Due", "Size"], ["T", "46380", "46380"])
    assert (row.fields, row.shown) == ({"duedate": "2026-12-24"}, {2})
    (note,) = said(mapping.notes())
    assert "46380 is 2026-12-24" in note
    assert "1904" in note


def test_a_date_that_leaves_no_choice_decides_for_its_column() -> None:
    _mapping, rows = mapped(["Title", "Due"], ["T", "03/04/2026"], ["T", "24/12/2026"])
    assert [row.fields["duedate"] for row in rows] == ["2026-04-03", "2026-12-24"]
    _mapping, rows = mapped(
        ["Title", "Due"], ["T", "03/04/2026"], ["T", "24/12/2026"], ["T", "12/24/2026"]
    )
    assert [row.fields.get("duedate") for row in rows] == [None, "2026-12-24", "2026-12-24"]


def test_what_cannot_be_read_stays_in_the_table_and_is_counted() -> None:
    mapping, rows = mapped(
        ["Title", "Due", "Original estimate"],
        ["T", "next week", "a while"],
        ["T", "soon", "8"],
        ["T", "2026-12-24", "3d"],
    )
    assert [row.fields for row in rows] == [
        {}, {}, {"duedate": "2026-12-24", "originalEstimate": "3d"},
    ]  # fmt: skip
    assert [row.shown for row in rows] == [{1, 2}, {1, 2}, set()]
    assert all("2 rows, the first is row 1" in note for note in said(mapping.notes()))


def test_unknown_priorities_are_fields_only_where_jira_or_a_person_says_so() -> None:
    assert fields(["Priority"], "Whenever") == {}
    assert fields(["Priority"], "Whenever", rules=["Priority=priority"]) == {"priority": "Whenever"}
    assert fields(["Priority", "Issue key"], "Whenever", "A-1") == {"priority": "Whenever"}
    assert fields(["Priority"], "Whenever", has_site=True) == {"priority": "Whenever"}


def test_rows_that_name_each_other_keep_their_family() -> None:
    header = ["Summary", "Issue key", "Issue id", "Parent", "Parent id"]
    rows = (
        ["Child", "A-2", "10002", "", "10001"],
        ["Parent", "A-1", "10001", "", ""],
        ["By key", "A-3", "10003", "A-1", "10001"],
        ["Elsewhere", "A-4", "10004", "BB-9", ""],
        ["Nowhere", "A-5", "10005", "the old one", ""],
        ["Itself", "A-6", "10006", "A-6", ""],
    )
    for has_site in (True, False):
        mapping, found = mapped(header, *rows, has_site=has_site)
        assert [row.parent_row for row in found] == [2, None, 2, None, None, None]
        assert [row.parent_key for row in found] == ["", "", "", "BB-9", "", ""]
        shown = [sorted(row.shown & {3, 4}) for row in found]
        assert shown == [[3], [3, 4], [], [4], [3, 4], [3, 4]]
        assert any("row 5: “the old one”" in note for note in said(mapping.notes()))
        assert any("row 6: “A-6”" in note for note in said(mapping.notes()))


def test_parents_that_lead_back_stay_in_the_table_and_are_told() -> None:
    header = ["Summary", "ID", "Parent"]
    rows = (["A", "1", "2"], ["B", "2", "3"], ["C", "3", "2"], ["D", "4", "1"], ["E", "5", "5"])
    mapping, found = mapped(header, *rows)
    assert [row.parent_row for row in found] == [2, None, None, 1, None]
    assert [2 in row.shown for row in found] == [False, True, True, False, True]
    (note,) = said(mapping.notes())
    assert "parents that lead back to the row stay in the table (3 rows" in note
    assert "the first is row 2: “3”" in note


@pytest.mark.parametrize(
    ("header", "child", "parent"),
    [
        ("Summary,Issue key,Issue id,Parent,Parent summary", "C,S-2,2,1,P", "P,S-1,1,,"),
        ("Summary,Issue key,Issue id,Parent key", "C,S-2,2,S-1", "P,S-1,1,"),
        ("Summary,Issue key,Issue id,Custom field (Epic Link)", "C,S-2,2,S-1", "P,S-1,1,"),
        ("ID,Work Item Type,Title,Parent", "12,Task,C,11", "11,Epic,P,"),
        ("ID,Team,Title,Parent issue", "ENG-2,Eng,C,ENG-1", "ENG-1,Eng,P,"),
        ("#,Tracker,Subject,Parent task", "12,Bug,C,11", "11,Bug,P,"),
        ("#,Tracker,Thema,Übergeordnetes Ticket", "12,Bug,C,11", "11,Bug,P,"),
        ("Summary,Vorgangsschlüssel,Vorgangs-ID,Übergeordnete ID", "C,S-2,2,1", "P,S-1,1,"),
        ("Title,URL,Repository,Parent issue", "C,https://g/2,x,https://g/1", "P,https://g/1,x,"),
    ],
)
def test_exports_of_other_programs_keep_their_families(
    header: str, child: str, parent: str
) -> None:
    columns = header.split(",")
    title = next(
        at for at, name in enumerate(columns) if name in {"Summary", "Title", "Subject", "Thema"}
    )
    _mapping, found = mapped(columns, child.split(","), parent.split(","), title=title)
    assert [row.parent_row for row in found] == [2, None]


def test_parents_are_named_by_title_in_asana() -> None:
    rows = (["1", "Part", "", "", "", "", "", "Whole"], ["2", "Whole", "", "", "", "", "", ""])
    _mapping, found = mapped(ASANA, *rows, title=1)
    assert found[0].parent_row == 2


def test_the_surest_name_of_a_person_is_taken() -> None:
    header = ["Assignee", "Assignee Id"]
    assert fields(header, "Ann Other", "5b10a2844c20165700ede21a", has_site=True) == {
        "assignee": "5b10a2844c20165700ede21a"
    }
    mapping, (row,) = mapped(["Title", "Assignees"], ["T", "ann, bob"], has_site=True)
    assert row.fields == {"assignee": "ann"}
    assert "ann, bob" in said(mapping.notes())[0]


def test_ragged_rows_are_read_as_far_as_they_go() -> None:
    header = ["Title", "Labels", "Priority"]
    _mapping, rows = mapped(header, ["T"], ["T", "a", "High", "beyond"])
    assert [row.fields for row in rows] == [{}, {"labels": ["a"], "priority": "High"}]
    assert [row.shown for row in rows] == [set(), {3}]


def test_front_matter_becomes_fields() -> None:
    found, mapping = fields_of_front_matter(
        "ops.md",
        {"title": "Rotate the keys", "tags": ["ops", "two words"], "due": "2026-12-24",
         "priority": "high", "assignee": "ann", "draft": True, "epic": "SHOP-1",
         "versions": 0.9},
        MappingOptions(),
    )  # fmt: skip
    assert named_fields(found) == {
        "labels": ["ops", "two-words"],
        "duedate": "2026-12-24",
        "priority": {"name": "High"},
        "parent": {"key": "SHOP-1"},
        "versions": [{"name": "0.9"}],
    }
    left_out = [use.column for use in mapping.uses if use.is_left_out]
    assert left_out == ["title", "assignee", "draft"]
    (note, *_) = [note for note in said(mapping.notes()) if "two words" in note]
    assert note == "ops.md: blanks in labels became “-”, as Jira takes none (“two words”)"


def spelling_table() -> str:
    lines = ["| field | columns, in any case | and in exports of |", "|---|---|---|"]
    for each in FIELDS:
        names = ", ".join(f"`{name}`" for name in each.names)
        programs = "; ".join(
            f"{origin.value}: {', '.join(f'`{name}`' for name in names)}"
            for origin, names in each.exports
        )
        mark = " ¹" if each.needs_site else ""
        lines.append(f"| {each.label}{mark} | {names} | {programs} |")
    return "\n".join(lines)


def test_the_documentation_lists_every_spelling() -> None:
    assert spelling_table() in DOCUMENTATION.read_text(encoding="utf-8"), (
        "Run .venv/bin/python backend/tests/jira/test_columns.py"
    )


def test_each_field_is_found_by_id_label_and_columns() -> None:
    for field in FIELDS:
        assert field_named(field.id) == field
        assert field_named(field.label.upper()) == field
    assert field_named("customfield_10016") is not None
    assert field_named("no such field") is None


def test_payloads_are_by_names_and_types() -> None:
    assert named_fields(
        {"originalEstimate": "3d 4h", "environment": ["Linux", "\nFirefox"], "assignee": "ann",
         "customfield_1": "5", "customfield_2": "five", "issuetype": "Bug", "priority": "urgent"}
    ) == {
        "timetracking": {"originalEstimate": "3d 4h"},
        "environment": {
            "type": "doc",
            "version": 1,
            "content": [
                {"type": "paragraph", "content": [{"type": "text", "text": text}]}
                for text in ("Linux", "Firefox")
            ],
        },
        "customfield_1": 5,
        "customfield_2": "five",
        "priority": {"name": "Highest"},
    }  # fmt: skip


def test_a_rule_frees_the_column_of_the_descriptions_and_the_titles_keep_theirs() -> None:
    rules = read_rules(["Description=", "Summary=labels"], ["a.csv"])
    options = TicketOptions(
        max_rows=9, max_columns=9, max_nesting=9, mapping=MappingOptions(rules=rules)
    )
    made = tickets_from("a.csv", b"Summary,Description\nA,gone\n", options)
    (ticket,) = made
    assert (ticket.title, "gone" in ticket.description) == ("A", False)
    assert said(made.notes) == [
        "a.csv: “Summary” stays the title; --title-column NAME changes that"
    ]


def test_youtrack_and_monday_are_read_as_what_they_are() -> None:
    header = [
        "Issue Id",
        "Project",
        "Tags",
        "Summary",
        "Priority",
        "Type",
        "State",
        "Subsystem",
        "Estimation",
    ]
    row = ["A-1", "A", "one two", "T", "Show-stopper", "Bug", "Open", "UI", "1w 2d"]
    mapping, (made,) = mapped(header, row, title=3)
    assert mapping.origin is Origin.YOUTRACK
    assert made.fields == {
        "labels": ["one-two"], "priority": "Show-stopper", "issuetype": "Bug",
        "components": ["UI"], "originalEstimate": "1w 2d",
    }  # fmt: skip
    assert named_fields(made.fields)["priority"] == {"name": "Highest"}
    assert fields(["Priority"], "Critical \u26a0\ufe0f") == {"priority": "Critical"}


if __name__ == "__main__":
    text = DOCUMENTATION.read_text(encoding="utf-8")
    before, _, rest = text.partition("| field | columns, in any case |")
    lines = rest.splitlines(keepends=True)
    kept = next(at for at, line in enumerate(lines) if at and not line.startswith("|"))
    DOCUMENTATION.write_text(before + spelling_table() + "\n" + "".join(lines[kept:]), "utf-8")


def test_notes_on_front_matter_speak_of_no_table() -> None:
    values = {"status": "done", "due": "2026-02-30", "parent": "none such"}
    _, mapping = fields_of_front_matter("a.md", values, MappingOptions())
    notes = " ".join(said(mapping.notes()))
    assert "“status” is left out" in notes
    assert "dates that cannot be read are left out" in notes
    assert "table" not in notes


@pytest.mark.parametrize(
    ("column", "cell", "expected"),
    [
        ("due_date", "2026-12-24", {"duedate": "2026-12-24"}),
        ("Deadline", "Dec 20, 2026 → Dec 24, 2026", {"duedate": "2026-12-24"}),
        ("customfield_10016", "5", {}),
        ("Priority", "2 - High", {"priority": "High"}),
        ("Priority", "p0 - Critical", {"priority": "Critical"}),
        ("Priority", "3 - Moderate", {"priority": "Moderate"}),
        ("Priority", "3 - Someday", {}),
        ("Priority", "#N/A", {}),
    ],
)
def test_what_other_programs_write(column: str, cell: str, expected: dict[str, Any]) -> None:
    assert fields([column], cell) == expected


def test_an_estimate_of_clickup_is_in_milliseconds() -> None:
    cells = ("A", "x", "28800000")
    mapping, (row,) = mapped(["Task Name", "Task ID", "Time Estimated"], cells)
    assert mapping.origin is Origin.CLICKUP
    assert row.fields == {"originalEstimate": "8h"}


def test_a_priority_that_jira_exported_keeps_its_number() -> None:
    assert fields(["Issue key", "Priority"], "A-1", "2 - High") == {"priority": "2 - High"}


def test_a_second_column_of_a_field_that_takes_one_value_stays_in_the_table() -> None:
    header = ["Title", "Due date", "End date"]
    _mapping, (row,) = mapped(header, ["A", "2026-12-24", "2026-12-31"])
    assert row.fields == {"duedate": "2026-12-24"}
    assert shown(header, row) == ["End date"]
