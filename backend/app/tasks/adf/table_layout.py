"""Tables as rectangles: what HTML lets stand ragged or overlapping, Jira's editor repairs or drops.

Cells are placed as in HTML ("forming a table", WHATWG HTML 4.9.12): each in the next free column,
`rowspan` reaching down. Where a row ends early, one cell fills up the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

Node = dict[str, Any]

MOST_COLUMNS_SPANNED = 1_000
"""HTML's own limit of `colspan`."""

_SEPARATOR: Node = {"type": "text", "text": " | "}


def lay_out(rows: list[Node]) -> Node | None:
    """Return the rows as a table in which all fill the same columns; None where there is no cell.

    Cells give `colspan` and `rowspan` in their `attrs`; both are corrected in place.
    """
    rows = [row for row in rows if row["content"]] if not _has_rowspans(rows) else rows
    if not any(row["content"] for row in rows):
        return None
    widths = [len(row["content"]) for row in rows] if not _has_spans(rows) else _place(rows)
    width = max(widths)
    for row, filled in zip(rows, widths, strict=True):
        if filled < width:
            row["content"].append(_filler(width - filled))
    return {"type": "table", "content": rows}


def nested_tables_resolved(table: Node) -> list[Node] | None:
    """Return the blocks to put in the place of a table whose cells hold tables; None if none does.

    ADF has no table within a table. One of a single row or column only lays things out: its cells'
    blocks follow one another. Any other stays, and the tables in it become paragraphs.
    """
    cells = [cell for row in table["content"] for cell in row["content"]]
    holders = [cell for cell in cells if any(block["type"] == "table" for block in cell["content"])]
    if not holders:
        return None
    if len(table["content"]) == 1 or all(len(row["content"]) == 1 for row in table["content"]):
        return [block for cell in cells for block in cell["content"] if _says_something(block)]
    for cell in holders:
        cell["content"] = [
            lowered
            for block in cell["content"]
            for lowered in (_as_paragraphs(block) if block["type"] == "table" else [block])
        ]
    return [table]


def blocks_of_cell(blocks: Iterable[Node], *, is_in_expand: bool = False) -> Iterator[Node]:
    """Yield a document's blocks as a cell may hold them: no tables, and expands that are nested."""
    for block in blocks:
        if block["type"] == "table":
            yield from blocks_of_cell(_as_paragraphs(block), is_in_expand=is_in_expand)
        elif block["type"] not in {"expand", "nestedExpand"}:
            yield block
        elif is_in_expand:
            title = {"type": "text", "text": block["attrs"]["title"], "marks": [{"type": "strong"}]}
            yield {"type": "paragraph", "content": [title] if title["text"] else []}
            yield from blocks_of_cell(block["content"], is_in_expand=True)
        else:
            content = [*blocks_of_cell(block["content"], is_in_expand=True)]
            yield {**block, "type": "nestedExpand", "content": content}


def _has_spans(rows: list[Node]) -> bool:
    return any(
        "colspan" in cell["attrs"] or "rowspan" in cell["attrs"]
        for row in rows
        for cell in row["content"]
        if "attrs" in cell
    )


def _has_rowspans(rows: list[Node]) -> bool:
    return any("rowspan" in cell.get("attrs", ()) for row in rows for cell in row["content"])


def _place(rows: list[Node]) -> list[int]:
    """Correct spans that overlap or reach too far; return how many columns each row fills."""
    widths: list[int] = []
    reach: list[int] = []  # for each column, how many rows a cell from above still covers
    for index, row in enumerate(rows):
        rows_left = len(rows) - index
        below = [max(0, rest - 1) for rest in reach]
        column = 0
        for cell in row["content"]:
            while column < len(reach) and reach[column]:
                column += 1
            attributes = cell.get("attrs", {})
            wanted = min(attributes.get("colspan", 1), MOST_COLUMNS_SPANNED)
            columns = next(
                (n for n in range(1, wanted) if column + n < len(reach) and reach[column + n]),
                wanted,
            )
            height = min(attributes.get("rowspan", 1), rows_left)
            _set_spans(cell, columns, height)
            below.extend([0] * (column + columns - len(below)))
            below[column : column + columns] = [height - 1] * columns
            column += columns
        covered = max((at + 1 for at, rest in enumerate(reach) if rest), default=0)
        widths.append(max(column, covered))
        _fill_gaps(row, reach, column, covered)
        reach = below
    return widths


def _fill_gaps(row: Node, reach: list[int], column: int, covered: int) -> None:
    """Fill the columns that neither the row's cells nor those from above take."""
    gap = 0
    for at in range(column, covered):
        if not reach[at]:
            gap += 1
        elif gap:
            row["content"].append(_filler(gap))
            gap = 0


def _set_spans(cell: Node, columns: int, rows: int) -> None:
    attributes = {
        name: value for name, value in cell.get("attrs", {}).items() if not name.endswith("span")
    }
    if columns > 1:
        attributes["colspan"] = columns
    if rows > 1:
        attributes["rowspan"] = rows
    if attributes:
        cell["attrs"] = attributes
    else:
        cell.pop("attrs", None)


def _filler(columns: int) -> Node:
    cell: Node = {"type": "tableCell", "content": [{"type": "paragraph", "content": []}]}
    return {**cell, "attrs": {"colspan": columns}} if columns > 1 else cell


def _says_something(block: Node) -> bool:
    return block["type"] != "paragraph" or bool(block["content"])


def _as_paragraphs(table: Node) -> list[Node]:
    """Return a paragraph for each row of texts; the blocks of the cells of any other row."""
    blocks: list[Node] = []
    for row in table["content"]:
        cells = [list(filter(_says_something, cell["content"])) for cell in row["content"]]
        if any(block["type"] != "paragraph" for cell in cells for block in cell):
            blocks += [block for cell in cells for block in cell]
            continue
        line: list[Node] = []
        for paragraph in [block for cell in cells for block in cell]:
            line += [_SEPARATOR, *paragraph["content"]] if line else paragraph["content"]
        blocks.append({"type": "paragraph", "content": line})
    return blocks
