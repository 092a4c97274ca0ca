# ruff: noqa: E501 - files of other programs, as they write them
"""Every kind of document: its tickets, and the documents that are refused.

One file of more than 450 lines: examples of files as other programs write them.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest

from app.core.errors import ConfigurationError, DocumentError
from app.tasks.adf.jira_markup import jira_markup_to_adf
from app.tasks.adf.validation import find_violations
from app.tasks.documents import office
from app.tasks.documents.column_names import BODY_COLUMNS_BY_TOOL, TITLE_COLUMNS_BY_TOOL
from app.tasks.documents.length import length_of
from app.tasks.documents.tickets import TicketOptions, tickets_from
from app.values.options import BodyFormat, SessionOptions, TooLong
from tests.notes import said

Node = dict[str, Any]
OPTIONS: dict[str, Any] = {"max_rows": 1000, "max_columns": 100, "max_nesting": 100}
DOCS = Path(__file__).parents[3] / "docs"


def read(name: str, content: str | bytes, **options: Any) -> tuple[list[tuple[str, Node]], str]:
    """Titles and descriptions, and the notes as one text."""
    content = content.encode() if isinstance(content, str) else content
    made = tickets_from(name, content, TicketOptions(**(OPTIONS | options)))
    drafts = [(draft.title, json.loads(draft.description)) for draft in made]
    for _, document in drafts:
        assert find_violations(document, max_characters=10**9) == []
    return drafts, "\n".join(said(made.notes))


def texts(node: Node) -> str:
    if node["type"] == "hardBreak":
        return "\n"
    return str(node.get("text", "")) + "".join(map(texts, node.get("content", [])))


def types(node: Node) -> list[str]:
    return [node["type"], *(kind for child in node.get("content", []) for kind in types(child))]


def described(body: str, **options: Any) -> tuple[Node, str]:
    """The description of a row with this body, and the notes."""
    quoted = body.replace('"', '""')
    ((_, document),), notes = read("a.csv", f'Summary,Description\nA,"{quoted}"\n', **options)
    return document, notes


# Bodies of tables


def test_plain_text_keeps_lines_and_signs() -> None:
    body = "Files on \\\\nas01\\team\\_new and C:\\$x\n  two * three # four\nsee https://e.org/a_b."
    document, notes = described(body)
    (block,) = document["content"]
    assert texts(block) == body
    assert [node["type"] for node in block["content"]].count("hardBreak") == 2
    assert block["content"][-2]["marks"] == [
        {"type": "link", "attrs": {"href": "https://e.org/a_b"}}
    ]
    assert "“Description” is read as plain text" in notes


def test_markdown_in_a_cell_keeps_its_line_ends() -> None:
    document, notes = described("Steps:\n\n1. Open **login**\n2. See\n\none\ntwo")
    assert types(document).count("listItem") == 2
    assert texts(document["content"][-1]) == "one\ntwo"
    assert "read as Markdown (**…**, 1. …)" in notes


def test_html_of_an_export_is_read_as_such() -> None:
    document, notes = described(
        "<div>Steps:<br></div><ol><li>Open</li><li><b>Click</b> "
        '<a href="https://e.org">here</a></li></ol>'
    )
    assert [block["type"] for block in document["content"]] == ["paragraph", "orderedList"]
    assert "read as HTML" in notes


WIKI = """h2. Steps

# open the cart
# press *Pay*
## twice

{code:java}
int x = 1;
{code}

