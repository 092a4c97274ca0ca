"""Make the tickets of a document from its bytes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import PurePath
from typing import Any

from pydantic_core import from_json, to_json

from app.core.errors import DocumentError
from app.tasks.adf.html_to_adf import split_html
from app.tasks.adf.jira_rules import JIRA_TEXT_LIMIT
from app.tasks.adf.markdown import DEFAULT_MAX_NODES, read_markdown
from app.tasks.adf.plain_text import text_to_adf
from app.tasks.adf.sections import Section
from app.tasks.adf.text_cleaning import REPLACEMENT, clean_text
from app.tasks.documents.body_format import BodyReader, body_reader
from app.tasks.documents.column_names import BODY_COLUMNS, TITLE_COLUMNS
from app.tasks.documents.csv_table import Table, read_csv
from app.tasks.documents.decoding import Decoded, DocumentKind, decode, kind_of
from app.tasks.documents.field_table import FieldTables
from app.tasks.documents.fitting import Fit, Ticket, fitted
from app.tasks.documents.office import open_archive, require
from app.tasks.documents.word import read_word
from app.tasks.documents.workbook import Workbook, read_workbook
from app.tasks.jira.column_rules import BODY, TITLE, MappingOptions
from app.tasks.jira.columns import ColumnMapping, fields_of_front_matter
from app.values.options import BodyFormat, TooLong
from app.values.results import NO_FIELDS, Note, TicketDraft

_LONGEST_BORROWED_TITLE = 120
_UNDERLINE = re.compile(r"([=\-~*_#])\1{2,}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketOptions:
    """How documents become tickets; the limits are the settings' of the same names.

    The others are those of `SessionOptions` of the same names; `mapping` says how columns become
    the issue's fields.
    """

    max_rows: int
    max_columns: int
    max_nesting: int
    max_nodes: int = DEFAULT_MAX_NODES
    max_description_characters: int = JIRA_TEXT_LIMIT
    split_level: int | None = None
    parent_type: str | None = None
    title_column: str | None = None
    body_column: str | None = None
    delimiter: str | None = None
    body_format: BodyFormat = BodyFormat.AUTO
    sheet: str | None = None
    base_url: str | None = None
    too_long: TooLong = TooLong.REFUSE
    mapping: MappingOptions = field(default_factory=MappingOptions)

    @property
    def fit(self) -> Fit:
        """The limit of descriptions, and the treatment of longer ones."""
        return Fit(self.max_description_characters, self.too_long)

    @property
    def reading(self) -> dict[str, Any]:
        """The arguments of the readers of every markup."""
        return {
            "base_url": self.base_url,
            "max_nesting": self.max_nesting,
            "max_nodes": self.max_nodes,
        }


@dataclass(frozen=True, slots=True)
class DocumentTickets:
    """A document's tickets, made one by one as they are asked for, and what to know about them.

    `len()` is how many there are before any is divided, known before the first is made. Iterating
    may raise DocumentError: a row's description can be nested too deeply. A ticket's `parent` is
    its number among these.

    Attributes:
        mappings: how the columns of its tables, or the keys of its front matter, become fields.
        keys: numbers of the tickets made so far, by the keys under which others may name them.

    """

    _notes: list[str | Note]
    _count: int
    _make: Callable[[], Iterator[TicketDraft]]
    mappings: tuple[ColumnMapping, ...] = ()
    keys: dict[str, int] = field(default_factory=dict)

    @property
    def notes(self) -> tuple[str | Note, ...]:
        """Notes for people, no failures; those on rows are there once the rows were read."""
        return (*self._notes, *(note for mapping in self.mappings for note in mapping.notes()))

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[TicketDraft]:
        return self._make()


def check_document(name: str, content: bytes, options: TicketOptions) -> tuple[str, ...]:
    """Return the names of the document's columns, if it has any; no ticket is made.

    Raises:
        DocumentError, ConfigurationError: as `tickets_from`, as far as it shows before that.

    """
    kind = kind_of(name)
    if kind is DocumentKind.WORD:
        require("mammoth")
        open_archive(name, content)
        return ()
    if kind is DocumentKind.WORKBOOK:
        tables = _read_workbook(name, content, options).tables
        return tuple(column for table in tables for column in table.header)
    text, _ = clean_text(decode(name, content).text)
    return _read_csv(name, text, options).header if kind is DocumentKind.CSV else ()


def tickets_from(name: str, content: bytes, options: TicketOptions) -> DocumentTickets:
    """Return the document's tickets: one a file (or section), or one a row; never none.

    A table is counted and checked as a whole here, before the first ticket is made.

    Raises:
        DocumentError: the document cannot be used; see `decode`, `kind_of`, `read_csv`,
            `read_workbook` and `read_word`.
        ConfigurationError: the delimiter in the options cannot be one, or an extra is missing.

    """
    kind = kind_of(name)
    if kind is DocumentKind.WORKBOOK:
        workbook = _read_workbook(name, content, options)
        return _of_tables(name, workbook.tables, list(workbook.notes), options)
    if kind is DocumentKind.WORD:
        html, read_notes = read_word(name, content)
        return _of_sections(name, lambda: _html_sections(html, options), [*read_notes], options)
    decoded = decode(name, content)
    text, replaced = clean_text(decoded.text)
    notes = _reading_notes(name, decoded, replaced)
    if kind is DocumentKind.CSV:
        table = _read_csv(name, text, options)
        return _of_tables(name, (table,), notes + _table_notes(table), options)
    if kind is DocumentKind.HTML:
        return _of_sections(name, lambda: _html_sections(text, options), notes, options)
    if kind is DocumentKind.TEXT:
        return _of_sections(name, lambda: [_text_section(text, options.max_nodes)], notes, options)
    return _of_markdown(name, text, notes, options)


def map_columns(document: str, table: Table, options: TicketOptions) -> ColumnMapping:
    """Return how the columns of a document's table become fields."""
    return ColumnMapping(
        document,
        table.header,
        title=table.title,
        body=table.body,
        options=options.mapping,
        rows=lambda: table.rows,
        name=table.name,
    )


