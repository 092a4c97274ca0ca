"""Whether the rows of a table fill the same columns, `colspan` and `rowspan` counted.

Atlassian's schema checks rows and cells one by one, so it lets through tables that are no
rectangles; its editor then repairs or drops what it cannot lay out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from app.tasks.adf.violation import Step, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

MAXIMUM_SPANNED_COLUMNS = 1_000
"""Tables with spans are not laid out beyond this width, so that no `colspan` eats the memory."""

Flaw: TypeAlias = tuple[tuple[Step, ...], str]
"""Steps from the table to what is wrong, and the reason."""


def find_flaws(table: dict[str, Any]) -> Iterator[Flaw]:
    """Yield what keeps the table from being a rectangle of cells.

    Yields nothing for what is not built of rows and cells at all: that is the schema's to say.
    """
    rows = _cells_by_row(table)
    if rows is None:
        return
    bad_spans = list(_bad_spans(rows))
    if bad_spans:
        yield from bad_spans
        return
    flaws: list[Flaw] = []
    filled = _fill(rows, flaws) if _has_spans(rows) else [len(cells) for cells in rows]
    yield from flaws
    if len(filled) < len(rows):
        return
    width = max(filled, default=0)
    if width == 0:
        yield (), "the table has no cells: add some, or remove the table."
    for index, columns in enumerate(filled):
        if columns != width:
            reason = (
                f"row {index + 1} of the table fills {columns} of {width} columns: "
                "add or remove cells, or correct 'colspan' and 'rowspan'."
            )
            yield ("content", index), reason


def _fill(rows: list[list[dict[str, Any]]], flaws: list[Flaw]) -> list[int]:
    """Return how many columns each row fills, cells that reach down from rows above included."""
    filled: list[int] = []
    covered: list[int] = []  # for each column, how many rows a cell from above still reaches down
    for row_index, cells in enumerate(rows):
        covered_below = [max(0, rows_left - 1) for rows_left in covered]
        count = sum(1 for rows_left in covered if rows_left)
        column = 0
        for cell_index, cell in enumerate(cells):
            steps = ("content", row_index, "content", cell_index)
            while column < len(covered) and covered[column]:
                column += 1
            columns, reach = _span(cell, "colspan"), _span(cell, "rowspan")
            if column + columns > MAXIMUM_SPANNED_COLUMNS:
                reason = f"the table is wider than {MAXIMUM_SPANNED_COLUMNS} columns: divide it."
                flaws.append((steps, reason))
                return filled
            if reach > len(rows) - row_index:
                reason = f"'rowspan' is {reach}, which reaches below the table: lower it."
                flaws.append(((*steps, "attrs", "rowspan"), reason))
            if any(covered[column : column + columns]):
                flaws.append((steps, "the cell overlaps one from a row above: correct the spans."))
            covered_below.extend([0] * (column + columns - len(covered_below)))
            for taken in range(column, column + columns):
                covered_below[taken] = max(covered_below[taken], reach - 1)
            count += columns
            column += columns
        filled.append(count)
        covered = covered_below
    return filled


def _bad_spans(rows: list[list[dict[str, Any]]]) -> Iterator[Flaw]:
    for row_index, cells in enumerate(rows):
        for cell_index, cell in enumerate(cells):
            for name in ("colspan", "rowspan"):
                span = _span(cell, name)
                if type(span) is not int or span < 1:
                    steps = ("content", row_index, "content", cell_index, "attrs", name)
                    yield steps, f"{name!r} is {quoted(span)}: make it a whole number from 1 up."


def _has_spans(rows: list[list[dict[str, Any]]]) -> bool:
    return any(
        _span(cell, "colspan") != 1 or _span(cell, "rowspan") != 1
        for cells in rows
        for cell in cells
        if "attrs" in cell
    )


def _span(cell: dict[str, Any], name: str) -> Any:
    attributes = cell.get("attrs")
    return attributes.get(name, 1) if isinstance(attributes, dict) else 1


def _cells_by_row(table: dict[str, Any]) -> list[list[dict[str, Any]]] | None:
    rows = table.get("content")
    if not isinstance(rows, list) or not rows:
        return None
    cells_by_row = [row.get("content") if isinstance(row, dict) else None for row in rows]
    for cells in cells_by_row:
        if not isinstance(cells, list) or not all(isinstance(cell, dict) for cell in cells):
            return None
    return cells_by_row  # type: ignore[return-value] # each was just looked at