See [the log|https://e.org/log] and {{config.yml}}. !screen.png|thumbnail!

||A||B||
|1|[2|https://e.org/2]|

bq. a quote

-gone- +under+ {color:red}red{color} H{~}2{~}O x^2^ un-der-line C:\\\\x
@[~accountid:5b10] please

{panel:title=My panel}
inside
{panel}
"""


def test_jira_markup_is_read_as_such() -> None:
    document, notes = described(WIKI)
    assert "read as Jira markup" in notes
    assert "h2." in notes
    kinds = types(document)
    for kind in (
        "heading",
        "orderedList",
        "codeBlock",
        "table",
        "tableHeader",
        "blockquote",
        "panel",
    ):
        assert kind in kinds
    written = json.dumps(document)
    for mark in ("strong", "strike", "underline", "textColor", "subsup", "code"):
        assert f'"{mark}"' in written
    everything = texts(document)
    for word in (
        "screen.png",
        "@5b10 please",
        "int x = 1;",
        "config.yml",
        "un-der-line",
        "My panel",
    ):
        assert word in everything
    assert '"java"' in written
    assert "https://e.org/log" in written
    assert "https://e.org/2" in written


@pytest.mark.parametrize(
    "source",
    ["*a *" * 20_000, "[a|" * 20_000, "{{" * 20_000, "||" * 20_000, "{quote}" * 99, "# a\n" * 99],
)
def test_hostile_jira_markup_ends(source: str) -> None:
    assert find_violations(jira_markup_to_adf(source), max_characters=10**9) == []


def test_a_format_that_is_given_is_not_detected() -> None:
    document, notes = described("h2. x", body_format=BodyFormat.TEXT)
    assert texts(document) == "h2. x"
    assert notes == ""
    document, _ = described("*x*", body_format=BodyFormat.JIRA)
    assert document["content"][0]["content"][0]["marks"] == [{"type": "strong"}]
    document, _ = described("a &amp; b", body_format=BodyFormat.HTML)
    assert texts(document) == "a & b"


# Dialects


def test_lines_above_the_header_are_named() -> None:
    with pytest.raises(DocumentError, match="seems to be line 3") as refused:
        read(
            "a.csv", "Monthly report,,\n2026-05,,\nSummary,Description,Priority\nFix it,now,high\n"
        )
    assert refused.value.next_step == "Delete the 2 lines above it."


@pytest.mark.parametrize(
    ("content", "row"),
    [
        ('Summary,Description,Note\nLogin,"says \\"is anyone there?\\" twice",x\n', "row 1"),
        ('Summary,Description,Note\nA,b,c\nB,"y, \\"z\\", w",q\n', "row 2"),
    ],
)
def test_quotes_escaped_by_backslashes_are_refused(content: str, row: str) -> None:
    with pytest.raises(DocumentError, match=row) as refused:
        read("a.csv", content)
    assert "doubled" in refused.value.next_step


@pytest.mark.parametrize("cell", ['"C:\\dir\\"', '"a ""b\\"" c"', 'x\\"y', '"\\\\nas\\"'])
def test_backslash_that_escapes_nothing_is_kept(cell: str) -> None:
    drafts, _ = read("a.csv", f"Summary,Share,x\nA,{cell},z\n")
    assert "\\" in texts(drafts[0][1])


@pytest.mark.parametrize(
    "header",
    [
        *("Subject", "Card Name", "Task Name", "Name", "Title", "Zusammenfassung", "Résumé"),
        *("Resumen", "要約", "Resumo", "title"),
    ],
)
def test_titles_are_found_by_the_names_of_other_tools(header: str) -> None:
    drafts, _ = read("a.csv", f"Id,{header},Owner\n1,Fix it,me\n")
    assert drafts[0][0] == "Fix it"


def test_the_table_of_column_names_is_the_one_in_the_docs() -> None:
    page = (DOCS / "documents.md").read_text(encoding="utf-8")
    for tables in (TITLE_COLUMNS_BY_TOOL, BODY_COLUMNS_BY_TOOL):
        for tool, names in tables.items():
            row = f"| {tool} | {', '.join(f'`{name}`' for name in names)} |"
            assert row in page


# Documents of text


def test_plain_text_has_its_first_line_as_title() -> None:
    drafts, _ = read("notes.txt", "\n Buy a kettle \n\n  one\n* two\n")
    assert drafts[0][0] == "Buy a kettle"
    assert texts(drafts[0][1]) == "  one\n* two"


CONFLUENCE = """<!DOCTYPE html><html><head><title>Space : Rotate keys</title><style>p { }</style></head>
<body class="theme-default aui-theme-default"><div id="page"><div id="main" class="aui-page-panel">
<div id="main-header"><div id="breadcrumb-section"><ol id="breadcrumbs"><li class="first"><span>
<a href="index.html">Space</a></span></li></ol></div><h1 id="title-heading" class="pagetitle">
<span id="title-text">Space : Rotate keys</span></h1></div>
<div id="content" class="view"><div id="main-content" class="wiki-content group"><p>Do it.</p>
<div class="confluence-information-macro confluence-information-macro-note">
<div class="confluence-information-macro-body"><p>Careful</p></div></div>
<div class="code panel pdl"><div class="codeContent panelContent pdl"><pre
class="syntaxhighlighter-pre" data-syntaxhighlighter-params="brush: java; gutter: false">int x;
</pre></div></div><ul class="inline-task-list"><li class="checked">done</li><li>open</li></ul>
<p><span class="status-macro aui-lozenge aui-lozenge-success">DONE</span></p></div></div></div>
<div id="footer"><section class="footer-body"><p>Document generated by Confluence</p></section></div>
</div></body></html>"""


def test_confluence_page() -> None:
    ((title, document),), _ = read("page.html", CONFLUENCE)
    assert title == "Rotate keys"
    kinds = types(document)
    for kind in ("panel", "codeBlock", "taskList", "status"):
        assert kind in kinds
    assert "generated by" not in texts(document)
    assert "p { }" not in texts(document)
    states = [node["attrs"]["state"] for node in walk(document) if node["type"] == "taskItem"]
    assert states == ["DONE", "TODO"]


def walk(node: Node) -> list[Node]:
    return [node, *(found for child in node.get("content", []) for found in walk(child))]


NOTION = """<html><head><title>Plan</title></head><body><article class="page sans"><header>
<h1 class="page-title">Plan</h1></header><div class="page-body">
<figure class="block-color-gray_background callout"><div><span class="icon">💡</span></div>
<div>Mind this</div></figure>
<ul class="to-do-list"><li><div class="checkbox checkbox-on"></div>
<span class="to-do-children-checked">made</span></li></ul>
<ul class="toggle"><li><details open=""><summary>More</summary><p>hidden</p></details></li></ul>
<figure class="image"><a href="https://e.org/a.png"><img src="https://e.org/a.png"/></a></figure>
</div></article></body></html>"""


def test_notion_page() -> None:
    ((title, document),), _ = read("page.html", NOTION)
    assert title == "Plan"
    kinds = types(document)
    for kind in ("panel", "taskList", "expand", "mediaSingle"):
        assert kind in kinds
    assert [block["attrs"]["state"] for block in walk(document) if block["type"] == "taskItem"] == [
        "DONE"
    ]


def test_html_is_split_at_its_headings() -> None:
    drafts, _ = read("a.html", "<h1>A</h1>a<h1>B</h1>b", split_level=1)
    assert [(title, texts(document)) for title, document in drafts] == [("A", "a"), ("B", "b")]


# Office documents


def archive(files: dict[str, str | bytes]) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in files.items():
            made.writestr(name, content)
    return written.getvalue()


OOXML = "http://schemas.openxmlformats.org"
SHEET_MAIN = f"{OOXML}/spreadsheetml/2006/main"


def workbook(sheets: dict[str, str], **more: str | bytes) -> bytes:
    """A workbook of these sheets' XML rows; style 1 is a date."""
    numbers = range(1, len(sheets) + 1)
    relations = "".join(
        f'<Relationship Id="rId{n}" Type="{OOXML}/officeDocument/2006/relationships/worksheet"'
        f' Target="worksheets/sheet{n}.xml"/>'
        for n in numbers
    )
    return archive(
        {
            "[Content_Types].xml": "<Types xmlns='http://schemas.openxmlformats.org/package/2006/content-types'/>",
            "_rels/.rels": "<Relationships xmlns='http://schemas.openxmlformats.org/package/2006/"
            f"relationships'><Relationship Id='r1' Type='{OOXML}/officeDocument/2006/relationships/"
            "officeDocument' Target='xl/workbook.xml'/></Relationships>",
            "xl/workbook.xml": f'<workbook xmlns="{SHEET_MAIN}" xmlns:r="{OOXML}/officeDocument/2006/'
            'relationships"><sheets>'
            + "".join(
                f'<sheet name="{name}" sheetId="{n}" r:id="rId{n}"/>'
                for n, name in zip(numbers, sheets, strict=True)
            )
            + "</sheets></workbook>",
            "xl/_rels/workbook.xml.rels": "<Relationships xmlns='http://schemas.openxmlformats.org/"
            f"package/2006/relationships'>{relations}</Relationships>",
            "xl/styles.xml": f'<styleSheet xmlns="{SHEET_MAIN}"><cellXfs><xf numFmtId="0"/>'
            '<xf numFmtId="14"/></cellXfs></styleSheet>',
        }
        | {
            f"xl/worksheets/sheet{n}.xml": f'<worksheet xmlns="{SHEET_MAIN}">{rows}</worksheet>'
            for n, rows in zip(numbers, sheets.values(), strict=True)
        }
        | more
    )


def rows(*lines: tuple[str | float | tuple[int], ...]) -> str:
    written = []
    for number, line in enumerate(lines, start=1):
        cells = []
        for column, value in zip("ABCDE", line, strict=False):
            place = f'r="{column}{number}"'
            if isinstance(value, tuple):
                cells.append(f'<c {place} s="1"><v>{value[0]}</v></c>')
            elif isinstance(value, str):
                cells.append(f'<c {place} t="inlineStr"><is><t>{value}</t></is></c>')
            else:
                cells.append(f"<c {place}><v>{value}</v></c>")
        written.append(f'<row r="{number}">{"".join(cells)}</row>')
    return f"<sheetData>{''.join(written)}</sheetData>"


ISSUES = rows(
    ("Summary", "Seen on", "Points"), ("Fix it", (46_000,), 5.0), ("", "", ""), ("Add it", "", 2.5)
)


def test_each_sheet_of_a_workbook_is_a_table() -> None:
    content = workbook(
        {"Issues": ISSUES, "More": rows(("Title",), ("B",)), "Other": rows(("x",), ("y",))}
    )
    drafts, notes = read("a.xlsx", content)
    assert [title for title, _ in drafts] == ["Fix it", "Add it", "B"]
    assert "2025-12-09" in texts(drafts[0][1])
    assert re.search(r"Points5\b", texts(drafts[0][1]))
    assert "2.5" in texts(drafts[1][1])
    assert "Other" in notes
    drafts, _ = read("a.xlsx", content, sheet="More")
    assert [title for title, _ in drafts] == ["B"]
    with pytest.raises(DocumentError, match=r"no sheet “Nope”.*“Issues”, “More”, “Other”"):
        read("a.xlsx", content, sheet="Nope")


def test_a_cell_merged_with_those_below_says_the_same_in_their_rows() -> None:
    sheet = rows(("Team", "Summary"), ("Red", "A"), ("", "B"), ("", ""), ("", "C"), ("", "D"))
    ranges = "".join(f'<mergeCell ref="{ref}"/>' for ref in ("A2:A5", "Z1:Z9", "A100:A200"))
    drafts, _ = read("a.xlsx", workbook({"S": f"{sheet}<mergeCells>{ranges}</mergeCells>"}))
    assert [title for title, _ in drafts] == ["A", "B", "C", "D"]
    assert ["Red" in texts(document) for _, document in drafts] == [True, True, True, False]


def test_numbers_of_a_workbook_are_as_it_shows_them() -> None:
    sheet = rows(("Summary", "Sum"), ("A", 0.1 + 0.2))
    ((_, document),), _ = read("a.xlsx", workbook({"S": sheet}))
    assert texts(document).endswith("Sum0.3")


def test_errors_of_formulas_and_what_is_hidden_are_read_and_noted() -> None:
    cell = '<c r="{}" t="{}"><v>{}</v></c>'
    head, first, second = (
        "".join(cell.format(f"{column}{row}", kind, text) for column, (kind, text) in line)
        for row, line in enumerate(
            (
                zip("ABC", (("str", "Summary"), ("str", "Priority"), ("str", "Sum")), strict=True),
                zip("ABC", (("str", "A"), ("e", "#N/A"), ("e", "#DIV/0!")), strict=True),
                zip("AB", (("str", "B"), ("str", "High")), strict=True),
            ),
            start=1,
        )
    )
    sheet = (
        '<cols><col min="3" max="16384" hidden="1"/></cols><sheetData>'
        f'<row r="1">{head}</row><row r="2">{first}</row><row r="3" hidden="true">{second}</row>'
        '<row r="4" hidden="1"><c r="A4" s="1"/></row></sheetData>'
    )
    made = tickets_from("a.xlsx", workbook({"S": sheet}), TicketOptions(**OPTIONS))
    drafts = list(made)
    assert [(draft.title, draft.fields) for draft in drafts] == [
        ("A", "{}"),
        ("B", '{"priority":"High"}'),
    ]
    assert "#DIV/0!" in drafts[0].description
    assert "#N/A" in drafts[0].description
    assert list(said(made.notes)) == [
        "a.xlsx: cells that show the error of a formula: 2",
        "a.xlsx: hidden rows, which are read, too: 1",
        "a.xlsx: hidden columns, which are read, too: 1",
        "a.xlsx: errors of formulas stay in the table (row 1: “#N/A”)",
    ]


def test_errors_and_hidden_rows_of_an_open_document() -> None:
    error = (
        "<table:table-row table:visibility='collapse'>"
        "<table:table-cell office:value-type='string'><text:p>B</text:p></table:table-cell>"
        "<table:table-cell office:value-type='float' office:value='0' calcext:value-type='error'"
        " xmlns:calcext='c'><text:p>#DIV/0!</text:p></table:table-cell></table:table-row>"
    )
    drafts, notes = read("a.ods", open_document(error))
    assert texts(drafts[1][1]).endswith("Owner#DIV/0!")
    assert "error of a formula: 1" in notes
    assert "hidden rows, which are read, too: 1" in notes


def test_hidden_sheets_are_noted() -> None:
    sheets = {"S": ISSUES, "T": ISSUES}
    with zipfile.ZipFile(io.BytesIO(workbook(sheets))) as made:
        names = made.read("xl/workbook.xml").decode().replace('"T"', '"T" state="hidden"')
    drafts, notes = read("a.xlsx", workbook(sheets, **{"xl/workbook.xml": names}))
    assert len(drafts) == 2
    assert "hidden sheets are left out: “T”" in notes


def test_merged_header_is_noted() -> None:
    merged = ISSUES + '<mergeCells count="1"><mergeCell ref="A1:B1"/></mergeCells>'
    _, notes = read("a.xlsx", workbook({"Issues": merged}))
    assert "merged" in notes


def open_document(more: str = "") -> bytes:
    """An OpenDocument table of one row, and `more` XML below it."""
    office_ns = "urn:oasis:names:tc:opendocument:xmlns"
    cell = "<table:table-cell office:value-type='string'><text:p>{}</text:p></table:table-cell>"
    lines = "".join(
        f"<table:table-row>{''.join(map(cell.format, line))}</table:table-row>"
        for line in (("Summary", "Owner"), ("Fix it", "me"))
    )
    return archive({
        "mimetype": "application/vnd.oasis.opendocument.spreadsheet",
        "META-INF/manifest.xml": f"<manifest:manifest xmlns:manifest='{office_ns}:manifest:1.0'/>",
        "content.xml": f"<office:document-content xmlns:office='{office_ns}:office:1.0'"
        f" xmlns:table='{office_ns}:table:1.0' xmlns:text='{office_ns}:text:1.0'><office:body>"
        f"<office:spreadsheet><table:table table:name='S'>{lines}{more}</table:table>"
        "</office:spreadsheet></office:body></office:document-content>",
    })  # fmt: skip


def test_open_document_table() -> None:
    # As LibreOffice fills a sheet: with empty rows, and empty cells, up to its end.
    empty = (
        '<table:table-row table:number-rows-repeated="1048573">'
        '<table:table-cell table:number-columns-repeated="16384"/></table:table-row>'
    )
    drafts, _ = read("a.ods", open_document(empty))
    assert [title for title, _ in drafts] == ["Fix it"]
    assert "Ownerme" in texts(drafts[0][1])


WORD = f"{OOXML}/wordprocessingml/2006/main"


def word(body: str, **more: str | bytes) -> bytes:
    relation = f"{OOXML}/officeDocument/2006/relationships/officeDocument"
    return archive(
        {
            "[Content_Types].xml": "<Types xmlns='http://schemas.openxmlformats.org/package/2006/content-types'/>",
            "_rels/.rels": "<Relationships xmlns='http://schemas.openxmlformats.org/package/2006/"
            f"relationships'><Relationship Id='r1' Type='{relation}' Target='word/document.xml'/>"
            "</Relationships>",
            "word/document.xml": f"<w:document xmlns:w='{WORD}'><w:body>{body}</w:body></w:document>",
        }
        | more
    )


def test_word_document() -> None:
    content = word(
        "<w:p><w:pPr><w:pStyle w:val='Heading1'/></w:pPr><w:r><w:t>Plan</w:t></w:r></w:p>"
        "<w:p><w:r><w:t>a </w:t></w:r><w:r><w:rPr><w:b/></w:rPr><w:t>bold</w:t></w:r></w:p>"
        "<w:tbl><w:tr><w:tc><w:p><w:r><w:t>cell</w:t></w:r></w:p></w:tc></w:tr></w:tbl>",
        **{
            "word/styles.xml": f"<w:styles xmlns:w='{WORD}'><w:style w:type='paragraph'"
            " w:styleId='Heading1'><w:name w:val='heading 1'/></w:style></w:styles>"
        },
    )
    ((title, document),), _ = read("a.docx", content)
    assert title == "Plan"
    assert [block["type"] for block in document["content"]] == ["paragraph", "table"]
    assert document["content"][0]["content"][1]["marks"] == [{"type": "strong"}]


FAR_OUT = (
    "<sheetData><row r='1'><c r='A1'><v>1</v></c><c r='XFD1048576'><v>1</v></c></row></sheetData>"
)
REPEATED_ROW = (
    '<table:table-row table:number-rows-repeated="{}"><table:table-cell'
    ' table:number-columns-repeated="{}"><text:p>x</text:p></table:table-cell></table:table-row>'
)


def moved(content: bytes) -> bytes:
    """The workbook with its first sheet under another name, which its relations say."""
    with zipfile.ZipFile(io.BytesIO(content)) as old:
        written = {
            name: old.read(name).replace(b"worksheets/sheet1.xml", b"x/s.dat")
            for name in old.namelist()
        }
    return archive(
        {name.replace("worksheets/sheet1.xml", "x/s.dat"): text for name, text in written.items()}
    )


OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.xlsx", workbook({"S": FAR_OUT.replace("'", '"')}), "more than 1,000 rows"),
        ("a.xlsx", workbook({"S": FAR_OUT}), "more than 1,000 rows"),
        ("a.xlsx", workbook({"S": FAR_OUT.replace("c r=", "c s='>' r=")}), "more than 1,000 rows"),
        (
            "a.xlsx",
            workbook({"S": FAR_OUT.replace("<c ", "<x:c ").replace("</c", "</x:c")}),
            "more than 1,000 rows",
        ),
        ("a.xlsx", moved(workbook({"S": FAR_OUT})), "more than 1,000 rows"),
        ("a.ods", open_document(REPEATED_ROW.format(1_048_000, 1)), "more than 1,000 rows"),
        ("a.ods", open_document(REPEATED_ROW.format(1, 16_000)), "more than 100 columns"),
        ("a.xlsx", workbook({"S": ISSUES}, **{"xl/vbaProject.bin": b"x"}), "macro"),
        ("a.docx", word("", **{"word/vbaProject.bin": b"x"}), "macro"),
        ("a.xlsx", OLE + "EncryptedPackage".encode("utf-16-le"), "password"),
        ("a.docx", OLE, "old Office document"),
        ("a.xlsx", b"no archive", "no Office document"),
        ("a.xlsx", workbook({"S": ISSUES})[:-300], "no Office document"),
        ("a.docx", archive({"x": "y"}), "cannot be read"),
        ("a.docx", word("<w:p>" * 5_000 + "</w:p>" * 5_000), "cannot be read|nests"),
        ("a.xlsx", workbook({"S": ""}), "empty"),
    ],
    ids=range(16),
)
def test_office_document_that_cannot_be_used_is_refused(
    name: str, content: bytes, reason: str
) -> None:
    with pytest.raises(DocumentError, match=reason) as refused:
        read(name, content)
    assert name in refused.value.message
    assert refused.value.next_step


