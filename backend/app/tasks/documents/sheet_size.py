"""How large the sheets of a workbook are, measured before they are read; and what else they say.

The library that reads them fills the whole rectangle up to the last cell, and copies a shared
string for each cell that shows it: a few kilobytes can name a cell in row 1,048,576, or show one
long text a million times.
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, NamedTuple
from xml.parsers import expat

from app.core.errors import DocumentError
from app.tasks.documents.office import open_archive, read_entry
from app.tasks.documents.sheet_links import MOST_LINKS, SheetLinks, place_of

if TYPE_CHECKING:
    import zipfile
    from collections.abc import Mapping, Sequence

MOST_CELLS = 3_000_000
"""Of all sheets, the empty ones in between included: 32 bytes each, and what Python makes of it."""

MOST_CHARACTERS = 32_000_000
"""Of all cells together."""

_LONGEST_NUMBER = 9
"""Digits of a shared string's number; there are fewer strings than that."""

_IN_XLSX_SHEET = b"sheetData"
"""Its relations say where a sheet lies: any file of the archive may be one."""

_SHARED_STRINGS = "xl/sharedStrings.xml"
_ODS_CONTENT = "content.xml"
_COMMENTS = re.compile(r"xl/comments[^/]*\.xml$")
_WORKBOOK = "xl/workbook.xml"
_LOST_SIGNS = {"line-break": "\n", "tab": "\t"}
"""Of a text in an .ods: the library that reads it leaves them out, and joins the words."""

_MOST_SPACES = 1_000
_TRUE = frozenset({"1", "true"})
_HIDDEN = frozenset({"collapse", "filter"})


class Measured(NamedTuple):
    """The links and comments of a workbook that is not too large.

    Attributes:
        links: of its sheets, by their names.
        comments: how many comments its cells have.

    """

    links: dict[str, SheetLinks]
    comments: int


def measure_sheets(name: str, content: bytes, *, max_rows: int, max_columns: int) -> Measured:
    """Return what is known of a workbook, if no sheet has more than can be read.

    What is bounded is the number of rows, columns, cells and characters.

    Raises:
        DocumentError: one has more, named in the message; or the archive cannot be used at all.

    """
    archive = open_archive(name, content)
    entries = archive.namelist()
    limits = (name, max_rows, max_columns)
    try:
        lengths: Sequence[int] = ()
        if _SHARED_STRINGS in entries:
            strings = _SharedStrings()
            _parse(read_entry(name, archive, _SHARED_STRINGS), strings)
            lengths = strings.lengths
        sheets = _XlsxSheets(*limits, lengths)
        open_document = _OdsSheets(*limits)
        comments = 0
        for entry in entries:
            written = read_entry(name, archive, entry)
            if entry == _ODS_CONTENT:
                _parse(written, open_document)
            if _COMMENTS.search(entry) is not None:
                comments += written.count(b"<comment ")
            if _IN_XLSX_SHEET in written:
                sheets.begin_sheet(entry)
                _parse(written, sheets)
                sheets.resolve(_relations(name, archive, entry))
        if _WORKBOOK not in entries:
            return Measured(open_document.links, open_document.comments)
        named = _SheetNames()
        _parse(read_entry(name, archive, _WORKBOOK), named)
        targets = _relations(name, archive, _WORKBOOK)
        links = {
            one: sheets.links[targets[relation]]
            for one, relation in named.relations.items()
            if targets.get(relation) in sheets.links
        }
        return Measured(links, comments)
    except (expat.ExpatError, ValueError) as error:
        is_of_xml = isinstance(error, expat.ExpatError)
        why = error if is_of_xml else "the number of a row or column is none"
        raise DocumentError(
            f"{name} is damaged ({why})", name=name, next_step="Save it again."
        ) from error


class _Reader:
    """Handles elements by their names without a prefix."""

    def start(self, element: str, attributes: Mapping[str, str]) -> None:
        raise NotImplementedError

    def end(self, element: str) -> None:
        """Take the end of an element."""

    def text(self, text: str) -> None:
        """Take a text."""


def _parse(xml: bytes, reader: _Reader) -> None:
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = lambda name, given: reader.start(name.rpartition(":")[2], given)
    parser.EndElementHandler = lambda name: reader.end(name.rpartition(":")[2])
    parser.CharacterDataHandler = reader.text
    parser.Parse(xml, True)


class _SharedStrings(_Reader):
    """The length of each shared string."""

    def __init__(self) -> None:
        self.lengths: list[int] = []

    def start(self, element: str, attributes: Mapping[str, str]) -> None:  # noqa: ARG002
        if element == "si":
            self.lengths.append(0)

    def text(self, text: str) -> None:
        if self.lengths:
            self.lengths[-1] += len(text)


