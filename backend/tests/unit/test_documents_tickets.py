"""Every document becomes tickets that Jira's own schema accepts, with every word in them."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import app.tasks.adf
from app.core.errors import ConfigurationError, DocumentError
from app.tasks.documents import body_format
from app.tasks.documents.tickets import DocumentTickets, TicketOptions, tickets_from
from tests.notes import said

if TYPE_CHECKING:
    from app.values.results import TicketDraft

OPTIONS = TicketOptions(max_rows=1000, max_columns=100, max_nesting=100)
SCHEMA = jsonschema_rs.validator_for(
    json.loads(
        (Path(app.tasks.adf.__file__).parent / "schema" / "adf-full-57.7.22.json").read_text()
    )
)


def read(text: str | bytes, name: str = "issues.csv", **options: Any) -> list[TicketDraft]:
    limits = {"max_rows": 1000, "max_columns": 100, "max_nesting": 100}
    content = text.encode() if isinstance(text, str) else text
    document = tickets_from(name, content, TicketOptions(**(limits | options)))
    drafts = list(document)
    assert len(document) == len(drafts) > 0
    for draft in drafts:
        assert draft.source_name == name
        assert draft.title.strip()
        assert len(draft.title.splitlines()) == 1
        assert SCHEMA.is_valid(json.loads(draft.description)), draft.description
    return drafts


def content_of(draft: TicketDraft) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = json.loads(draft.description)["content"]
    return content


def text_of(node: dict[str, Any]) -> str:
    """Text with line ends where a reader sees them."""
    if node["type"] == "hardBreak":
        return "\n"
    joint = "\n" if node["type"] == "tableCell" else ""
    return str(node.get("text", "")) + joint.join(map(text_of, node.get("content", [])))


def fields_of(draft: TicketDraft) -> dict[str, str]:
    tables = [node for node in content_of(draft) if node["type"] == "table"]
    if not tables:
        return {}
    (table,) = tables
    assert table == content_of(draft)[-1]
    head, *rows = table["content"]
    assert [cell["type"] for cell in head["content"]] == ["tableHeader"] * 2
    assert [text_of(cell) for cell in head["content"]] == ["Field", "Value"]
    return {text_of(row["content"][0]): text_of(row["content"][1]) for row in rows}


def test_a_row_becomes_a_title_a_description_and_a_table_of_the_rest() -> None:
    (draft,) = read("Key,Summary,Description,Status,Owner\nA-1,Fix it,It *broke*,Open,\n")
    assert (draft.title, draft.source_row) == ("Fix it", 1)
    assert "broke" in text_of(content_of(draft)[0])
    assert fields_of(draft) == {"Key": "A-1", "Status": "Open"}


def test_the_description_is_compact_json() -> None:
    (draft,) = read("Summary,Description,Größe\nFix,Text,ä\n")
    compact = json.dumps(json.loads(draft.description), separators=(",", ":"), ensure_ascii=False)
    assert draft.description == compact


def test_the_body_is_markdown() -> None:
    (draft,) = read('name,body\nA,"# Steps\n\n- one\n- two"\n')
    assert [node["type"] for node in content_of(draft)] == ["heading", "bulletList"]


def test_comments_and_attachments_of_jira_are_readable() -> None:
    at = "02/Jan/26 3:04 PM"
    (draft,) = read(
        "Summary,Attachment,Attachment,Comment,Comment,Times\n"
        f"Fix it,{at};ann;a;b.png;https://old.example/1,{at};ann;no address,"
        f'"{at};bob;Seen\n\n- twice",{at};;javascript:alert(1),1;2;3\n'
    )
    assert fields_of(draft) == {
        "Attachment": f"a;b.png (ann, {at})\nann, {at}:\nno address",
        "Comment": f"bob, {at}:\nSeen\n\n- twice\n{at}:\njavascript:alert(1)",
        "Times": "1;2;3",
    }
    marks = re.findall(r'"marks":(\[.*?\])', draft.description)
    link = '[{"type":"link","attrs":{"href":"https://old.example/1"}}]'
    assert marks == [link, *['[{"type":"strong"}]'] * 3]


@pytest.mark.parametrize(
    ("body", "value", "types"),
    [
        ("<p>a</p>", "<ul><li>b</li></ul>", ["bulletList"]),
        ("", "<div>a <b>b</b></div>", ["paragraph"]),
        ("<p>a</p>", "a<br><b>b</b>", ["paragraph"]),
        ("<p>a</p>", "<table><tr><td>a<td>b<tr><td>c<td>d</table>", ["paragraph"] * 2),
        ("<p>a</p>", "<details>a<details>b</details></details>", ["nestedExpand"]),
        ("h2. a", "{code}\nb\n{code}\nc", ["codeBlock", "paragraph"]),
        ("", "02/Jan/26 3:04 PM;ann;*a*\n{quote}b{quote}", ["paragraph"] * 2 + ["blockquote"]),
        ("**a**", "- [ ] b", ["paragraph"]),
        ("**a**", "- [ ] b\n- [x] c", ["taskList"]),
    ],
)
def test_values_in_markup_are_shown_as_it_says(body: str, value: str, types: list[str]) -> None:
    (draft,) = read(f'Summary,Description,More\nA,"{body}","{value}"\n')
    row = content_of(draft)[-1]["content"][1]
    assert [node["type"] for node in row["content"][1]["content"]] == types


@pytest.mark.parametrize("value", ["Ann <ann@x.example>", "x < 5 & y > 3", "a_b_c *d", "C:\\a|b"])
def test_values_that_only_look_like_markup_stay_as_they_are(value: str) -> None:
    for body in ("<p>a</p>", "h2. a", "**a**"):
        (draft,) = read(f'Summary,Description,More\nA,"{body}","{value}"\n')
        assert fields_of(draft) == {"More": value}


def test_lists_in_json_are_lists_and_other_json_stays_as_it_is() -> None:
    values = ['[{"text":"a","by":"b","at":null}]', '{"Check":["a","b"]}', '{"a": 1}', "[a,b]", "[]"]
    quoted = (value.replace('"', '""') for value in values)
    (draft,) = read('Summary,A,B,C,D,E\nx,"' + '","'.join(quoted) + '"\n')
    assert fields_of(draft) == {
        "A": "text: a, by: b",
        "B": "Check: a, b",
        "C": values[2],
        "D": values[3],
        "E": values[4],
    }
    assert draft.description.count('"bulletList"') == 2


def test_the_signature_of_a_message_makes_no_heading() -> None:
    (draft,) = read('Summary,Description,x\nA,"> a\n\nThanks\n-- \nB\n\n```\n--\n```",\n')
    assert [node["type"] for node in content_of(draft)] == ["blockquote", "paragraph", "codeBlock"]
    assert text_of(content_of(draft)[1]) == "Thanks\n--\nB"
    assert text_of(content_of(draft)[2]) == "--"


def test_tasks_of_several_values_have_names_of_their_own() -> None:
    tasks = '"- [ ] b\n- [x] c"'
    (draft,) = read(f"Summary,Description,More,Less\nA,{tasks},{tasks},{tasks}\n")
    names = re.findall(r'"localId":"([^"]+)"', draft.description)
    assert len(names) == len(set(names)) == 9


def test_a_row_with_nothing_but_a_title_has_no_table() -> None:
    (draft,) = read("Summary,Status\nFix it,\n")
    assert content_of(draft) == []


def test_repeated_columns_share_a_field_and_keep_each_value() -> None:
    (draft,) = read("Summary,Colour,Colour,Colour,Colour\nFix,red,,blue,red\n")
    assert fields_of(draft) == {"Colour": "red\nblue\nred"}


def test_cells_beyond_the_header_stand_under_their_number_and_are_noted() -> None:
    document = tickets_from("a.csv", b"Summary,x\nFix,1,extra,,more\nTest\n", OPTIONS)
    first, second = document
    assert fields_of(first) == {"x": "1", "column 3": "extra", "column 5": "more"}
    assert content_of(second) == []
    (note,) = said(document.notes)
    assert "a.csv" in note
    assert "header: 1 (the first is row 1)" in note
    assert "“column 3”" in note


def test_line_ends_in_a_value_are_kept_as_breaks() -> None:
    (draft,) = read('Summary,Steps\nFix,"\n one\r\n\r\ntwo\rthree\n"\n')
    assert fields_of(draft) == {"Steps": "one\n\ntwo\nthree"}


def test_a_title_is_one_line() -> None:
    (draft,) = read('Summary,b\n"  Fix\n  the\tdoor ",1\n')
    assert draft.title == "Fix the door"


@pytest.mark.parametrize(
    ("body", "title"),
    [
        ('"\n\n## Steps to follow\nmore"', "Steps to follow"),
        ('"---\n> quoted"', "quoted"),
        ("word " * 40, ("word " * 40)[:119].rstrip() + "…"),
        ("", "Row 2 of issues.csv"),
        ("\u200b", "Row 2 of issues.csv"),
    ],
)
@pytest.mark.parametrize("empty", ["", "  ", "\u200b"])
def test_a_row_without_a_title_is_called_after_its_body_or_its_number(
    body: str, title: str, empty: str
) -> None:
    _, draft = read(f"Summary,Description,x\nA,B,C\n{empty},{body},C\n")
    assert draft.title == title


def test_a_row_too_short_for_its_title_is_kept() -> None:
    (draft,) = read("Key,Summary\nA-1\n")
    assert draft.title == "Row 1 of issues.csv"
    assert fields_of(draft) == {"Key": "A-1"}


def test_nuls_are_replaced_and_noted() -> None:
    document = tickets_from("a.csv", b"name,b\n\0A,\0\n", OPTIONS)
    (draft,) = document
    assert "\0" not in draft.title + draft.description
    assert "\\u0000" not in draft.description
    assert fields_of(draft) == {"b": "\ufffd"}
    assert document.notes == ("a.csv: control characters replaced by “\ufffd”: 2",)


def test_a_guessed_encoding_is_noted() -> None:
    document = tickets_from("a.csv", "name,x\nJosé,1\n".encode("cp1252"), OPTIONS)
    assert [draft.title for draft in document] == ["José"]
    assert "windows-1252 (a guess)" in document.notes[0]


def test_the_mapping_and_the_delimiter_can_be_given() -> None:
    (draft,) = read(
        "Id|What, exactly|Why\n1|Fix|*because*\n",
        title_column="what, exactly",
        body_column="Why",
        delimiter="pipe",
    )
    assert draft.title == "Fix"
    assert fields_of(draft) == {"Id": "1"}


def test_an_impossible_delimiter_is_the_callers_mistake() -> None:
    with pytest.raises(ConfigurationError):
        tickets_from(
            "a.csv",
            b"name\n1\n",
            TicketOptions(max_rows=1, max_columns=1, max_nesting=1, delimiter="::"),
        )


def test_a_csv_is_refused_before_its_first_ticket_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(source: str, **options: Any) -> dict[str, Any]:
        pytest.fail("converted a row of a document that cannot be used")

    monkeypatch.setattr(body_format, "text_to_adf", never)
    with pytest.raises(DocumentError):
        tickets_from("a.csv", b'name,body\nA,text\nB,"never closed\n', OPTIONS)


def test_rows_are_converted_one_by_one_as_they_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    converted = []

    def convert(source: str, **options: Any) -> dict[str, Any]:
        converted.append(source)
        return {"version": 1, "type": "doc", "content": []}

    monkeypatch.setattr(body_format, "text_to_adf", convert)
    document = tickets_from("a.csv", b"name,body\nA,one\nB,two\n", OPTIONS)
    assert isinstance(document, DocumentTickets)
    assert (len(document), converted) == (2, [])
    next(iter(document))
    assert converted == ["one"]


def test_too_deep_a_body_is_an_error_with_its_row() -> None:
    document = tickets_from(
        "a.csv", ("name,body\nA,ok\nB," + ">" * 500 + " deep\n").encode(), OPTIONS
    )
    with pytest.raises(DocumentError, match=r"a\.csv, row 2") as caught:
        list(document)
    assert (caught.value.name, caught.value.row) == ("a.csv", 2)


def test_too_deep_a_markdown_file_is_an_error_with_its_name() -> None:
    with pytest.raises(DocumentError, match=r"a\.md: ") as caught:
        read(">" * 10_000 + " deep", "a.md")
    assert caught.value.name == "a.md"


@pytest.mark.parametrize(
    ("source", "title", "line"),
    [
        ("Words first.\n\n## The *first*   `heading`\n\n# Another", "The first heading", 3),
        ("Setext\n======\n\ntext", "Setext", 1),
        ("No heading at all", "guide", 1),
        ("#\n\n## Second", "Second", 3),
    ],
)
def test_a_markdown_file_is_called_after_its_first_heading_or_its_name(
    source: str, title: str, line: int
) -> None:
    (draft,) = read(source, "docs/guide.md")
    assert (draft.title, draft.source_row) == (title, line)


def test_a_heading_that_nobody_can_see_is_no_title() -> None:
    (draft,) = read("# \u200b\n\ntext", "guide.md")
    assert draft.title == "guide"


def test_a_markdown_file_can_be_split_at_its_headings() -> None:
    drafts = read("before\n\n# One\n\n1\n\n## Sub\n\n# Two\n\n2\n", "guide.md", split_level=1)
    assert [(draft.title, draft.source_row) for draft in drafts] == [
        ("guide", 1),
        ("One", 3),
        ("Two", 9),
    ]


def test_a_markdown_file_of_nothing_visible_is_still_a_ticket() -> None:
    for split_level in (None, 1):
        (draft,) = read(
            "[only]: https://example.org 'a definition'\n", "a.md", split_level=split_level
        )
        assert draft.title == "a"


cells = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn"]), max_size=20).map(
    lambda cell: cell.replace("\r", " ")
)


@given(
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(["\n", "\r\n"]),
    st.lists(st.lists(cells, min_size=3, max_size=3), min_size=1, max_size=6),
)
def test_every_word_of_every_cell_is_in_its_ticket(
    delimiter: str, line_end: str, rows: list[list[str]]
) -> None:
    rows = [[f"Ticket {number}", *row] for number, row in enumerate(rows, start=1)]
    written = io.StringIO()
    writer = csv.writer(written, delimiter=delimiter, lineterminator=line_end)
    writer.writerows([["Summary", "Colour", "Colour", "Status"], *rows])
    content = written.getvalue().encode()
    drafts = list(tickets_from("a.csv", content, OPTIONS))
    assert [draft.title for draft in drafts] == [row[0] for row in rows]
    assert [draft.source_row for draft in drafts] == list(range(1, len(rows) + 1))
    for draft, (_, *values) in zip(drafts, rows, strict=True):
        assert SCHEMA.is_valid(json.loads(draft.description))
        kept = "\n".join(fields_of(draft).values())
        expected = "\n".join(stripped for value in values if (stripped := value.strip()))
        assert kept.split() == expected.split()


@given(
    st.sampled_from(["a.csv", "a.tsv", "a.md"]),
    st.one_of(
        st.binary(max_size=300),
        st.binary(max_size=300).map(lambda content: b"name,body\n" + content),
        st.text('name,;|\t"\r\n#>*-0\0é', max_size=200).map(str.encode),
        st.text('name,;|\t"\r\n#>*-0\0é', max_size=200).map(lambda t: f"title,body\n{t}".encode()),
    ),
)
def test_any_bytes_give_valid_tickets_or_a_clear_error(name: str, content: bytes) -> None:
    try:
        document = tickets_from(name, content, OPTIONS)
        drafts = list(document)
    except DocumentError as error:
        assert name in error.message  # noqa: PT017 - either outcome is right
        assert error.next_step  # noqa: PT017 - as above
        return
    assert len(document) == len(drafts) > 0
    for draft in drafts:
        assert draft.title.strip()
        assert len(draft.title.splitlines()) == 1
        assert "\\u0000" not in draft.description
        assert "\0" not in draft.title
        assert SCHEMA.is_valid(json.loads(draft.description))
