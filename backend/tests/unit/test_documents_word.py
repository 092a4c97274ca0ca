"""Word documents, with what people have in them: no word is lost, none is shown that is hidden."""

from __future__ import annotations

import json

import pytest

from app.core.errors import DocumentError
from app.tasks.documents import word_parts
from app.tasks.documents.tickets import TicketOptions, tickets_from
from tests.notes import said
from tests.unit.test_documents_as_people_write_them import coloured, shown
from tests.unit.test_documents_kinds import OOXML, WORD, word

OPTIONS = TicketOptions(max_rows=100, max_columns=100, max_nesting=100)
MATH = f"xmlns:m='{OOXML}/officeDocument/2006/math'"
COMPATIBLE = f"xmlns:mc='{OOXML}/markup-compatibility/2006'"
SHAPE = "xmlns:wps='http://schemas.microsoft.com/office/word/2010/wordprocessingShape'"
DRAWING = (
    f"xmlns:wp='{OOXML}/drawingml/2006/wordprocessingDrawing' xmlns:a='{OOXML}/drawingml/2006/main'"
)
BOX = "<w:txbxContent><w:p><w:r><w:t>boxed</w:t></w:r></w:p></w:txbxContent>"
DRAWN = (
    f"<w:drawing {DRAWING} {SHAPE}><wp:anchor><a:graphic><a:graphicData><wps:wsp><wps:txbx>{BOX}"
    "</wps:txbx></wps:wsp></a:graphicData></a:graphic></wp:anchor></w:drawing>"
)
VML = (
    "<w:pict xmlns:v='urn:schemas-microsoft-com:vml'><v:shape><v:textbox>"
    f"{BOX}</v:textbox></v:shape></w:pict>"
)


def run(text: str, properties: str = "") -> str:
    return f"<w:r><w:rPr>{properties}</w:rPr><w:t xml:space='preserve'>{text}</w:t></w:r>"


def paragraph(content: str, properties: str = "") -> str:
    return f"<w:p><w:pPr>{properties}</w:pPr>{content}</w:p>"


def formula(content: str) -> str:
    return paragraph(f"<m:oMathPara {MATH}><m:oMath>{content}</m:oMath></m:oMathPara>")


def letter(text: str) -> str:
    return f"<m:r><w:rPr><w:i/></w:rPr><m:t>{text}</m:t></m:r>"


def read(body: str, **more: str | bytes) -> tuple[str, str, str]:
    """Return the outline, the texts with the colours, and the notes."""
    tickets = tickets_from("a.docx", word(body, **more), OPTIONS)
    (draft,) = tickets
    document = json.loads(draft.description)
    with_colours = " ".join(map(coloured, document["content"]))
    return shown(document), with_colours, " ".join(said(tickets.notes))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (paragraph(run("a", "<w:color w:val='FF0000'/>") + run("b")), "a/textColor/#ff0000|b"),
        (paragraph(run("a", "<w:b/><w:highlight w:val='yellow'/>")),
         "a/strong/backgroundColor/#ffff00"),
        (paragraph(run("a", "<w:shd w:fill='DDEEFF'/><w:color w:val='auto'/>")),
         "a/backgroundColor/#ddeeff"),
        (paragraph(run("a", "<w:vanish/>") + run("b", "<w:vanish w:val='0'/>")), "b"),
        (paragraph("<w:del><w:r><w:delText>a</w:delText></w:r></w:del>"
                   f"<w:ins>{run('b')}</w:ins>"), "b"),
        (paragraph(f"<w:fldSimple w:instr=' DATE '>{run('today')}</w:fldSimple>"), "today"),
        (paragraph(f"<w:ruby><w:rt>{run('kan')}</w:rt><w:rubyBase>{run('A')}</w:rubyBase></w:ruby>"),
         "kanA"),
        (paragraph(f"{run('a')}<w:r>{DRAWN}</w:r>"), "a boxed"),
        (paragraph(f"<w:r><mc:AlternateContent {COMPATIBLE}><mc:Choice Requires='wps'>{DRAWN}"
                   f"</mc:Choice><mc:Fallback>{VML}</mc:Fallback></mc:AlternateContent></w:r>"),
         "boxed"),
        (paragraph(f"<w:r><mc:AlternateContent {COMPATIBLE}><mc:Choice Requires='wps'>{DRAWN}"
                   "</mc:Choice></mc:AlternateContent></w:r>"), "boxed"),
        (formula(f"<m:f><m:num>{letter('a+b')}</m:num><m:den>{letter('2')}</m:den></m:f>"),
         "(a+b)/2"),
        (formula(f"<m:sSup><m:e>{letter('x')}</m:e><m:sup>{letter('2')}</m:sup></m:sSup>"
                 f"<m:rad><m:deg/><m:e>{letter('y')}</m:e></m:rad>"), "x^2√(y)"),
        (formula(f"<m:nary><m:naryPr><m:chr m:val='∑'/></m:naryPr><m:sub>{letter('i=1')}</m:sub>"
                 f"<m:sup>{letter('n')}</m:sup><m:e>{letter('i')}</m:e></m:nary>"),
         "∑_(i=1)^n i"),
        (formula(f"<m:d><m:dPr><m:begChr m:val='['/><m:endChr m:val=']'/></m:dPr><m:e>{letter('a')}"
                 "</m:e></m:d>"), "[a]"),
        (paragraph(run("\ufdd0a")), "\ufffda"),
    ],
)  # fmt: skip
def test_what_a_reader_of_word_sees(body: str, expected: str) -> None:
    assert read(body)[1] == expected