def csv_row(
    name: str, content: bytes, options: TicketOptions, number: int
) -> list[tuple[str, str]]:
    """Return the cells of a CSV's row, each with its column's name; [] where there is no such row.

    Raises:
        DocumentError: the table cannot be read with these options.

    """
    text, _ = clean_text(decode(name, content).text)
    table = _read_csv(name, text, options)
    for row, cells in table.rows:
        if row == number:
            return [(table.column_name(index), cell) for index, cell in enumerate(cells)]
    return []


def _read_csv(name: str, text: str, options: TicketOptions) -> Table:
    return read_csv(name, text, delimiter=options.delimiter, **_column_choice(name, options))


def _read_workbook(name: str, content: bytes, options: TicketOptions) -> Workbook:
    return read_workbook(name, content, sheet=options.sheet, **_column_choice(name, options))


def _column_choice(name: str, options: TicketOptions) -> dict[str, Any]:
    rules = options.mapping
    return {
        "title_column": rules.column_for(name, TITLE) or options.title_column,
        "body_column": rules.column_for(name, BODY) or options.body_column,
        "usual_titles": (*rules.columns_like(TITLE), *TITLE_COLUMNS),
        "usual_bodies": (*rules.columns_like(BODY), *BODY_COLUMNS),
        "max_rows": options.max_rows,
        "max_columns": options.max_columns,
    }


def _reading_notes(name: str, decoded: Decoded, replaced: int) -> list[str | Note]:
    notes: list[str | Note] = []
    if decoded.guessed:
        notes.append(
            f"{name}: read as {decoded.encoding} (a guess);"
            " if letters look wrong, save it as UTF-8 and try again"
        )
    if replaced:
        notes.append(f"{name}: control characters replaced by “{REPLACEMENT}”: {replaced:,}")
    return notes


# Documents of text


def _of_markdown(
    name: str, text: str, notes: list[str | Note], options: TicketOptions
) -> DocumentTickets:
    try:
        is_of_mdx = PurePath(name).suffix.lower() == ".mdx"
        read = read_markdown(text, options.split_level, is_of_mdx=is_of_mdx, **options.reading)
    except DocumentError as error:
        raise _located(error, name) from error
    if read.unresolved:
        notes.append(
            Note(
                f"{name}: relative links and pictures that became text: {read.unresolved:,}",
                ("base_url",),
            )
        )
    if read.has_broken_front_matter:
        notes.append(f"{name}: its front matter is no valid YAML or TOML; read line by line")
    values = read.front_matter
    fields, mapping = fields_of_front_matter(name, values, options.mapping)
    written = to_json(fields).decode() if fields else NO_FIELDS
    made = _of_sections(name, lambda: read.sections, notes, options, written)
    return replace(made, mappings=(mapping,) if values else ())


def _of_sections(
    name: str,
    read: Callable[[], list[Section]],
    notes: list[str | Note],
    options: TicketOptions,
    fields: str = NO_FIELDS,
) -> DocumentTickets:
    try:
        sections = read()
    except DocumentError as error:
        raise _located(error, name) from error
    if len(sections) > options.max_rows:
        raise DocumentError(
            f"{name} has more than {options.max_rows:,} headings to make tickets of",
            name=name,
            next_step="Split it at fewer headings, or raise the limit: SESSION_TASKS_MAX_ROWS.",
            options=["split_level"],
        )
    file_title = one_line(PurePath(name).stem) or one_line(name)
    parents = _parents_of(sections) if options.parent_type else {}
    eldest = set(parents.values())
    of_all = from_json(fields)
    of_parents = to_json(of_all | {"issuetype": options.parent_type}).decode()
    of_children = to_json({name: of_all[name] for name in of_all if name != "parent"}).decode()

    def fields_of(number: int) -> str:
        return of_children if number in parents else of_parents if number in eldest else fields

    tickets = (
        Ticket(
            one_line(section.title or "") or file_title,
            section.document,
            number,
            section.line,
            fields=fields_of(number),
            parent=parents.get(number),
        )
        for number, section in enumerate(sections, start=1)
    )
    made = partial(fitted, tickets, name, f"{name}, line", notes, options.fit)
    return DocumentTickets(notes, len(sections), lambda: _numbered(made(), {}, options))


