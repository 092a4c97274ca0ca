"""How large the sheets of a workbook are, measured before they are read.

The library that reads them fills the whole rectangle up to the last cell, and copies a shared
string for each cell that shows it: a few kilobytes can name a cell in row 1,048,576, or show one
long text a million times.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.parsers import expat

from app.core.errors import DocumentError
from app.tasks.documents.office import open_archive, read_entry

if TYPE_CHECKING:
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
_REFERENCE = re.compile(r"([A-Z]{1,3})(\d{1,10})", re.IGNORECASE | re.ASCII)


def refuse_huge_sheets(name: str, content: bytes, *, max_rows: int, max_columns: int) -> None:
    """Return if each sheet has no more rows, columns, cells and text than can be read.

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
        for entry in entries:
            if entry == _ODS_CONTENT:
                _parse(read_entry(name, archive, entry), _OdsSheets(*limits))
            elif _IN_XLSX_SHEET in (written := read_entry(name, archive, entry)):
                sheets.begin_sheet()
                _parse(written, sheets)
    except expat.ExpatError as error:
        raise DocumentError(
            f"{name} is damaged ({error})", name=name, next_step="Save it again."
        ) from error


class _Reader:
    """Handles elements by their names without a prefix."""

    def start(self, element: str, attributes: Mapping[str, str]) -> None:
        raise NotImplementedError

    def end(self, element: str) -> None:
        raise NotImplementedError

    def text(self, text: str) -> None:
        raise NotImplementedError


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

    def end(self, element: str) -> None:
        pass

    def text(self, text: str) -> None:
        if self.lengths:
            self.lengths[-1] += len(text)


class _Sheets(_Reader):
    """The size of the sheets: the last row and column of each with content, and the text."""

    def __init__(self, name: str, max_rows: int, max_columns: int) -> None:
        self._name = name
        self._max_rows = max_rows
        self._max_columns = max_columns
        self.cells_before = self.characters = 0
        self.row = self.column = self.last_row = self.last_column = 0

    def begin_sheet(self) -> None:
        """Begin the next sheet."""
        self.cells_before += self.last_row * self.last_column
        self.row = self.column = self.last_row = self.last_column = 0

    def count(self, rows: int = 1, columns: int = 1, characters: int = 0) -> None:
        """Count cells with content, which end at the present row and column.

        Raises:
            DocumentError: the sheet is too large with them.

        """
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
        self._is_shared = False

    def start(self, element: str, attributes: Mapping[str, str]) -> None:
        if element == "c":
            self.column += 1
            if place := _REFERENCE.fullmatch(attributes.get("r", "")):
                self.row, self.column = int(place[2]), _column_number(place[1])
            self._is_shared = attributes.get("t") == "s"
            self.count()
        elif element == "row":
            number = attributes.get("r", "")
            self.row = int(number) if number.isdecimal() else self.row + 1
            self.column = 0

    def end(self, element: str) -> None:
        if element == "c":
            self._is_shared = False

    def text(self, text: str) -> None:
        length = len(text)
        if self._is_shared and text.isdecimal() and len(text) <= _LONGEST_NUMBER:
            number = int(text)
            length = self._lengths[number] if number < len(self._lengths) else 0
        self.count(characters=length)


class _OdsSheets(_Sheets):
    """The sheets of an .ods: rows and cells say how often they are repeated."""

    def __init__(self, name: str, max_rows: int, max_columns: int) -> None:
        super().__init__(name, max_rows, max_columns)
        self._rows = self._columns = 1
        self._is_in_cell = False

    def start(self, element: str, attributes: Mapping[str, str]) -> None:
        if element in {"table-cell", "covered-table-cell"}:
            self._columns = _repeated(attributes, "columns")
            self.column += self._columns
            self._is_in_cell = True
            if any(name.endswith(":value-type") for name in attributes):
                self.count()
        elif element == "table-row":
            self._rows = _repeated(attributes, "rows")
            self.row += self._rows
            self.column = 0
        elif element == "table":
            self.begin_sheet()

    def end(self, element: str) -> None:
        if element in {"table-cell", "covered-table-cell"}:
            self._is_in_cell = False

    def text(self, text: str) -> None:
        if self._is_in_cell and not text.isspace():
            self.count(self._rows, self._columns, len(text))


def _repeated(attributes: Mapping[str, str], what: str) -> int:
    given = next((v for k, v in attributes.items() if k.endswith(f":number-{what}-repeated")), "1")
    return max(1, int(given)) if given.isdecimal() else 1


def _column_number(letters: str) -> int:
    number = 0
    for letter in letters.upper():
        number = number * 26 + ord(letter) - 64
    return number