def _relations(name: str, archive: zipfile.ZipFile, entry: str) -> dict[str, str]:
    """Return what a file of the archive refers to, by the numbers it has for these."""
    folder, base = posixpath.split(entry)
    relations = f"{folder}/_rels/{base}.rels"
    if relations not in archive.namelist():
        return {}
    reader = _Relations(folder)
    _parse(read_entry(name, archive, relations), reader)
    return reader.targets


class _Relations(_Reader):
    def __init__(self, folder: str) -> None:
        self._folder = folder
        self.targets: dict[str, str] = {}

    def start(self, element: str, attributes: Mapping[str, str]) -> None:
        if element == "Relationship":
            target = attributes.get("Target", "")
            if attributes.get("TargetMode") != "External":
                target = posixpath.normpath(posixpath.join("/", self._folder, target)).lstrip("/")
            self.targets[attributes.get("Id", "")] = target


class _SheetNames(_Reader):
    def __init__(self) -> None:
        self.relations: dict[str, str] = {}

    def start(self, element: str, attributes: Mapping[str, str]) -> None:
        if element == "sheet":
            self.relations[attributes.get("name", "")] = _attribute(attributes, "id")


def _attribute(attributes: Mapping[str, str], name: str) -> str:
    """Return the attribute of this name, whatever its prefix."""
    return next((v for k, v in attributes.items() if k.rpartition(":")[2] == name), "")


class _Sheets(_Reader):
    """The size of the sheets: the last row and column of each with content, and the text."""

    def __init__(self, name: str, max_rows: int, max_columns: int) -> None:
        self._name = name
        self._max_rows = max_rows
        self._max_columns = max_columns
        self.cells_before = self.characters = 0
        self.links: dict[str, SheetLinks] = {}
        self.sheet = SheetLinks()
        self.row = self.column = self.last_row = self.last_column = 0
        self.is_row_hidden = False
        self.hidden: set[int] = set()

    def begin_sheet(self, name: str) -> None:
        """Begin the next sheet."""
        self.sheet = self.links[name] = SheetLinks()
        self.cells_before += self.last_row * self.last_column
        self.row = self.column = self.last_row = self.last_column = 0
        self.is_row_hidden = False
        self.hidden = set()

    def hide_columns(self, first: int, last: int) -> None:
        """Note that these columns are hidden."""
        self.hidden.update(range(first, min(last, self._max_columns) + 1))

    def count(self, rows: int = 1, columns: int = 1, characters: int = 0) -> None:
        """Count cells with content, which end at the present row and column.

        Raises:
            DocumentError: the sheet is too large with them.

        """
        if self.is_row_hidden and characters:
            self.sheet.hidden_rows += rows
            self.is_row_hidden = False  # it was counted
        if characters and self.column in self.hidden:
            self.sheet.hidden_columns.add(self.column)
        self.last_row = max(self.last_row, self.row)
        self.last_column = max(self.last_column, self.column)
        self.characters += characters * rows * columns
        for is_over, what, setting in (
            (self.last_row - 1 > self._max_rows, f"{self._max_rows:,} rows", "ROWS"),
            (self.last_column > self._max_columns, f"{self._max_columns:,} columns", "COLUMNS"),
        ):
            if is_over:
                raise self._too_large(what, f"Split it, or raise SESSION_TASKS_MAX_{setting}.")
        if self.cells_before + self.last_row * self.last_column > MOST_CELLS:
            raise self._too_large(f"{MOST_CELLS:,} cells, the empty ones in between included")
        if self.characters > MOST_CHARACTERS:
            raise self._too_large(f"{MOST_CHARACTERS:,} characters")

    def _too_large(self, limit: str, next_step: str = "Split it.") -> DocumentError:
        what = f"{self._name} has sheets of more than {limit}"
        return DocumentError(what, name=self._name, next_step=next_step)


