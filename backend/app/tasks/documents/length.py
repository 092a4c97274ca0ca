"""Descriptions that are longer than Jira takes: divided among tickets, or cut.

Length is counted as `adf.jira_rules` counts it: the text in UTF-16 code units, and 4 for each node
and mark.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

Node = dict[str, Any]

_STRUCTURE = 4
_LEAST_ROOM = 200
_EMPTY: Node = {"type": "paragraph", "content": []}
_RESERVE = 1_000
"""Kept free for what says that a description goes on elsewhere."""


def length_of(node: Node) -> int:
    """Return how much of Jira's limit a node takes, with all that is in it."""
    length = 0
    waiting: list[Any] = [node]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            length += _STRUCTURE if "type" in value else 0
            waiting += [item for key, item in value.items() if key not in {"type", "localId"}]
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str):
            length += len(value) if value.isascii() else len(value.encode("utf-16-le")) // 2
    return length


def divided(blocks: list[Node], limit: int) -> list[list[Node]]:
    """Return the blocks in as few parts as keep within `limit`, in order.

    A block that is too long itself is divided: lists between items, tables between rows (each part
    has the header row), code between lines, texts between words.
    """
    room = limit - _RESERVE
    parts: list[list[Node]] = [[]]
    taken = 0
    for block in blocks:
        for piece in _pieces(block, room):
            size = length_of(piece)
            if taken + size > room and parts[-1]:
                parts.append([])
                taken = 0
            parts[-1].append(piece)
            taken += size
    return parts


def cut(blocks: list[Node], limit: int, last_line: str) -> list[Node]:
    """Return as much of the blocks as fits, and below it a last line that says so."""
    return [*divided(blocks, limit)[0], paragraph(last_line)]


def paragraph(text: str) -> Node:
    """Return a paragraph of ADF."""
    return {"type": "paragraph", "content": [{"type": "text", "text": text}]}


def _pieces(block: Node, room: int) -> Iterator[Node]:
    if length_of(block) <= room:
        yield block
        return
    if block["type"] == "text":
        yield from _texts(block, room)
        return
    if block["type"] == "tableRow":
        yield from _rows(block, room)
        return
    if block["type"] == "table":
        block = {**block, "content": _without_row_spans(block["content"])}
    content = block.get("content", [])
    repeated = content[:1] if _has_header(block) else []
    own = length_of({**block, "content": repeated})
    group: list[Node] = list(repeated)
    taken = own
    order = block.get("attrs", {}).get("order", 1)
    for child in content[len(repeated) :]:
        for piece in _pieces(child, max(room - own, _LEAST_ROOM)):
            size = length_of(piece)
            if taken + size > room and len(group) > len(repeated):
                yield _with(block, group, order)
                order += len(group)
                group, taken = list(repeated), own
            group.append(piece)
            taken += size
    yield _with(block, group, order)


def _rows(row: Node, room: int) -> Iterator[Node]:
    """Divide a row: each part has all its columns, and goes on with the cells that are too long."""
    sizes = [length_of(cell) for cell in row["content"]]
    share = max(room // len(sizes), _LEAST_ROOM)
    large = [size for size in sizes if size > share]
    room -= sum(sizes) - sum(large) + _STRUCTURE * (1 + 2 * len(sizes))
    share = max(room // len(large), _LEAST_ROOM) if large else share
    cells = [list(_pieces(cell, share)) for cell in row["content"]]
    for index in range(max(map(len, cells))):
        content = [
            pieces[index] if index < len(pieces) else {**pieces[0], "content": [_EMPTY]}
            for pieces in cells
        ]
        yield {**row, "content": content}


def _without_row_spans(rows: list[Node]) -> list[Node]:
    """Return the rows with empty cells in place of those that reach down from a row above."""
    above: dict[int, tuple[int, Node]] = {}
    alone: list[Node] = []
    for row in rows:
        below: dict[int, tuple[int, Node]] = {}
        cells: list[Node] = []
        column = 0
        waiting = iter(row["content"])
        while True:
            if column in above:
                reach, cell = above[column]
            elif (own := next(waiting, None)) is not None:
                attributes = dict(own.get("attrs", {}))
                reach = attributes.pop("rowspan", 1)
                cell = {name: value for name, value in own.items() if name != "attrs"}
                cell |= {"attrs": attributes} if attributes else {}
            else:
                break
            cells.append(cell)
            if reach > 1:
                below[column] = reach - 1, {**cell, "content": [_EMPTY]}
            column += cell.get("attrs", {}).get("colspan", 1)
        above = below
        alone.append({**row, "content": cells})
    return alone


def _with(block: Node, content: list[Node], order: int) -> Node:
    attributes = block.get("attrs")
    if block["type"] == "orderedList":
        attributes = {"order": order} if order != 1 else None
    piece = {**block, "content": content}
    piece.pop("attrs", None)
    return {**piece, "attrs": attributes} if attributes else piece


def _has_header(block: Node) -> bool:
    rows = block.get("content", [])
    return block["type"] == "table" and all(
        cell["type"] == "tableHeader" for cell in rows[0].get("content", [])
    )


def _texts(node: Node, room: int) -> Iterator[Node]:
    """Divide a text at line ends, else at blanks, else anywhere."""
    text, size = node["text"], max((room - 100) // 2, 100)  # a character is two units at most
    while text:
        end = len(text)
        if end > size:
            found = max(text.rfind("\n", 1, size), text.rfind(" ", 1, size))
            end = found + 1 if found > 0 else size
        yield {**node, "text": text[:end]}
        text = text[end:]


def longest_section(blocks: list[Node], text_of: Callable[[Node], str]) -> tuple[str, int, int]:
    """Return the heading of the longest section, its length, and the level of its heading."""
    best = ("", 0, 0)
    heading, level, length = "", 0, 0
    for block in [*blocks, {"type": "heading", "attrs": {"level": 1}, "content": []}]:
        if block["type"] == "heading":
            if length > best[1]:
                best = (heading, length, level)
            heading, level, length = text_of(block), int(block["attrs"]["level"]), 0
        length += length_of(block)
    return best


def fitting_split_level(blocks: list[Node], limit: int) -> int | None:
    """Return the smallest `split_level` by which every section fits; None: there is none."""
    for level in (1, 2, 3):
        lengths = [0]
        for block in blocks:
            if block["type"] == "heading" and block["attrs"]["level"] <= level:
                lengths.append(0)
            lengths[-1] += length_of(block)
        if len(lengths) > 1 and max(lengths) <= limit:
            return level
    return None
