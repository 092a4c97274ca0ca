"""A document that was read, as one ADF document or as one for each heading."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from app.tasks.adf.block_tree import BlockTree
from app.tasks.adf.document_builder import DocumentBuilder, Footnotes, Heading

Node = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a document that becomes one ticket.

    Attributes:
        title: the heading's text on one line, or None where the part has no heading with text.
        line: where the heading stands (the first line is 1), or 1.
        document: the ADF document of what stands below the heading.
        level: the heading's level, where the part begins with one that divides the document.

    """

    title: str | None
    line: int
    document: Node
    level: int | None = None


@dataclass(frozen=True, slots=True)
class _Part:
    title: str | None
    line: int
    start: int
    end: int
    blocks: list[Node]
    level: int | None = None


def whole_document(builder: DocumentBuilder) -> Node:
    """Return all that was read, as one document."""
    blocks = builder.blocks
    part = _Part(None, 1, 0, len(blocks) + 1, blocks)
    return _with_footnotes([part], builder)[0]


def make_sections(
    builder: DocumentBuilder, level: int | None, *, title: str, line_of: Callable[[Heading], int]
) -> list[Section]:
    """Return the document as one section (`level` None), or one for each heading up to `level`.

    Args:
        builder: what was read.
        level: 1 to 6, or None.
        title: the document's own title, from its front matter; empty where it has none.
        line_of: the line of a heading in the source.

    """
    blocks = builder.blocks
    if level is None:
        parts = [_whole_part(builder, title, line_of)]
    else:
        cuts = [heading for heading in builder.headings if heading.level <= level]
        end = cuts[0].index if cuts else len(blocks) + 1
        parts = [_Part(title or None, 1, 0, end, blocks[:end])]
        ends = [*(heading.index for heading in cuts[1:]), len(blocks) + 1]
        for heading, end in zip(cuts, ends, strict=False):
            body = [*heading.extras, *blocks[heading.index + 1 : end]]
            place = (line_of(heading), heading.index, end)
            parts.append(_Part(heading.title or None, *place, body, heading.level))
    documents = _with_footnotes(parts, builder)
    sections = [
        Section(part.title, part.line, document, part.level)
        for part, document in zip(parts, documents, strict=True)
    ]
    return [one for one in sections if one.document["content"] or _has_own_title(one, title)] or (
        sections[:1]
    )


def _has_own_title(section: Section, title: str) -> bool:
    return section.title is not None and section.title != title


def _whole_part(builder: DocumentBuilder, title: str, line_of: Callable[[Heading], int]) -> _Part:
    """Return the document under its own title, or under its first heading that has text."""
    blocks = builder.blocks
    end = len(blocks) + 1
    first = next((heading for heading in builder.headings if heading.title), None)
    if first is None or (title and first.title.casefold() != title.casefold()):
        return _Part(title or None, 1, 0, end, blocks)
    body = [*blocks[: first.index], *first.extras, *blocks[first.index + 1 :]]
    return _Part(title or first.title, line_of(first), 0, end, body)


def _with_footnotes(parts: Sequence[_Part], builder: DocumentBuilder) -> list[Node]:
    """Return a document for each part, with the footnotes that it refers to below a rule.

    They are numbered from 1 by first reference. One that nothing refers to stays with the part it
    was written in: no word of it is lost.
    """
    footnotes = builder.footnotes
    if not footnotes.references and not footnotes.definitions:
        return [_document(part.blocks) for part in parts]
    documents = []
    for part in parts:
        below = _Numbering(footnotes, range(part.start, part.end))
        listed = below.blocks()
        documents.append(_document([*part.blocks, *listed]))
    return documents


def _document(blocks: list[Node]) -> Node:
    return {"type": "doc", "version": 1, "content": blocks}


class _Numbering:
    """Numbers the footnotes of one part."""

    def __init__(self, footnotes: Footnotes, places: range) -> None:
        self._footnotes = footnotes
        self._places = places
        self._numbers: dict[str, int] = {}
        self._by_place: dict[int | str, list[tuple[Node, str]]] = {}
        for place, node, label in footnotes.references:
            self._by_place.setdefault(place, []).append((node, label))

    def blocks(self) -> list[Node]:
        """Number every reference; return a rule and the list of footnotes, or nothing."""
        order: list[str] = []
        for place, nodes in self._by_place.items():
            if isinstance(place, int) and place in self._places:
                self._number(nodes, order)
        definitions = self._footnotes.definitions
        referenced = {label for _, _, label in self._footnotes.references}
        unreferenced = iter(
            label
            for label, (place, _) in definitions.items()
            if place in self._places and label not in referenced
        )
        tree = BlockTree(max_nesting=1_000)
        listing = None
        done = 0
        while True:
            if done == len(order):
                label = next(unreferenced, None)
                if label is None:
                    break
                if label in self._numbers:
                    continue
                self._numbers[label] = len(order) + 1
                order.append(label)
            label = order[done]
            done += 1
            inner = self._by_place.get(label, [])
            self._number(inner, order)
            if listing is None:
                tree.add({"type": "rule"})
                listing = tree.open("orderedList", {"order": 1})
            item = tree.open_item(None)
            blocks = definitions[label][1] if label in definitions else []
            tree.add_all(copy.deepcopy(blocks) if inner else blocks)
            tree.close(item)
        return tree.finish()

    def _number(self, references: list[tuple[Node, str]], order: list[str]) -> None:
        for node, label in references:
            if label not in self._numbers:
                order.append(label)
                self._numbers[label] = len(order)
            node["text"] = f"[{self._numbers[label]}]"
            node.pop("label", None)