class _XlsxSheets(_Sheets):
    """The sheets of an .xlsx: each cell names its place, or follows the one before."""

    def __init__(self, name: str, max_rows: int, max_columns: int, lengths: Sequence[int]) -> None:
        super().__init__(name, max_rows, max_columns)
        self._lengths = lengths
        self._kind: str | None = None
        self._formula: list[str] | None = None
        self._shared_formula = ""
        self._hyperlinks: list[tuple[str, str]] = []

    def start(self, element: str, attributes: Mapping[str, str]) -> None:
        if element == "c":
            self.column += 1
            if place := place_of(attributes.get("r", "")):
                self.row, self.column = place
            self._kind = attributes.get("t")
            self.count()
        elif element == "row":
            number = attributes.get("r", "")
            self.row = int(number) if number.isdecimal() else self.row + 1
            self.column = 0
            self.is_row_hidden = attributes.get("hidden") in _TRUE
        elif element == "col" and attributes.get("hidden") in _TRUE:
            self.hide_columns(int(attributes.get("min", 1)), int(attributes.get("max", 1)))
        elif element == "f":
            self._formula, self._shared_formula = [], attributes.get("si", "")
        elif element == "hyperlink" and (relation := _attribute(attributes, "id")):
            if len(self._hyperlinks) < MOST_LINKS:
                self._hyperlinks.append((attributes.get("ref", ""), relation))
            else:
                self.sheet.unread += 1

    def end(self, element: str) -> None:
        if element == "c":
            self._kind = None
        elif element == "f" and self._formula is not None:
            place = self.row, self.column
            self.sheet.add_formula(place, "".join(self._formula), self._shared_formula)
            self._formula = None

    def resolve(self, targets: Mapping[str, str]) -> None:
        """Take the addresses of the sheet's hyperlinks from its relations."""
        for reference, relation in self._hyperlinks:
            if relation in targets:
                self.sheet.add_range(reference, targets[relation])
        self._hyperlinks = []

    def text(self, text: str) -> None:
        if self._formula is not None:
            self._formula.append(text)
            return
        length = len(text)
        if self._kind == "e":
            self.sheet.add_error((self.row, self.column), text)
        if self._kind == "s" and text.isdecimal() and len(text) <= _LONGEST_NUMBER:
            number = int(text)
            length = self._lengths[number] if number < len(self._lengths) else 0
        self.count(characters=length)


class _OdsSheets(_Sheets):
    """The sheets of an .ods: rows and cells say how often they are repeated."""

    def __init__(self, name: str, max_rows: int, max_columns: int) -> None:
        super().__init__(name, max_rows, max_columns)
        self._rows = self._columns = 1
        self._is_in_cell = False
        self._text: list[str] = []
        self._is_told = self._is_error = False
        self.comments = 0

    def start(self, element: str, attributes: Mapping[str, str]) -> None:
        if element in {"table-cell", "covered-table-cell"}:
            self._columns = _repeated(attributes, "number-columns-repeated")
            self.column += self._columns
            self._is_in_cell = True
            self._text, self._is_told = [], False
            self._is_error = "error" in attributes.values()
            if any(name.endswith(":value-type") for name in attributes):
                self.count()
            if formula := _attribute(attributes, "formula"):
                self.sheet.add_formula((self.row, self.column), formula)
        elif element == "table-row":
            self._rows = _repeated(attributes, "number-rows-repeated")
            self.row += self._rows
            self.column = 0
            self.is_row_hidden = _attribute(attributes, "visibility") in _HIDDEN
        elif element == "table-column":
            first = self.column + 1
            self.column += _repeated(attributes, "number-columns-repeated")
            if _attribute(attributes, "visibility") in _HIDDEN:
                self.hide_columns(first, self.column)
        elif element == "table":
            self.begin_sheet(_attribute(attributes, "name"))
        elif self._is_in_cell:
            self._start_in_cell(element, attributes)

    def _start_in_cell(self, element: str, attributes: Mapping[str, str]) -> None:
        if element == "a" and (href := _attribute(attributes, "href")):
            self.count(characters=len(href))
            self.sheet.add((self.row, self.column), (href,))
        elif element == "annotation":
            self._is_in_cell = False  # until its end
            self.comments += 1
        elif element == "p" and self._text:
            self._text.append("\n")
        elif element == "s":
            self._text.append(" " * min(_repeated(attributes, "c"), _MOST_SPACES))
        elif element in _LOST_SIGNS:
            self._text.append(_LOST_SIGNS[element])
            self._is_told = True

    def end(self, element: str) -> None:
        if element == "annotation":
            self._is_in_cell = True
        elif element in {"table-cell", "covered-table-cell"}:
            self._is_in_cell = False
            if self._is_error:
                self.sheet.add_error((self.row, self.column), "".join(self._text))
            elif self._is_told:
                self.sheet.texts[self.row, self.column] = "".join(self._text)

    def text(self, text: str) -> None:
        if self._is_in_cell:
            self._text.append(text)
            if not text.isspace():
                self.count(self._rows, self._columns, len(text))


def _repeated(attributes: Mapping[str, str], what: str) -> int:
    given = _attribute(attributes, what) or "1"
    return max(1, int(given)) if given.isdecimal() else 1
