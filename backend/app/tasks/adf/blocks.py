"""Markdown's blocks as ADF, with what ADF's schema does not let in lowered, never dropped.

What may stand where (Atlassian's schema, version in `schema/provenance.json`), and what becomes
of the rest:

=====================  ======  ==========  =========
block                  doc     blockquote  listItem
=====================  ======  ==========  =========
paragraph, code block  yes     yes         yes
bullet, ordered list   yes     yes         yes
task list              yes     bullets     yes
heading                yes     bold paragraph
rule                   yes     a paragraph of dashes
quote                  yes     its blocks, in place
table                  yes     a paragraph for each row
=====================  ======  ==========  =========

Cells hold paragraphs only, as Markdown's do.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from markdown_it.common.utils import unescapeAll

from app.tasks.adf.inlines import inline_nodes, strengthen

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from markdown_it.token import Token

    from app.tasks.adf.footnotes import SectionFootnotes

    Node = dict[str, Any]

_TASK_STATES = {"[ ]": "TODO", "[x]": "DONE", "[X]": "DONE"}
_TASK_MARKER_LENGTH = 3
_RULE_AS_TEXT = "———"
_CELL_SEPARATOR: Node = {"type": "text", "text": " | "}


class _Parent(Enum):
    """The ADF node that blocks go into."""

    DOCUMENT = "doc"
    QUOTE = "blockquote"
    ITEM = "listItem"


@dataclass(slots=True)
class _Container:
    """A container that is open: the node its blocks go into, and those blocks."""

    parent: _Parent
    blocks: list[Node]
    owns_blocks: bool = True
    """False for a quote that is lowered: its blocks go where the quote would stand."""
    check_box: str = ""
    """The marker of a task list's item, as written; empty for any other container."""


@dataclass(slots=True)
class _List:
    """A list that is open: its first number, if it has numbers, and its items."""

    start: int | None
    items: list[_Container] = field(default_factory=list)