def test_archive_that_unpacks_to_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(office, "MOST_UNPACKED_BYTES", 1_000_000)
    with pytest.raises(DocumentError, match="unpacks to"):
        read("a.xlsx", workbook({"S": ISSUES}, **{"xl/media/x": b"\0" * 2_000_000}))


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(office, "find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match="extra “office”") as refused:
        read("a.xlsx", workbook({"S": ISSUES}))
    assert "session-tasks[office]" in refused.value.next_step


# Length


LONG = "# Long\n\nfirst\n\n" + "".join(
    f"## Part {n}\n\n{'word ' * 900}\n\n- a\n- b\n\n| h |\n|---|\n| c |\n\n" for n in range(12)
)


def test_too_long_a_description_names_its_longest_section_and_the_way_out() -> None:
    drafts, notes = read("a.md", LONG)
    assert len(drafts) == 1
    assert "a.md, line 1: “Long” has" in notes
    assert "its longest section is “Part " in notes
    assert "headings down to level 2 would fit; --split-level LEVEL changes that" in notes
    _, notes = read("a.csv", f"Summary,Description\nA,{'word ' * 9_000}\n")
    assert "a.csv, row 1: “A” has" in notes
    assert "--too-long refuse|split|cut changes that" in notes


@pytest.mark.parametrize(
    "source", [LONG, "# Long\n\n" + "word " * 20_000, "# Long\n\n```\n" + "x" * 99_000]
)
def test_too_long_a_description_is_split_into_linked_tickets(source: str) -> None:
    whole, _ = read("a.md", source)
    drafts, notes = read("a.md", source, too_long=TooLong.SPLIT)
    assert [title for title, _ in drafts] == [
        f"Long ({n}/{len(drafts)})" for n in range(1, len(drafts) + 1)
    ]
    assert len(drafts) > 1
    assert f"divided into {len(drafts)} tickets" in notes
    for title, document in drafts:
        assert length_of(document) <= 32_767
        assert find_violations(document, max_characters=32_767) == []
        assert title == drafts[-1][0] or "Continued in “Long (" in texts(document)
    kept = "".join(re.sub(r"Continued (in|from) “[^”]*”\.", "", texts(doc)) for _, doc in drafts)
    assert kept == texts(whole[0][1])


def test_too_long_a_description_is_cut_with_a_last_line_that_says_so() -> None:
    ((_, document),), notes = read("a.md", LONG, too_long=TooLong.CUT)
    assert length_of(document) <= 32_767
    assert texts(document["content"][-1]).startswith("Cut here: Jira takes 32,767")
    assert "was cut" in notes


@pytest.mark.parametrize("how", [TooLong.SPLIT, TooLong.CUT])
@pytest.mark.parametrize(
    "source",
    [
        f"<table><tr><th>a<th>b</tr><tr><td>{'word ' * 20_000}<td>small</tr></table>",
        f"<table><tr><td>{'word ' * 9_000}<td>{'text ' * 15_000}<td>small</tr></table>",
        "<table>"
        + "<tr><td rowspan=3>a<td colspan=2>b</tr><tr><td>c<td>d</tr><tr><td>e<td>f</tr>" * 2_000
        + "</table>",
    ],
    ids=["long cell", "long cells", "row spans"],
)
def test_every_part_of_a_divided_table_has_all_its_columns(source: str, how: TooLong) -> None:
    whole = texts(read("a.html", source)[0][0][1])
    drafts, _ = read("a.html", source, too_long=how)
    assert all(find_violations(document) == [] for _, document in drafts)
    if how is TooLong.SPLIT:
        for word in ("word", "text", "small", "a", "f"):
            assert sum(texts(document).count(word) for _, document in drafts) >= whole.count(word)


def test_table_that_is_divided_repeats_its_header() -> None:
    source = "| a | b |\n|---|---|\n" + "| some words | other words |\n" * 1_500
    drafts, _ = read("a.md", source, too_long=TooLong.SPLIT)
    for _, document in drafts:
        tables = [block for block in document["content"] if block["type"] == "table"]
        assert [texts(row) for row in tables[0]["content"][:1]] == ["ab"]


# Options


def test_base_is_an_absolute_address() -> None:
    assert SessionOptions.from_json({"base_url": " https://e.org/x "}).base_url == "https://e.org/x"
    for wrong in ("e.org", "ftp://e.org", "//e.org", "https://", "/docs"):
        with pytest.raises(ConfigurationError, match="base_url"):
            SessionOptions.from_json({"base_url": wrong})
    drafts, notes = read("a.md", "[a](b.md) ![c](d.png)", base_url="https://e.org/x/")
    assert "https://e.org/x/b.md" in json.dumps(drafts[0][1])
    assert notes == ""
    _, notes = read("a.md", "[a](b.md) ![c](d.png)")
    assert "became text: 2" in notes
    assert "--base-url" in notes


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.md", "a\n\n" * 1_000),
        ("a.html", "<p>a</p>" * 1_000),
        ("a.txt", "a\n" * 1_000),
        ("a.csv", 'Summary,Description\nx,"' + "a\n" * 1_000 + '"\n'),
        ("a.csv", 'Summary,Description\nx,"' + "- *a*\n" * 1_000 + '"\n'),
        ("a.csv", 'Summary,Description\nx,"' + "<p>a</p>" * 1_000 + '"\n'),
    ],
)
def test_every_reader_keeps_to_the_most_nodes(name: str, content: str) -> None:
    options = TicketOptions(max_rows=10, max_columns=10, max_nesting=10, max_nodes=1_000)
    with pytest.raises(DocumentError, match="more than 1,000 nodes"):
        list(tickets_from(name, content.encode(), options))


def test_a_sheet_of_too_many_cells_is_refused() -> None:
    far = FAR_OUT.replace("XFD1048576", "ALL90000")
    with pytest.raises(DocumentError, match=r"more than 3,000,000 cells"):
        read("a.xlsx", workbook({"S": far}), max_rows=100_000, max_columns=1_000)


@pytest.mark.parametrize(
    "sheet",
    [
        '<cols><col min="x" max="2" hidden="1"/></cols><sheetData/>',
        f'<sheetData><row r="{"9" * 5_000}"/></sheetData>',
    ],
)
def test_a_workbook_whose_numbers_are_none_is_damaged(sheet: str) -> None:
    with pytest.raises(DocumentError, match=r"b\.xlsx is damaged \(the number of a row or column"):
        tickets_from("b.xlsx", workbook({"A": sheet}), TicketOptions(**OPTIONS))
