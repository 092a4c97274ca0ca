"""Links in the cells of workbooks: each column that has some gets a column of addresses."""

from __future__ import annotations

import json
from typing import Any

from app.tasks.adf.validation import find_violations
from app.tasks.documents.sheet_links import MOST_LINKS, SheetLinks
from app.tasks.documents.tickets import TicketOptions, tickets_from
from tests.notes import said
from tests.unit.test_documents_kinds import OOXML, open_document, rows, workbook

OPTIONS = TicketOptions(max_rows=100, max_columns=100, max_nesting=100)
RELATIONS = f"{OOXML}/officeDocument/2006/relationships"
LINK = "xmlns:xlink='http://www.w3.org/1999/xlink' xlink:href"


def read(name: str, content: bytes) -> tuple[dict[str, str], list[str], str]:
    """Return the only ticket's fields by name, the addresses that it links to, and the notes."""
    tickets = tickets_from(name, content, OPTIONS)
    (draft,) = tickets
    document = json.loads(draft.description)
    assert find_violations(document) == []
    links: list[str] = []

    def text(node: dict[str, Any]) -> str:
        links.extend(m["attrs"]["href"] for m in node.get("marks", ()) if m["type"] == "link")
        return node.get("text", "\n" * (node["type"] == "hardBreak")) + "".join(
            text(child) for child in node.get("content", ())
        )

    table = document["content"][-1]["content"][1:] if document["content"] else []
    return (
        {text(label): text(value) for label, value in (row["content"] for row in table)},
        links,
        " ".join(said(tickets.notes)),
    )


def sheet(cells: str, after: str = "") -> str:
    """A sheet that begins at B2: three titles, and a row of such cells."""
    head = rows(("", "Summary", "Spec", "Id")).replace('1"', '2"').removesuffix("</sheetData>")
    return f"{head}<row r='3'>{cells}</row></sheetData>{after}"


def cell(place: str, text: str, formula: str = "") -> str:
    made = f"<f>{formula}</f>" if formula else ""
    return f'<c r="{place}" t="str">{made}<v>{text}</v></c>'


def test_hyperlinks_of_cells_are_links_in_the_ticket() -> None:
    links = (
        f'<hyperlinks xmlns:r="{RELATIONS}"><hyperlink ref="B3" r:id="r1"/>'
        '<hyperlink ref="C3:D3" r:id="r2"/><hyperlink ref="D3" location="S!A1"/></hyperlinks>'
    )
    relations = (
        "<Relationships xmlns='http://schemas.openxmlformats.org/package/2006/relationships'>"
        "<Relationship Id='r1' Target='https://a.example/?b=1&amp;c' TargetMode='External'/>"
        "<Relationship Id='r2' Target='https://d.example/' TargetMode='External'/></Relationships>"
    )
    made = sheet(cell("B3", "Fix") + cell("C3", "spec") + cell("D3", "https://d.example"), links)
    content = workbook(
        {"Empty": "<sheetData/>", "A &amp; B": made},
        **{"xl/worksheets/_rels/sheet2.xml.rels": relations},
    )
    fields, shown, notes = read("a.xlsx", content)
    assert fields["Summary (link)"] == "https://a.example/?b=1&c"
    assert fields["Spec (link)"] == "https://d.example/"
    assert "Id (link)" not in fields
    assert shown == ["https://d.example", "https://a.example/?b=1&c", "https://d.example/"]
    assert notes == ""


def test_formulas_that_link_are_read_where_they_join_texts_and_cells() -> None:
    made = sheet(
        cell("B3", "Fix")
        + cell("C3", "spec", "HYPERLINK(&quot;https://a.example/&quot;&amp;B3, &quot;spec&quot;)")
        + cell("D3", "1", "_xlfn.HYPERLINK(VLOOKUP(1,2),1)")
        + cell("E3", "2", "HYPERLINK(VLOOKUP(1,2),1)")
    )
    fields, _, notes = read("a.xlsx", workbook({"S": made}))
    assert fields["Spec (link)"] == "https://a.example/Fix"
    assert notes == "a.xlsx: links that are left out, as formulas compute them: 1"


def test_a_formula_that_cells_share_moves_with_them() -> None:
    links = SheetLinks()
    links.add_formula((2, 4), 'HYPERLINK("x"&B2&$C$2)', "0")
    links.add_formula((4, 5), "", "0")
    assert links.addresses == {(2, 4): ("x", (2, 2), (2, 3)), (4, 5): ("x", (4, 3), (2, 3))}


def test_links_of_an_open_document_are_links_in_the_ticket() -> None:
    href = "<table:table-cell office:value-type='string'><text:p>Fix it</text:p>"
    linked = (
        "<table:table-cell office:value-type='string'><office:annotation><text:p>why</text:p>"
        f"</office:annotation><text:p>see <text:a {LINK}='https://a.example'>one</text:a> or"
        f" <text:a {LINK}='https://b.example'>two</text:a></text:p>"
    )
    content = open_document(f"<table:table-row>{href}</table:table-cell>{linked}</table:table-cell>"
                            "</table:table-row>")  # fmt: skip
    tickets = tickets_from("a.ods", content, OPTIONS)
    description = [draft.description for draft in tickets][-1]
    assert "https://a.example" in description
    assert "https://b.example" in description
    assert "why" not in description
    assert said(tickets.notes)[-1] == "a.ods: comments on cells, which are left out: 1"


def test_line_ends_and_tabs_of_an_open_document_stay() -> None:
    # The library leaves them out.
    cells = "".join(
        f"<table:table-cell office:value-type='string'><text:p>{text}</text:p></table:table-cell>"
        for text in ("A", "x<text:line-break/>y<text:tab/>z<text:s text:c='2'/>w")
    )
    tickets = tickets_from(
        "a.ods", open_document(f"<table:table-row>{cells}</table:table-row>"), OPTIONS
    )
    document = json.loads([draft.description for draft in tickets][-1])
    value = document["content"][-1]["content"][1]["content"][1]["content"][0]["content"]
    assert [node.get("text", "br") for node in value] == ["x", "br", "y\tz  w"]


def test_links_beyond_the_most_are_counted() -> None:
    links = SheetLinks()
    for row in range(MOST_LINKS + 2):
        links.add((row, 1), ("x",))
    links.add_range("A1:XFD1048576", "y")
    assert (len(links.addresses), links.unread) == (MOST_LINKS, 3)
