"""Read a CSV as a header and rows, with any delimiter and rows of any length.

Quoting is RFC 4180's, read leniently. The text is read twice: once to count rows and to refuse an
unusable table before any work on it, and once more, row by row, by the caller.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from app.core.errors import DocumentError
from app.tasks.documents.column_names import BODY_COLUMNS, TITLE_COLUMNS
from app.tasks.documents.delimiter import CANDIDATES, choose_delimiter, column_name, has_content
from app.tasks.documents.quoting import blanks_follow_delimiters, refuse_misplaced_quotes
from app.tasks.documents.tree_table import flat_records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

# The csv module's limit is one number for the whole process. Every thread sets the same one, so
# no thread lowers another's; the real limit is the size of a document.
_LARGEST_CELL = 2**31 - 1

_LINES_ABOVE_HEADER = 20
"""The number of lines that are searched for a header."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table with a column for titles; its rows are read again for each iteration.

    Attributes:
        header: each column's name, stripped; an empty one is “column N”. Names may repeat.
        title: the index of the title column.
        body: the index of the description's column, where there is one.
        row_count: the number of rows that are not blank.
        longer_rows: how many rows have more cells than the header, ...
        first_longer_row: ... and the number of the first of them.
        rows: each row's number (from 1; blank rows are left out and not counted) and its cells,
            which may be fewer or more than the header's.

    """

    name: str
    header: tuple[str, ...]
    title: int
    body: int | None
    row_count: int
    longer_rows: int
    first_longer_row: int | None
    _records: Callable[[], Iterator[list[str]]]

    @property
    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield each row's number and cells, from the first."""
        records = self._records()
        next(records)
        return enumerate(records, start=1)

    def bodies(self) -> Iterator[str]:
        """Yield the descriptions that are not empty."""
        if self.body is not None:
            for _, cells in self.rows:
                if self.body < len(cells) and cells[self.body].strip():
                    yield cells[self.body]

    def column_name(self, index: int) -> str:
        """Return the column's name; beyond the header: “column N”, from 1."""
        return self.header[index] if index < len(self.header) else f"column {index + 1}"


def read_csv(  # noqa: PLR0913 - the options of a CSV are these
    name: str,
    text: str,
    *,
    delimiter: str | None = None,
    title_column: str | None = None,
    body_column: str | None = None,
    usual_titles: tuple[str, ...] = TITLE_COLUMNS,
    usual_bodies: tuple[str, ...] = BODY_COLUMNS,
    max_rows: int,
    max_columns: int,
) -> Table:
    """Return the table in the text.

    The delimiter is the one given, else the one in Excel's `sep=` line, else the one of `,` `;` tab
    `|` that fits best. Column names are compared without case; the title's column is
    `title_column`, else the first of `usual_titles` that exists, and the body's likewise.

    Raises:
        DocumentError: no header, no rows, no usable title column or not the one requested (it
            lists the columns), a quote that never closes, is escaped by a backslash or is alone in
            a quoted cell, more rows or columns than allowed.

    """
    csv.field_size_limit(_LARGEST_CELL)
    chosen, start = choose_delimiter(
        text,
        given=delimiter,
        is_tab_separated=name.lower().endswith(".tsv"),
        title_columns=(title_column,) if title_column else usual_titles,
    )
    reads = partial(
        csv.reader,
        delimiter=chosen,
        skipinitialspace=blanks_follow_delimiters(text, start, chosen),
    )
    scan = _Scan(name, text, start, chosen, reads, max_rows=max_rows, max_columns=max_columns)
    scan.run()

    def records() -> Iterator[list[str]]:
        return filter(has_content, reads(_lines(text, start)))

    return table_of(
        name,
        scan.header,
        records,
        [partial(_by_line, text, start, candidate) for candidate in (chosen, *CANDIDATES)],
        title_column=title_column,
        body_column=body_column,
        usual_titles=usual_titles,
        usual_bodies=usual_bodies,
        row_count=scan.row_count,
        longer_rows=(scan.longer_rows, scan.first_longer_row),
    )