def _parents_of(sections: Sequence[Section]) -> dict[int, int]:
    """Return the number of each section's parent: the last heading of the highest level before it.

    The highest level is the document's own, so that every family has two generations: an issue of
    one type cannot be the parent of another of that type.
    """
    levels = [section.level for section in sections if section.level is not None]
    parents: dict[int, int] = {}
    parent = None
    for number, section in enumerate(sections, start=1):
        if section.level == min(levels, default=0):
            parent = number
        elif section.level is not None and parent is not None:
            parents[number] = parent
    return parents


def _html_sections(html: str, options: TicketOptions) -> list[Section]:
    return split_html(html, options.split_level, **options.reading)


def _text_section(text: str, max_nodes: int) -> Section:
    """Return a plain text under its first line that says something, without its underline."""
    lines = text.splitlines()
    first = next((number for number, line in enumerate(lines) if one_line(line)), None)
    if first is None:
        return Section(None, 1, text_to_adf(text, max_nodes=max_nodes))
    rest = lines[first + 1 :]
    if rest and _UNDERLINE.fullmatch(rest[0].strip()):
        del rest[0]
    below = text_to_adf("\n".join([*lines[:first], *rest]), max_nodes=max_nodes)
    return Section(one_line(lines[first]), first + 1, below)


# Tables


def _table_notes(table: Table) -> list[str | Note]:
    if not table.longer_rows:
        return []
    note = (
        f"{table.name}: rows with more cells than the header: {table.longer_rows:,} (the first is"
        f" row {table.first_longer_row:,}); see “{table.column_name(len(table.header))}” and on"
    )
    return [note]


def _of_tables(
    name: str, tables: tuple[Table, ...], notes: list[str | Note], options: TicketOptions
) -> DocumentTickets:
    keys: dict[str, int] = {}
    readers = []
    before = 0
    for table in tables:
        if table.body is not None and options.mapping.frees_body(name, table.header[table.body]):
            table = replace(table, body=None)  # noqa: PLW2901 - the same table
        reader = body_reader(options.body_format, table.bodies(), **options.reading)
        if table.body is not None and (note := reader.note(table.header[table.body])):
            notes.append(Note(f"{table.name}: {note}", ("body_format",)))
        rows = partial(_rows, table, map_columns(name, table, options), reader, keys, before)
        readers.append((table, rows))
        before += table.row_count

    def make() -> Iterator[tuple[int, TicketDraft]]:
        for table, rows in readers:
            yield from fitted(rows(), name, f"{table.name}, row", notes, options.fit)

    return DocumentTickets(
        notes,
        before,
        lambda: _numbered(make(), keys, options),
        tuple(rows.args[1] for _, rows in readers),
        keys,
    )


def _rows(
    table: Table,
    mapping: ColumnMapping,
    reader: BodyReader,
    keys: dict[str, int],
    before: int,
) -> Iterator[Ticket]:
    tables = FieldTables(table, reader)
    for row_number, cells in table.rows:
        width = len(cells)
        title = one_line(cells[table.title]) if table.title < width else ""
        body = cells[table.body] if table.body is not None and table.body < width else ""
        row = mapping.row(row_number, cells)
        number = before + row_number
        keys.update(dict.fromkeys(row.keys, number))
        if row.parent_key:
            row.fields["parent"] = row.parent_key
        try:
            document = reader.to_adf(body)
        except DocumentError as error:
            raise _located(error, table.name, row_number) from error
        yield Ticket(
            title or _first_line(body) or f"Row {row_number} of {one_line(table.name)}",
            document,
            number,
            row_number,
            tables.of(cells, row.shown),
            to_json(row.fields).decode() if row.fields else NO_FIELDS,
            None if row.parent_row is None else before + row.parent_row,
        )


def _numbered(
    made: Iterator[tuple[int, TicketDraft]], keys: dict[str, int], options: TicketOptions
) -> Iterator[TicketDraft]:
    """Yield the drafts; parents and keys by their numbers among them.

    Each draft comes with its ticket's number before any was divided.
    """
    if options.too_long is not TooLong.SPLIT:
        for _number, draft in made:
            yield draft
        return
    drafts = list(made)
    numbers: dict[int, int] = {}
    for at, (number, _draft) in enumerate(drafts, start=1):
        numbers.setdefault(number, at)
    keys.update({key: numbers[number] for key, number in keys.items()})
    for _number, draft in drafts:
        yield draft if draft.parent is None else replace(draft, parent=numbers[draft.parent])


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
