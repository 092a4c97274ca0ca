"""The ADF table below a ticket's description: what else the CSV says about it."""

from __future__ import annotations

import re
from json.encoder import encode_basestring as as_json_string
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from app.tasks.adf.addresses import AddressResolver
from app.tasks.adf.plain_text import linked_text
from app.tasks.documents.json_values import list_of_json

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

    from app.tasks.documents.body_format import BodyReader
    from app.tasks.documents.csv_table import Table

_LINE_END = re.compile(r"\r\n|\r|\n")
_OF_JIRA = re.compile(r"(\d[^;\n]{0,30}\d:\d\d[^;\n]{0,20});([^;\n]*);(.*\S)", re.DOTALL)
"""A comment, or an attachment with its address, in an export of Jira: time;author;content."""

Node = dict[str, Any]


_EVERY = range(10**9)
_HARD_BREAK = '{"type":"hardBreak"}'


class FieldTables:
    """Makes each row's table of the columns that are neither title nor body, as ADF in JSON text.

    Two columns, “Field” and “Value”; filled cells only; columns of one name share a field, each
    value a paragraph of its own, or what its markup says. It is written as text at once: as nodes
    and then through `json`, it took three times as long, and more than all the rest of reading a
    CSV.
    """

    def __init__(self, table: Table, reader: BodyReader) -> None:
        self._table = table
        self._reader = reader
        self._markup_count = 0
        indices_by_name: dict[str, list[int]] = {}
        for index, name in enumerate(table.header):
            if index not in (table.title, table.body):
                indices_by_name.setdefault(name, []).append(index)
        self._fields = [
            (_cell("tableCell", [_paragraph(name)]), indices)
            for name, indices in indices_by_name.items()
        ]
        self._head = _row(
            *(_cell("tableHeader", [_paragraph(name)]) for name in ("Field", "Value"))
        )

    def of(self, cells: Sequence[str], shown: Container[int] = _EVERY) -> str:
        """Give the row's table of these columns, or "" where there is nothing to tell."""
        rows = [self._head]
        width = len(cells)
        for label, indices in self._fields:
            values = [
                value
                for index in indices
                if index < width and index in shown and (value := cells[index].strip())
            ]
            if values:
                rows.append(_row(label, self._cell(values)))
        for index in range(len(self._table.header), width):
            if index in shown and (value := cells[index].strip()):
                label = _cell("tableCell", [_paragraph(self._table.column_name(index))])
                rows.append(_row(label, self._cell([value])))
        if len(rows) == 1:
            return ""
        return f'{{"type":"table","content":[{",".join(rows)}]}}'

    def _cell(self, values: Sequence[str]) -> str:
        return _cell("tableCell", [block for value in values for block in self._blocks(value)])

    def _blocks(self, value: str) -> list[str]:
        if ";" in value and (of_jira := _OF_JIRA.fullmatch(value)) is not None:
            return self._comment_or_attachment(*of_jira.groups())
        if value[0] in "[{" and (listed := list_of_json(value)) is not None:
            return self._written([listed])
        blocks = self._reader.to_cell(value)
        return self._written(blocks) if blocks else [_paragraph(value)]

    def _comment_or_attachment(self, time: str, author: str, content: str) -> list[str]:
        """Give an attachment as a link with its name, a comment below its author."""
        by = ", ".join(filter(None, (author.strip(), time)))
        name, _, address = content.rpartition(";")
        if name.strip() and (target := AddressResolver(None).resolve_picture(address)):
            link = f'[{{"type":"link","attrs":{{"href":{as_json_string(target)}}}}}]'
            return [_in_paragraph(f"{_text(name, link)},{_text(f' ({by})')}")]
        head = _text(f"{by}:", '[{"type":"strong"}]')
        if blocks := self._reader.to_cell(content, is_of_jira=True):
            return [_in_paragraph(head), *self._written(blocks)]
        return [_in_paragraph(f"{head},{_HARD_BREAK},{_lines(content)}")]

    def _written(self, blocks: Iterable[Node]) -> list[str]:
        """Give the blocks as JSON text, their tasks under names that no other value's have."""
        self._markup_count += 1
        name = f'"localId":"{self._markup_count}-'
        return [to_json(block).decode().replace('"localId":"', name) for block in blocks]


def _row(label: str, value: str) -> str:
    return f'{{"type":"tableRow","content":[{label},{value}]}}'


def _cell(kind: str, blocks: Iterable[str]) -> str:
    return f'{{"type":"{kind}","content":[{",".join(blocks)}]}}'


def _paragraph(value: str) -> str:
    """Give a paragraph, line ends as hard breaks; no text node is ever empty."""
    inline = _lines(value) if "\n" in value or "\r" in value else _line(value)
    return _in_paragraph(inline)


def _in_paragraph(inline: str) -> str:
    return f'{{"type":"paragraph","content":[{inline}]}}'


def _line(line: str) -> str:
    """Give a text whose addresses are links."""
    if "://" not in line and "@" not in line and "www." not in line:
        return _text(line)
    return ",".join(
        _text(node["text"], to_json(node["marks"]).decode() if "marks" in node else "")
        for node in linked_text(line, AddressResolver(None))
    )


def _lines(value: str) -> str:
    nodes: list[str] = []
    for line in _LINE_END.split(value):
        if nodes:
            nodes.append(_HARD_BREAK)
        if line:
            nodes.append(_line(line))
    return ",".join(nodes)


def _text(line: str, marks: str = "") -> str:
    marked = f',"marks":{marks}' if marks else ""
    return f'{{"type":"text","text":{as_json_string(line)}{marked}}}'
