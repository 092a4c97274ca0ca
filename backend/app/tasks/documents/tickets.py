"""From a document's bytes to its tickets."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from app.core.errors import DocumentError
from app.models.results import NO_FIELDS, TicketDraft
from app.tasks.adf.markdown import DEFAULT_MAX_NODES, markdown_to_adf, split_sections
from app.tasks.documents.csv_table import BODY_COLUMNS, TITLE_COLUMNS, CsvTable, read_csv
from app.tasks.documents.decoding import Decoded, DocumentKind, decode, kind_of
from app.tasks.documents.field_table import FieldTables
from app.tasks.jira.columns import BODY, TITLE, ColumnMapping, MappingOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_REPLACEMENT = "\ufffd"
_LONGEST_BORROWED_TITLE = 120

_as_json = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), check_circular=False, allow_nan=False
).encode


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketOptions:
    """How documents become tickets; the limits are the settings' of the same names.

    Attributes:
        split_level: one ticket for every Markdown heading of this level or above; None: one a file.
        title_column: the CSV column that holds the titles; None: `summary`, `title` or `name`.
        body_column: the one that holds the descriptions; None: `description` or `body`, if any.
        delimiter: one character, or its name; None: the one that fits best.
        mapping: how other columns become the issue's fields.

    """

    max_rows: int
    max_columns: int
    max_nesting: int
    max_nodes: int = DEFAULT_MAX_NODES
    split_level: int | None = None
    title_column: str | None = None
    body_column: str | None = None
    delimiter: str | None = None
    mapping: MappingOptions = field(default_factory=MappingOptions)


@dataclass(frozen=True, slots=True)
class DocumentTickets:
    """A document's tickets, made one by one as they are asked for, and what to know about them.

    `len()` is how many there are, known before the first is made. Iterating may raise
    DocumentError: a row's description can be nested too deeply. A ticket's `parent` is its number
    among these.

    Attributes:
        keys: numbers of the tickets made so far, by the keys under which others may name them.

    """

    _notes: tuple[str, ...]
    _count: int
    _make: Callable[[], Iterator[TicketDraft]]
    _mapping: ColumnMapping | None = None
    keys: dict[str, int] = field(default_factory=dict)

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for people, no failures; those on rows are there once the rows were read."""
        return self._notes + tuple(self._mapping.notes() if self._mapping else ())

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[TicketDraft]:
        return self._make()


def tickets_from(name: str, content: bytes, options: TicketOptions) -> DocumentTickets:
    """Give the document's tickets: one a Markdown file (or section), one a CSV row; never none.

    A CSV is counted and checked as a whole here, before the first ticket is made.

    Raises:
        DocumentError: the document cannot be used; see `decode`, `kind_of` and `read_csv`.
        ConfigurationError: the delimiter in the options cannot be one.

    """
    kind = kind_of(name)
    decoded = decode(name, content)
    text = decoded.text.replace("\0", _REPLACEMENT)
    notes = _reading_notes(name, decoded)
    if kind is DocumentKind.MARKDOWN:
        drafts = _markdown_tickets(name, text, options)
        return DocumentTickets(notes, len(drafts), lambda: iter(drafts))
    table = _read_table(name, text, options)
    mapping = map_columns(table, options)
    keys: dict[str, int] = {}
    return DocumentTickets(
        notes + _table_notes(table),
        table.row_count,
        lambda: _csv_tickets(table, mapping, keys, options),
        mapping,
        keys,
    )


def check_document(name: str, content: bytes, options: TicketOptions) -> tuple[str, ...]:
    """Return the names of the document's columns, if it has any; no ticket is made.

    Raises:
        DocumentError, ConfigurationError: as `tickets_from`, as far as it shows before that.

    """
    kind = kind_of(name)
    text = decode(name, content).text.replace("\0", _REPLACEMENT)
    return _read_table(name, text, options).header if kind is DocumentKind.CSV else ()


def map_columns(table: CsvTable, options: TicketOptions) -> ColumnMapping:
    """Return how the table's columns become fields."""
    return ColumnMapping(
        table.name,
        table.header,
        title=table.title,
        body=table.body,
        options=options.mapping,
        rows=lambda: table.rows,
    )