def test_styles_can_hide() -> None:
    styles = (
        f"<w:styles xmlns:w='{WORD}'><w:style w:type='character' w:styleId='H'><w:name w:val='h'/>"
        "<w:rPr><w:vanish/></w:rPr></w:style><w:style w:type='paragraph' w:styleId='P'>"
        "<w:name w:val='p'/><w:rPr><w:vanish/></w:rPr></w:style></w:styles>"
    )
    body = (
        paragraph(run("a", "<w:rStyle w:val='H'/>") + run("b"))
        + paragraph(run("c"), "<w:pStyle w:val='P'/>")
    )  # fmt: skip
    assert read(body, **{"word/styles.xml": styles})[1] == "b"


def test_cells_have_backgrounds_and_paragraphs_are_aligned() -> None:
    right = paragraph(run("b"), "<w:jc w:val='right'/>")
    cells = (
        f"<w:tc><w:tcPr><w:shd w:fill='DDEEFF'/></w:tcPr>{paragraph(run('a'))}</w:tc>"
        f"<w:tc>{right}</w:tc>"
    )
    body = f"<w:tbl><w:tr>{cells}</w:tr></w:tbl>" + paragraph(run("c"), "<w:jc w:val='center'/>")
    assert read(body)[0] == "table(tr(td=#ddeeff(p(a))|td(p(b)/end))) p(c)/center"


NUMBERING = (
    f"<w:numbering xmlns:w='{WORD}'><w:abstractNum w:abstractNumId='7'>"
    + "".join(
        f"<w:lvl w:ilvl='{level}'><w:start w:val='{1 + 2 * level}'/><w:numFmt w:val='decimal'/>"
        "</w:lvl>"
        for level in (0, 1)
    )
    + "</w:abstractNum><w:num w:numId='1'><w:abstractNumId w:val='7'/></w:num>"
    "<w:num w:numId='2'><w:abstractNumId w:val='7'/><w:lvlOverride w:ilvl='0'>"
    "<w:startOverride w:val='1'/></w:lvlOverride></w:num></w:numbering>"
)


def item(text: str, number: int = 1, level: int = 0) -> str:
    number_of = f"<w:numPr><w:ilvl w:val='{level}'/><w:numId w:val='{number}'/></w:numPr>"
    return paragraph(run(text, "<w:b/>"), number_of).replace("<w:rPr><w:b/></w:rPr>", "")


def test_numbers_go_on_after_a_paragraph_in_between() -> None:
    body = item("a") + item("b") + paragraph(run("between")) + item("c") + item("d", 1, 1)
    assert read(f"{body}{item('e', 2)}", **{"word/numbering.xml": NUMBERING})[0] == (
        "ol(li(p(a))|li(p(b))) p(between) ol=3(li(p(c)|ol=3(li(p(d))))|li(p(e)))"
    )
    assert read(
        body + paragraph(run("x")) + item("e", 2), **{"word/numbering.xml": NUMBERING}
    )[0].endswith("p(x) ol(li(p(e)))")  # fmt: skip


def test_footnotes_stand_below_a_rule() -> None:
    notes = (
        f"<w:footnotes xmlns:w='{WORD}'><w:footnote w:id='1'>{paragraph(run('why'))}</w:footnote>"
        "</w:footnotes>"
    )
    body = paragraph(f"{run('a')}<w:r><w:footnoteReference w:id='1'/></w:r>")
    assert read(body, **{"word/footnotes.xml": notes})[0] == "p(a|[1]/subsup) rule ol(li(p(why)))"


def test_comments_and_charts_are_counted_in_a_note() -> None:
    comments = (
        f"<w:comments xmlns:w='{WORD}'><w:comment w:id='1'>{paragraph(run('hm'))}</w:comment>"
        "</w:comments>"
    )
    chart = f"<c:chart xmlns:c='{OOXML}/drawingml/2006/chart'/>"
    body = paragraph(f"{run('a')}<w:r><w:commentReference w:id='1'/>{chart}</w:r>")
    _, texts, notes = read(body, **{"word/comments.xml": comments})
    assert texts == "a"
    assert "comments that are left out: 1" in notes
    assert "charts that are left out: 1" in notes


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("<w:p><w:r><w:t>a</w:t></w:r></w:p>" * 100_000, "250,000 elements and attributes"),
        ("<w:p>" + run("a") * 200_000 + "</w:p>", "250,000 elements and attributes"),
        ("<w:tbl><w:tr><w:tc>" * 100 + "</w:tc></w:tr></w:tbl>" * 100, "nests too deeply"),
        (f"<w:p w:a='{'a' * 17_000_000}'/>", "bytes of text"),
    ],
)
def test_a_document_that_would_take_too_much_is_refused(body: str, message: str) -> None:
    with pytest.raises(DocumentError, match=message):
        read(body)


def test_what_the_library_has_no_use_for_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_parts, "MOST_ELEMENTS", 50)
    attributes = "".join(f" w:rsid{letter}='00000000'" for letter in "RPT")
    idle = "<w:proofErr/><w:lastRenderedPageBreak/>" * 100
    assert read(f"<w:p{attributes}>{idle}{run('a', '<w:lang/><w:sz/>' * 100)}</w:p>")[1] == "a"


def test_a_document_type_is_refused() -> None:
    xml = f"<!DOCTYPE x [<!ENTITY a 'b'>]><w:document xmlns:w='{WORD}'><w:body/></w:document>"
    with pytest.raises(DocumentError, match="document type"):
        read("", **{"word/document.xml": xml})