class BlockBuilder:
    """Builds the ADF of one section from flat lists of block tokens.

    Args:
        environment: what `parse_blocks` found in the whole document.
        footnotes: numbers this section's footnotes and remembers those defined in it.

    """

    __slots__ = ("_at", "_environment", "_footnotes", "_lists", "_outer", "_task_count")

    def __init__(self, environment: dict[str, Any], footnotes: SectionFootnotes) -> None:
        self._environment = environment
        self._footnotes = footnotes
        self._at = _Container(_Parent.DOCUMENT, [])
        self._outer: list[_Container] = []
        self._lists: list[_List] = []
        self._task_count = 0

    @property
    def document(self) -> Node:
        """The ADF document of what was built so far."""
        return {"type": "doc", "version": 1, "content": self._at.blocks}

    def add_all(self, tokens: Sequence[Token]) -> None:
        """Build the blocks of `tokens`, in which every container that opens also closes."""
        index, count = 0, len(tokens)
        while index < count:
            token = tokens[index]
            kind = token.type
            index += 1
            if kind == "paragraph_open":
                self._add_paragraph(tokens[index].content)
                index += 2
            elif kind == "list_item_open":
                self._open(_Container(_Parent.ITEM, []))
            elif kind == "list_item_close":
                self._lists[-1].items.append(self._close())
            elif kind == "bullet_list_open":
                self._lists.append(_List(None))
            elif kind == "ordered_list_open":
                self._lists.append(_List(int(token.attrs.get("start", 1))))
            elif kind in ("bullet_list_close", "ordered_list_close"):
                self._add_list(self._lists.pop())
            elif kind == "heading_open":
                self._add_heading(int(token.tag[1]), tokens[index].content)
                index += 2
            elif kind == "table_open":
                index = self._add_table(tokens, index)
            else:
                self._add_other(kind, token)

    def add_footnotes(self, definitions: Iterable[Sequence[Token]]) -> None:
        """Add the footnotes below a rule, numbered from 1, where there are any.

        `definitions` may grow while it is read: footnotes refer to footnotes.
        """
        footnotes = _List(1)
        for tokens in definitions:
            self._open(_Container(_Parent.ITEM, []))
            self.add_all(tokens)
            footnotes.items.append(self._close())
        if footnotes.items:
            self._add_rule()
            self._add_list(footnotes)

    def _add_other(self, kind: str, token: Token) -> None:
        if kind == "fence":
            self._add_fence(token)
        elif kind == "code_block":
            self._add_code(token.content, "")
        elif kind == "html_block":
            self._add_code(token.content, "html")
        elif kind == "blockquote_open":
            self._open_quote()
        elif kind == "blockquote_close":
            self._close_quote()
        elif kind == "hr":
            self._add_rule()
        elif kind == "footnote_definition":
            self._footnotes.defined_here.append(token.meta["definition"])
        else:
            raise AssertionError(f"no rule makes {kind!r}")

    # Containers

    def _open(self, container: _Container) -> None:
        self._outer.append(self._at)
        self._at = container

    def _close(self) -> _Container:
        closed = self._at
        self._at = self._outer.pop()
        return closed

    def _open_quote(self) -> None:
        if self._at.parent is _Parent.DOCUMENT:
            self._open(_Container(_Parent.QUOTE, []))
        else:
            self._open(_Container(self._at.parent, self._at.blocks, owns_blocks=False))

    def _close_quote(self) -> None:
        quote = self._close()
        if quote.owns_blocks:
            self._add("blockquote", quote.blocks or [_paragraph([])])

    def _add_list(self, closed: _List) -> None:
        if (
            closed.start is None
            and self._at.parent is not _Parent.QUOTE
            and all(_is_task(item) for item in closed.items)
        ):
            self._add_task_list(closed.items)
            return
        items = [{"type": "listItem", "content": _item_blocks(item)} for item in closed.items]
        if closed.start is None:
            self._add("bulletList", items)
        elif closed.start == 1:
            self._add("orderedList", items)
        else:
            self._add("orderedList", items, {"order": closed.start})

    def _add_task_list(self, items: list[_Container]) -> None:
        content: list[Node] = []
        for item in items:
            paragraph, *nested = item.blocks
            attributes = {"localId": self._next_local_id(), "state": _TASK_STATES[item.check_box]}
            content.append(
                {"type": "taskItem", "attrs": attributes, "content": paragraph["content"]}
            )
            content.extend(nested)
        self._add("taskList", content, {"localId": self._next_local_id()})

    def _next_local_id(self) -> str:
        """Give an id that is the only one in its document and the same in every run."""
        self._task_count += 1
        return f"task-{self._task_count}"

    # Blocks that hold no blocks

    def _add(self, kind: str, content: list[Node], attributes: Node | None = None) -> None:
        node: Node = {"type": kind, "content": content}
        if attributes:
            node["attrs"] = attributes
        self._at.blocks.append(node)

    def _inline(self, content: str) -> list[Node]:
        return inline_nodes(content, self._environment, self._footnotes.number_of)

    def _add_paragraph(self, content: str) -> None:
        at = self._at
        if at.parent is _Parent.ITEM and not at.blocks and at.owns_blocks:
            marker = content[:_TASK_MARKER_LENGTH]
            rest = content[_TASK_MARKER_LENGTH:]
            if marker in _TASK_STATES and rest.startswith((" ", "\t")):
                at.check_box = marker
                content = rest.lstrip(" \t")
        at.blocks.append(_paragraph(self._inline(content)))

    def _add_heading(self, level: int, content: str) -> None:
        if self._at.parent is _Parent.DOCUMENT:
            self._add("heading", self._inline(content), {"level": level})
        else:
            self._at.blocks.append(_paragraph(strengthen(self._inline(content))))

    def _add_rule(self) -> None:
        if self._at.parent is _Parent.DOCUMENT:
            self._at.blocks.append({"type": "rule"})
        else:
            self._at.blocks.append(_paragraph([_text(_RULE_AS_TEXT)]))

    def _add_fence(self, token: Token) -> None:
        language, *rest = unescapeAll(token.info).split(maxsplit=1) or ("",)
        if rest:
            # A title or line numbers, say: ADF's code block has no place for them.
            self._at.blocks.append(_paragraph([_text(rest[0].strip())]))
        self._add_code(token.content, language)

    def _add_code(self, code: str, language: str) -> None:
        text = code.removesuffix("\n")
        self._add(
            "codeBlock", [_text(text)] if text else [], {"language": language} if language else None
        )

    def _add_table(self, tokens: Sequence[Token], index: int) -> int:
        """Add the table whose rows start at `index`, and give the index behind it."""
        rows: list[list[tuple[str, list[Node]]]] = []
        while (kind := tokens[index].type) != "table_close":
            if kind == "tr_open":
                rows.append([])
            elif kind == "inline":
                cell = "tableHeader" if tokens[index - 1].type == "th_open" else "tableCell"
                rows[-1].append((cell, self._inline(tokens[index].content)))
            index += 1
        if self._at.parent is _Parent.DOCUMENT:
            self._add("table", [_table_row(row) for row in rows])
        else:
            self._at.blocks.extend(_row_as_paragraph(row) for row in rows)
        return index + 1


def _text(text: str) -> Node:
    return {"type": "text", "text": text}


def _paragraph(content: list[Node]) -> Node:
    return {"type": "paragraph", "content": content}


def _table_row(row: list[tuple[str, list[Node]]]) -> Node:
    cells = [{"type": kind, "content": [_paragraph(content)]} for kind, content in row]
    return {"type": "tableRow", "content": cells}


def _row_as_paragraph(row: list[tuple[str, list[Node]]]) -> Node:
    content: list[Node] = []
    for index, (kind, nodes) in enumerate(row):
        if index:
            content.append(_CELL_SEPARATOR)
        content.extend(strengthen(nodes) if kind == "tableHeader" else nodes)
    return _paragraph(content)


def _is_task(item: _Container) -> bool:
    """Whether a task list can hold the item: one line of text, and task lists below it."""
    return bool(item.check_box) and all(block["type"] == "taskList" for block in item.blocks[1:])


def _item_blocks(item: _Container) -> list[Node]:
    """Give the blocks of a list's item, with what a check box said as text before the first."""
    blocks = item.blocks
    if item.check_box:
        first = blocks[0]
        return [_paragraph([_text(f"{item.check_box} "), *first["content"]]), *blocks[1:]]
    if not blocks or blocks[0]["type"].endswith("List"):
        # Jira's editor starts an item with a paragraph or code; older schemas demand it.
        return [_paragraph([]), *blocks]
    return blocks