def _read_table(name: str, text: str, options: TicketOptions) -> CsvTable:
    rules = options.mapping
    return read_csv(
        name,
        text,
        delimiter=options.delimiter,
        title_column=rules.column_for(name, TITLE) or options.title_column,
        body_column=rules.column_for(name, BODY) or options.body_column,
        usual_titles=(*rules.columns_like(TITLE), *TITLE_COLUMNS),
        usual_bodies=(*rules.columns_like(BODY), *BODY_COLUMNS),
        max_rows=options.max_rows,
        max_columns=options.max_columns,
    )


def _reading_notes(name: str, decoded: Decoded) -> tuple[str, ...]:
    notes = []
    if decoded.guessed:
        notes.append(
            f"{name}: read as {decoded.encoding} (a guess);"
            " if letters look wrong, save it as UTF-8 and try again"
        )
    if nuls := decoded.text.count("\0"):
        notes.append(f"{name}: NUL characters replaced by “{_REPLACEMENT}”: {nuls:,}")
    return tuple(notes)


def _table_notes(table: CsvTable) -> tuple[str, ...]:
    if not table.longer_rows:
        return ()
    note = (
        f"{table.name}: rows with more cells than the header: {table.longer_rows:,} (the first is"
        f" row {table.first_longer_row:,}); see “{table.column_name(len(table.header))}” and on"
    )
    return (note,)


def _markdown_tickets(name: str, text: str, options: TicketOptions) -> list[TicketDraft]:
    file_title = one_line(PurePath(name).stem) or one_line(name)
    try:
        sections = split_sections(
            text,
            options.split_level,
            max_nesting=options.max_nesting,
            max_nodes=options.max_nodes,
        )
    except DocumentError as error:
        raise _located(error, name) from error
    return [
        TicketDraft(
            one_line(section.title or "") or file_title,
            _as_json(section.document),
            name,
            section.line,
        )
        for section in sections
    ]


def _csv_tickets(
    table: CsvTable, mapping: ColumnMapping, keys: dict[str, int], options: TicketOptions
) -> Iterator[TicketDraft]:
    tables = FieldTables(table)
    for number, cells in table.rows:
        width = len(cells)
        title = one_line(cells[table.title]) if table.title < width else ""
        body = cells[table.body] if table.body is not None and table.body < width else ""
        row = mapping.row(number, cells)
        keys.update(dict.fromkeys(row.keys, number))
        if row.parent_key:
            row.fields["parent"] = row.parent_key
        try:
            document = markdown_to_adf(
                body, max_nesting=options.max_nesting, max_nodes=options.max_nodes
            )
        except DocumentError as error:
            raise _located(error, table.name, number) from error
        yield TicketDraft(
            title or _first_line(body) or f"Row {number} of {one_line(table.name)}",
            _with_table(document, tables.of(cells, row.shown)),
            table.name,
            number,
            _as_json(row.fields) if row.fields else NO_FIELDS,
            row.parent_row,
        )


def _with_table(document: dict[str, Any], table: str) -> str:
    """Give the document with the table below it, as JSON text."""
    if not table:
        return _as_json(document)
    if not document["content"]:
        return f'{{"type":"doc","version":1,"content":[{table}]}}'
    above = _as_json(document["content"]).removesuffix("]")
    return f'{{"type":"doc","version":1,"content":{above},{table}]}}'


def _located(error: DocumentError, name: str, row: int | None = None) -> DocumentError:
    where = f"{name}, row {row:,}" if row else name
    return DocumentError(
        f"{where}: {error.message}",
        name=name,
        row=row or error.row,
        next_step=error.next_step,
        options=error.options,
    )


def one_line(text: str) -> str:
    """Give the words on one line, or "" where there is nothing that a person could see."""
    line = " ".join(text.split())
    if line and (line[0].isalnum() or any(c.isprintable() and c != " " for c in line)):
        return line
    return ""


def _first_line(body: str) -> str:
    """Give the body's first line that says something, without its Markdown mark and cut."""
    for raw in body.splitlines():
        line = one_line(raw.strip().lstrip("#>*+-=`~|_ "))
        if line:
            is_long = len(line) > _LONGEST_BORROWED_TITLE
            return line[: _LONGEST_BORROWED_TITLE - 1].rstrip() + "…" if is_long else line
    return ""