def table_of(  # noqa: PLR0913 - what a table is, and what was chosen
    name: str,
    header_cells: Sequence[str],
    records: Callable[[], Iterator[list[str]]],
    readings: Sequence[Callable[[], Iterator[tuple[int, list[str]]]]] = (),
    *,
    title_column: str | None,
    body_column: str | None,
    usual_titles: tuple[str, ...] = TITLE_COLUMNS,
    usual_bodies: tuple[str, ...] = BODY_COLUMNS,
    row_count: int,
    longer_rows: tuple[int, int | None] = (0, None),
) -> Table:
    """Return the table with its title and description columns found.

    Args:
        name: the document's.
        header_cells: the column names as written.
        records: returns a new iterator over the records, the header first, without blank ones.
        readings: ways to read the text, in which a later line may look like the header; each
            yields a line's number and its cells.
        title_column, body_column: as chosen; None: found by the usual names.
        usual_titles, usual_bodies: names of such columns; the first that exists is used.
        row_count: how many rows there are.
        longer_rows: how many of them are longer than the header, and the first one's number.

    Raises:
        DocumentError: no rows, no title column, or not the one chosen; it lists the columns.

    """
    header = _names(header_cells)
    if title_column is None and (flat := flat_records(header, records)) is not None:
        records = flat
        header = _names(next(flat()))
    title = _find(name, header, title_column, usual_titles, "title_column")
    if title is None:
        for read in readings or (lambda: enumerate(records(), start=1),):
            _refuse_lines_above_header(name, read())
        raise DocumentError(
            f"{name} has no column with a usual name for titles, such as"
            f" {', '.join(TITLE_COLUMNS[:4])}; its columns are {_columns(header)}",
            name=name,
            next_step="Name the column that holds the titles.",
            options=["title_column"],
        )
    body = _find(name, header, body_column, usual_bodies, "body_column")
    if not row_count:
        raise DocumentError(
            f"{name} has a header but no rows",
            name=name,
            next_step="Leave it out, or add a row below the header.",
        )
    return Table(
        name=name,
        header=header,
        title=title,
        body=body,
        row_count=row_count,
        longer_rows=longer_rows[0],
        first_longer_row=longer_rows[1],
        _records=records,
    )


def _names(cells: Sequence[str]) -> tuple[str, ...]:
    return tuple(
        column_name(cell) or f"column {position}" for position, cell in enumerate(cells, start=1)
    )


def _refuse_lines_above_header(name: str, records: Iterator[tuple[int, list[str]]]) -> None:
    """Raise if a later line looks like the header: two or more columns, one of them a title's.

    It does not if the first line has a description's column: then it is the header.

    Raises:
        DocumentError: it names the line.

    """
    first = {column_name(cell).casefold() for cell in next(records, (1, []))[1]}
    if not first.isdisjoint(BODY_COLUMNS):
        return
    for number, record in islice(records, _LINES_ABOVE_HEADER - 1):
        names = [column_name(cell).casefold() for cell in record if cell.strip()]
        if len(names) > 1 and any(column in names for column in TITLE_COLUMNS):
            above = "the line" if number == 2 else f"the {number - 1} lines"  # noqa: PLR2004
            raise DocumentError(
                f"{name}: its header seems to be line {number} ({_columns(tuple(record))}),"
                f" not the first line that has something in it",
                name=name,
                next_step=f"Delete {above} above it.",
            )


def _lines(text: str, start: int = 0) -> Iterator[str]:
    r"""Yield lines ending in `\n`, `\r` or `\r\n`, with their ends, as the csv module needs them.

    Encoded as UTF-8, because StringIO would take four bytes for every character.
    """
    return io.TextIOWrapper(io.BytesIO(text[start:].encode()), encoding="utf-8", newline="")


