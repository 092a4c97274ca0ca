"""Small office files whose contents would take gigabytes once they are read."""

from __future__ import annotations

import io
import zipfile

_OFFICE = "http://schemas.openxmlformats.org"
_MAIN = f"{_OFFICE}/spreadsheetml/2006/main"
_RELATION = f"{_OFFICE}/officeDocument/2006/relationships"
_TYPES = f"{_OFFICE}/package/2006/content-types"
_PACKAGE = f"{_OFFICE}/package/2006/relationships"
_KIND = "application/vnd.openxmlformats-officedocument"
_ODS = "urn:oasis:names:tc:opendocument:xmlns"


def _archive(**files: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return content.getvalue()


def _types(**parts: str) -> str:
    overrides = "".join(
        f'<Override PartName="/{part}" ContentType="{_KIND}.{kind}+xml"/>'
        for part, kind in parts.items()
    )
    relations = "application/vnd.openxmlformats-package.relationships+xml"
    return (
        f'<Types xmlns="{_TYPES}"><Default Extension="rels" ContentType="{relations}"/>'
        f'<Default Extension="xml" ContentType="application/xml"/>{overrides}</Types>'
    )


def _relations(**targets: str) -> str:
    relations = "".join(
        f'<Relationship Id="{kind}" Type="{_RELATION}/{kind}" Target="{target}"/>'
        for kind, target in targets.items()
    )
    return f'<Relationships xmlns="{_PACKAGE}">{relations}</Relationships>'


def xlsx(rows: str, shared: str = "", sheets: int = 1) -> bytes:
    """Return a workbook of such sheets, and one shared string."""
    sheet = f'<worksheet xmlns="{_MAIN}"><sheetData>{_HEAD}{rows}</sheetData></worksheet>'
    numbers = range(1, sheets + 1)
    listed = "".join(f'<sheet name="S{n}" sheetId="{n}" r:id="r{n}"/>' for n in numbers)
    relations = "".join(
        f'<Relationship Id="r{n}" Type="{_RELATION}/worksheet" Target="worksheets/s{n}.xml"/>'
        for n in numbers
    )
    strings = f'<Relationship Id="s" Type="{_RELATION}/sharedStrings" Target="sharedStrings.xml"/>'
    return _archive(
        **{
            "[Content_Types].xml": _types(**{"xl/workbook.xml": "spreadsheetml.sheet.main"}),
            "_rels/.rels": _relations(officeDocument="xl/workbook.xml"),
            "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_RELATION}">'
            f"<sheets>{listed}</sheets></workbook>",
            "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_PACKAGE}">'
            f"{relations}{strings}</Relationships>",
            "xl/sharedStrings.xml": f'<sst xmlns="{_MAIN}"><si><t>{shared}</t></si></sst>',
            **{f"xl/worksheets/s{n}.xml": sheet for n in numbers},
        }
    )


def _cell(place: str, text: str) -> str:
    return f'<c r="{place}" t="inlineStr"><is><t>{text}</t></is></c>'


_HEAD = f'<row r="1">{_cell("A1", "Summary")}{_cell("B1", "Description")}</row>'


def ods(rows: str) -> bytes:
    """Return a workbook of one sheet with such rows below its header."""
    spaces = "".join(f' xmlns:{name}="{_ODS}:{name}:1.0"' for name in ("office", "table", "text"))
    head = "".join(_ods_cell(title) for title in ("Summary", "Description"))
    return _archive(
        **{
            "mimetype": "application/vnd.oasis.opendocument.spreadsheet",
            "content.xml": f"<office:document-content{spaces}><office:body><office:spreadsheet>"
            f'<table:table table:name="S"><table:table-row>{head}</table:table-row>{rows}'
            "</table:table></office:spreadsheet></office:body></office:document-content>",
            "META-INF/manifest.xml": f'<manifest:manifest xmlns:manifest="{_ODS}:manifest:1.0"/>',
        }
    )


def _ods_cell(text: str, repeated: int = 1) -> str:
    return (
        f'<table:table-cell office:value-type="string" table:number-columns-repeated="{repeated}">'
        f"<text:p>{text}</text:p></table:table-cell>"
    )


def docx(body: str) -> bytes:
    """Return a Word document with such a body."""
    main = "wordprocessingml.document.main"
    space = f"{_OFFICE}/wordprocessingml/2006/main"
    return _archive(
        **{
            "[Content_Types].xml": _types(**{"word/document.xml": main}),
            "_rels/.rels": _relations(officeDocument="word/document.xml"),
            "word/document.xml": f'<w:document xmlns:w="{space}"><w:body>{body}</w:body>'
            "</w:document>",
        }
    )


FILES = {
    "far-cell.xlsx": lambda: xlsx(f'<row r="100000">{_cell("ALL100000", "x")}</row>'),
    "single-quotes.xlsx": lambda: xlsx("<row r='1000000'><c r='XFD1000000'><v>1</v></c></row>"),
    "prefix.xlsx": lambda: xlsx(
        f'<x:row xmlns:x="{_MAIN}" r="90000"><x:c r="ALL90000"><x:v>1</x:v></x:c></x:row>'
    ),
    "no-places.xlsx": lambda: xlsx("<row><c><v>1</v></c></row>" * 200_000),
    "wide-row.xlsx": lambda: xlsx("<row>" + "<c><v>1</v></c>" * 200_000 + "</row>"),
    "shared-text.xlsx": lambda: xlsx(
        "".join(f'<row r="{n}"><c r="B{n}" t="s"><v>0</v></c></row>' for n in range(2, 20_000)),
        shared="x" * 32_000,
    ),
    "many-sheets.xlsx": lambda: xlsx(
        f'<row r="90000">{_cell("Z90000", "x")}</row>', sheets=100
    ),
    "one-text.xlsx": lambda: xlsx(f'<row r="2">{_cell("A2", "x" * 100_000_000)}</row>'),
    "rows.ods": lambda: ods(
        f'<table:table-row table:number-rows-repeated="90000">{_ods_cell("x" * 1_000)}'
        "</table:table-row>"
    ),
    "columns.ods": lambda: ods(
        f"<table:table-row>{_ods_cell('x', 1_000_000_000)}</table:table-row>"
    ),
    "both.ods": lambda: ods(
        f'<table:table-row table:number-rows-repeated="90000">{_ods_cell("x", 900)}'
        "</table:table-row>"
    ),
    "paragraphs.docx": lambda: docx("<w:p/>" * 3_000_000),
    "deep-tables.docx": lambda: docx(
        "<w:tbl><w:tr><w:tc>" * 20_000 + "<w:p/>" + "</w:tc></w:tr></w:tbl>" * 20_000
    ),
}  # fmt: skip
