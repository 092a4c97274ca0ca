"""Workbooks (.xlsx, .ods): each sheet a table, by `python-calamine`."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from app.core.errors import DocumentError
from app.tasks.documents.column_names import BODY_COLUMNS, TITLE_COLUMNS
from app.tasks.documents.csv_table import Table, table_of
from app.tasks.documents.delimiter import has_content
from app.tasks.documents.office import require
from app.tasks.documents.sheet_links import SheetLinks, with_links
from app.tasks.documents.sheet_size import measure_sheets
from app.values.results import Note

if TYPE_CHECKING:
    from python_calamine import CalamineSheet


@dataclass(frozen=True, slots=True)
class Workbook:
    """The tables of a workbook.

    Attributes:
        tables: one a sheet that has titles, in order, at least one.
        notes: for people: what was left out, merged headers, what is hidden.

    """

    tables: tuple[Table, ...]
    notes: tuple[str | Note, ...]


def read_workbook(  # noqa: PLR0913 - the options of a workbook are these
    name: str,
    content: bytes,
    *,
    sheet: str | None,
    title_column: str | None,
    body_column: str | None,
    usual_titles: tuple[str, ...] = TITLE_COLUMNS,
    usual_bodies: tuple[str, ...] = BODY_COLUMNS,
    max_rows: int,
    max_columns: int,
) -> Workbook:
    """Return the tables of the workbook: of the sheet named, or of all that have titles.

    Dates are ISO 8601, whole numbers have no decimals, formulas are what they came to.

    Raises:
        ConfigurationError: the extra `[office]` is not installed.
        DocumentError: no such sheet, or none with titles; more rows or columns than allowed; a
            password, a macro, a workbook that unpacks to too much.

    """
    require("python_calamine")
    import python_calamine  # noqa: PLC0415 - an extra

    links, comments = measure_sheets(name, content, max_rows=max_rows, max_columns=max_columns)
    try:
        workbook = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(content))
        names = [
            one.name
            for one in workbook.sheets_metadata
            if one.visible == python_calamine.SheetVisibleEnum.Visible
        ]
        if sheet is not None and sheet not in workbook.sheet_names:
            raise DocumentError(
                f"{name} has no sheet “{sheet}”; its sheets are {_listed(workbook.sheet_names)}",
                name=name,
                next_step="Name one of these sheets.",
                options=["sheet"],
            )
        chosen = [sheet] if sheet is not None else names
        sheets = [(one, workbook.get_sheet_by_name(one)) for one in chosen]
        read = [(one, _rows(found, links.get(one)), _merged_header(found)) for one, found in sheets]
    except (python_calamine.CalamineError, OSError, ValueError) as error:
        raise DocumentError(
            f"{name} cannot be read as a workbook: {error}",
            name=name,
            next_step="Save it again, or save its sheets as CSV.",
        ) from error
    made = _tables(
        name,
        read,
        title_column=title_column,
        body_column=body_column,
        usual_titles=usual_titles,
        usual_bodies=usual_bodies,
    )
    said = [links[one] for one, _ in sheets if one in links]
    counts = (
        ("links that are left out, as formulas compute them", sum(one.unread for one in said)),
        ("comments on cells, which are left out", comments),
        ("cells that show the error of a formula", sum(one.errors for one in said)),
        ("hidden rows, which are read, too", sum(one.hidden_rows for one in said)),
        ("hidden columns, which are read, too", sum(len(one.hidden_columns) for one in said)),
    )
    notes: list[str | Note] = [f"{name}: {what}: {count:,}" for what, count in counts if count]
    if sheet is None and (hidden := [one for one in workbook.sheet_names if one not in names]):
        notes.append(Note(f"{name}: hidden sheets are left out: {_listed(hidden)}", ("sheet",)))
    return Workbook(made.tables, (*made.notes, *notes))


def _tables(
    name: str,
    sheets: list[tuple[str, list[list[str]], bool]],
    **columns: Any,
) -> Workbook:
    tables: list[Table] = []
    notes: list[str] = []
    problems: list[DocumentError] = []
    filled = [(one, rows, merged) for one, rows, merged in sheets if rows]
    for one, rows, is_merged in filled:
        label = f"{name}, sheet “{one}”" if len(filled) > 1 else name
        try:
            table = table_of(
                label,
                rows[0],
                lambda rows=rows: iter(rows),  # type: ignore[misc] # bound now
                row_count=len(rows) - 1,
                **columns,
            )
        except DocumentError as error:
            problems.append(error)
            notes.append(f"{error.message}: left out")
            continue
        tables.append(table)
        if is_merged:
            notes.append(
                f"{label}: its header has merged cells, which name only their first column"
            )
    if not tables:
        if problems:
            raise problems[0]
        raise DocumentError(
            f"{name} is empty: no visible sheet has anything in it",
            name=name,
            next_step="Leave it out, or name the sheet that is meant.",
            options=["sheet"],
        )
    return Workbook(tuple(tables), tuple(notes))


_Range = tuple[tuple[int, int], tuple[int, int]]


def _rows(sheet: CalamineSheet, links: SheetLinks | None) -> list[list[str]]:
    rows: Iterable[list[str]] = ([_text(value) for value in row] for row in sheet.iter_rows())
    if sheet.start and (tall := [one for one in sheet.merged_cell_ranges or () if _is_tall(one)]):
        rows = whole = list(rows)
        _fill_merged(whole, tall, sheet.start[1])
    if links is not None and (links.addresses or links.texts) and sheet.start:
        rows = whole = list(rows)
        with_links(whole, links, 1, sheet.start[1] + 1)
    return [row for row in rows if has_content(row)]


def _is_tall(merged: _Range) -> bool:
    return merged[0][0] < merged[1][0]


def _fill_merged(rows: list[list[str]], ranges: list[_Range], left: int) -> None:
    """Give each row what a cell says that is merged with those below it."""
    most = sum(map(len, rows))
    for (first, column), (last, _) in ranges:
        at = column - left
        for row in rows[first + 1 : last + 1]:
            if 0 <= at < len(row) and not row[at] and has_content(row):
                row[at] = rows[first][at]
        most -= last - first
        if most < 0:
            return  # they overlap, as no program writes them


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(float(f"{value:.15g}"))
    if isinstance(value, datetime):
        is_day = value.time() == time()
        return value.date().isoformat() if is_day else value.isoformat(" ", "seconds")
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return str(value)
    return str(value)


def _merged_header(sheet: CalamineSheet) -> bool:
    """Whether cells of the first row that has something in it are merged across columns."""
    ranges = sheet.merged_cell_ranges or ()
    first = sheet.start[0] if sheet.start else 0
    return any(start[0] <= first <= end[0] and end[1] > start[1] for start, end in ranges)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"“{one}”" for one in names[:30])