def _by_line(text: str, start: int, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the records that are not blank, each with the number of its first line."""
    reader = csv.reader(_lines(text, start), delimiter=delimiter)
    before = 1 + text.count("\n", 0, start)
    line = before
    for record in reader:
        if has_content(record):
            yield line, record
        line = before + reader.line_num


class _Scan:
    """One pass over the text that counts rows, and refuses an unusable table."""

    def __init__(  # noqa: PLR0913 - private, and each is needed
        self,
        name: str,
        text: str,
        start: int,
        delimiter: str,
        reads: Callable[[Iterator[str]], Any],
        *,
        max_rows: int,
        max_columns: int,
    ) -> None:
        self.name = name
        self.header: list[str] = []
        self.row_count = 0
        self.longer_rows = 0
        self.first_longer_row: int | None = None
        self._text = text
        self._delimiter = delimiter
        self._reads = reads
        self._max_rows = max_rows
        self._max_columns = max_columns
        self._record_start = self._line_end = start
        self._record_line = 1 + len(re.findall(r"\r\n?|\n", text[:start]))
        self._delimiters, self._exact_from = 0, max_columns
        self._at_end = False

    def run(self) -> None:
        reader = self._reads(self._watched_lines())
        lines_before = self._record_line - 1
        for record in reader:
            if self._at_end:
                if self._record_start < self._line_end:  # our line was not a separate record
                    raise self._unclosed_quote()
                break
            if has_content(record):
                self._take(record)
                refuse_misplaced_quotes(
                    self.name,
                    self._text[self._record_start : self._line_end],
                    self._delimiter,
                    row=self.row_count or None,
                    line=self._record_line,
                )
            self._record_start = self._line_end
            self._record_line = lines_before + reader.line_num + 1
            self._delimiters, self._exact_from = 0, self._max_columns
        if not self.header:
            raise DocumentError(
                f"{self.name} has no header: every line is blank",
                name=self.name,
                next_step="Leave it out, or give it a line of column names.",
            )

    def _take(self, record: list[str]) -> None:
        if len(record) > self._max_columns:
            raise self._too_wide()
        if not self.header:
            self.header = record
            return
        self.row_count += 1
        if self.row_count > self._max_rows:
            raise DocumentError(
                f"{self.name} has more than {self._max_rows:,} rows",
                name=self.name,
                row=self.row_count,
                next_step="Split it, or raise the limit: SESSION_TASKS_MAX_ROWS.",
            )
        if len(record) > len(self.header) and any(record[len(self.header) :]):
            self.longer_rows += 1
            self.first_longer_row = self.first_longer_row or self.row_count

    def _watched_lines(self) -> Iterator[str]:
        """Yield lines to the reader, but stop before it builds a record of a million cells.

        Delimiters are counted first, quoted or not; only if there are too many, exactly. A last
        line of our own shows whether the text ended inside a quote.
        """
        for line in _lines(self._text, self._line_end):
            self._line_end += len(line)
            self._delimiters += line.count(self._delimiter)
            if self._delimiters >= self._exact_from:
                self._refuse_too_many_cells()
                # Doubled, so that a record of many lines is not read again for each.
                self._exact_from = self._delimiters * 2
            yield line
        self._at_end = True
        yield "end"

    def _refuse_too_many_cells(self) -> None:
        delimiter = re.escape(self._delimiter)
        cell = re.compile(
            rf'(?:"[^"]*+(?:""[^"]*+)*+(?:"|\Z))?[^{delimiter}\r\n]*+({delimiter}|[\r\n]|\Z)'
        )
        matches = cell.finditer(self._text, self._record_start, self._line_end)
        for cells, match in enumerate(matches, start=1):
            if cells > self._max_columns:
                raise self._too_wide()
            if match[1] != self._delimiter:
                return

    def _too_wide(self) -> DocumentError:
        row = self.row_count + 1 if self.header else None
        where = f"row {row:,}" if row else "the header"
        return DocumentError(
            f"{self.name}: {where} has more than {self._max_columns:,} columns",
            name=self.name,
            row=row,
            next_step="Raise the limit, SESSION_TASKS_MAX_COLUMNS; or, if the delimiter was"
            " guessed wrongly, name the right one.",
            options=["delimiter"],
        )

    def _unclosed_quote(self) -> DocumentError:
        row = self.row_count + 1 if self.header else None
        where = f"row {row:,}" if row else "the header"
        return DocumentError(
            f"{self.name}: a quote opened in {where} (which begins in line"
            f" {self._record_line:,}) is never closed",
            name=self.name,
            row=row,
            next_step="Close it; a quote that belongs to the text is written twice, in a cell"
            ' that is quoted itself: "5"" disk".',
        )


def _find(
    name: str, header: tuple[str, ...], asked: str | None, usual: tuple[str, ...], option: str
) -> int | None:
    folded = [column.casefold() for column in header]
    if asked is None:
        folded = [_without_accents(column).replace("_", " ") for column in folded]
        wanted = (_without_accents(column_name(column).casefold()) for column in usual)
        return next((folded.index(column) for column in wanted if column in folded), None)
    if column_name(asked).casefold() not in folded:
        raise DocumentError(
            f"{name} has no column “{asked}”; its columns are {_columns(header)}",
            name=name,
            next_step="Name one of these columns.",
            options=[option],
        )
    return folded.index(column_name(asked).casefold())


def _without_accents(name: str) -> str:
    """Return the name without accents, which exports and users leave out."""
    if name.isascii():
        return name
    letters = unicodedata.normalize("NFKD", name)
    return "".join(letter for letter in letters if not unicodedata.combining(letter))


_COLUMNS_SHOWN = 30
_CHARACTERS_SHOWN = 40


def _columns(header: tuple[str, ...]) -> str:
    shown = [
        f"“{column if len(column) <= _CHARACTERS_SHOWN else column[: _CHARACTERS_SHOWN - 1] + '…'}”"
        for column in header[:_COLUMNS_SHOWN]
    ]
    more = len(header) - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more else "")
