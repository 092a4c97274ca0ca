"""A document in the making: blocks, the current line, and the open elements.

What the handlers of `block_elements` and `inline_elements` work on.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from app.tasks.adf.addresses import AddressResolver
from app.tasks.adf.block_tree import BlockTree, Frame
from app.tasks.adf.inline_text import InlineText, plain
from app.tasks.adf.pictures import split_at_pictures, title_and_extras, without_flag
from app.tasks.adf.styles import UNMARKED, alignment, is_light, marks_of

Node = dict[str, Any]
Closing = Callable[[], object]

_HEADING_ATTRIBUTES = re.compile(r"\s*\{:?\s*[#.][^{}\n]*\}\s*\Z")


class Heading:
    """A heading of the document itself, not of a list, quote or cell in it.

    Attributes:
        index: where it stands among the document's blocks.
        level: 1 to 6.
        mark: the value of its `data-heading` attribute.

    """

    __slots__ = ("_line", "_said", "index", "level", "mark")

    def __init__(self, index: int, level: int, mark: str, line: list[Node]) -> None:
        self.index = index
        self.level = level
        self.mark = mark
        self._line = line
        self._said: tuple[str, list[Node]] | None = None

    def read(self) -> tuple[str, list[Node]]:
        """Return its title and what it says besides, which most headings are never asked for."""
        if self._said is None:
            self._said = title_and_extras(self._line)
        return self._said

    @property
    def title(self) -> str:
        """Its text, without pictures and footnotes; may be empty."""
        return self.read()[0]

    @property
    def extras(self) -> list[Node]:
        """Blocks that say what the title does not: links, badges, footnotes.

        Its pictures are blocks of the document already, behind the heading.
        """
        return self.read()[1]


@dataclass(slots=True)
class Footnotes:
    """The footnotes of a document.

    Attributes:
        references: the place, the node to number and the label of each reference: the place is the
            index of a block of the document, or the label of the footnote that it stands in.
        definitions: blocks by label, with the place of each.

    """

    references: list[tuple[int | str, Node, str]] = field(default_factory=list)
    definitions: dict[str, tuple[int, list[Node]]] = field(default_factory=dict)


class DocumentBuilder:
    """Builds one document.

    Args:
        addresses: resolves links and pictures.
        max_nesting: how deep lists and quotes may nest.
        hard_breaks: whether a line's end in a paragraph is a line's end.

    Attributes:
        tree: the blocks.
        blocks: those of the document itself.
        inline: the line that is being collected.
        headings: the headings of the document itself.
        footnotes: its footnotes.
        title: the `<title>` of an HTML document; often empty.
        align: how paragraphs here are aligned: `center`, `end` or empty.
        row_align: how the cells of the table's row are aligned that say nothing themselves.
        background: the colour behind the cell or table that is open, where it is not white.
        row_background: that of the table's row.
        heading: the level and mark of the heading that is open.
        code: the text of the code block that is open.
        language: the language of the code block to come.
        has_picture: whether the line has a picture.
        footnote: the label of the footnote that is being read.
        outer_aligns: the alignments around the paragraphs that are open.
        outer_headings: the headings, and alignments, around the headings that are open.
        lists: the lists that are open, the innermost last.
        items: the items of lists that are open, the innermost last.

    """

    def __init__(
        self,
        addresses: AddressResolver,
        *,
        max_nesting: int,
        hard_breaks: bool = False,
    ) -> None:
        self.addresses = addresses
        self.tree = BlockTree(max_nesting)
        self.blocks = self.tree.root.content
        self.headings: list[Heading] = []
        self.footnotes = Footnotes()
        self.title = ""
        self.inline = InlineText(addresses, hard_breaks=hard_breaks)
        self._closing: dict[str, list[Closing]] = {}
        self._styles: dict[str, list[tuple[str, ...]]] = {}
        self.align = ""
        self.row_align = ""
        self.background: str | None = None
        self.row_background: str | None = None
        self.heading: tuple[int, str] | None = None
        self.code: list[str] | None = None
        self.language = ""
        self.has_picture = False
        self.footnote: str | None = None
        self.outer_aligns: list[str] = []
        self.outer_headings: list[tuple[tuple[int, str] | None, str]] = []
        self.lists: list[Frame] = []
        self.items: list[Frame] = []

    def add_text(self, text: str) -> None:
        """Add a piece of HTML that has no tags."""
        if self.code is None:
            self.inline.add_markup(text)
        else:
            self.code.append(plain(text))

    def later(self, tag: str, closing: Closing) -> None:
        """Have `closing` called when this element closes."""
        self._closing.setdefault(tag, []).append(closing)

    def close_element(self, tag: str) -> None:
        """Do what waits for the innermost element of this name to close."""
        if waiting := self._closing.get(tag):
            waiting.pop()()

    def open_style(self, tag: str, attributes: str) -> None:
        """Have the text of this element carry the marks that its attributes say."""
        marks = marks_of(tag, attributes) if attributes else ()
        has_background = self.background is not None or self.inline.has_mark("backgroundColor")
        for mark in reversed(marks):  # the background before the colour of what stands on it
            is_unreadable = mark["type"] == "textColor" and not has_background and is_light(mark)
            self.inline.open_mark(UNMARKED["textColor"] if is_unreadable else mark)
            has_background = has_background or mark["type"] == "backgroundColor"
        self._styles.setdefault(tag, []).append(tuple(mark["type"] for mark in marks))

    def close_style(self, tag: str) -> None:
        """End the marks of the innermost element of this name."""
        if styles := self._styles.get(tag):
            for kind in styles.pop():
                self.inline.close_mark(kind)

    def set_backgrounds(self, background: str | None, of_row: str | None) -> None:
        """Set the background colours of the cell or table, and of the row."""
        self.background, self.row_background = background, of_row

    def open_aligned(self, tag: str, attributes: dict[str, str]) -> None:
        """Align what this element holds as its attributes say."""
        before, aligned = self.align, alignment(attributes)
        if aligned is not None:
            self.align = aligned

        def close() -> None:
            self.flush()
            self.align = before

        self.later(tag, close)

    def open_frame(
        self,
        tag: str,
        kind: str,
        attributes: Node | None = None,
        closing: Closing = lambda: None,
    ) -> None:
        """Open a container of ADF until this element closes, when `closing` is called too."""
        if self.inline.nodes:
            self.flush()
        frame = self.tree.open(kind, attributes)

        def close() -> None:
            if self.inline.nodes:
                self.flush()
            self.tree.close(frame)
            closing()

        self.later(tag, close)

    def open_group(self, tag: str, take: Callable[[list[Node]], None]) -> None:
        """Have `take` called with the blocks of this element when it closes."""
        self.flush()
        group = self.tree.detach("group")

        def close() -> None:
            self.flush()
            take(self.tree.take(group))

        self.later(tag, close)

    def hide(self, tag: str) -> None:
        """Drop what the element holds, without breaking the line it stands in."""
        aside, code = self.inline.put_aside(), self.code
        frame = self.tree.detach("group")
        self.code = None

        def close() -> None:
            self.flush()
            self.tree.take(frame)
            self.inline.restore(aside)
            self.code = code

        self.later(tag, close)

    def flush(self) -> None:
        """Finish the current line, as a paragraph or heading."""
        if not self.inline.nodes:
            return
        line = self.inline.take()
        if self.has_picture:
            self.has_picture = False
            self._add_line_with_pictures(line)
        elif self.heading is not None:
            self._add_heading(line, [])
        elif line:
            self.tree.add(self.paragraph(line))

    def paragraph(self, line: list[Node]) -> Node:
        """Return the line as a paragraph; an address alone in it as a card."""
        if len(line) == 1 and "marks" in line[0]:
            line = [as_card(line[0])]
        if self.align and self.tree.may_align:
            marks = [{"type": "alignment", "attrs": {"align": self.align}}]
            return {"type": "paragraph", "content": line, "marks": marks}
        return {"type": "paragraph", "content": line}

    def _add_heading(self, line: list[Node], pictures: list[Node]) -> None:
        level, mark = self.heading or (1, "")
        tree = self.tree
        if line and line[-1].get("text", "")[-1:] == "}":
            line[-1]["text"] = _HEADING_ATTRIBUTES.sub("", line[-1]["text"])
            line = [node for node in line if node.get("text") != ""]
        if line:
            if tree.top is tree.root:
                self.headings.append(Heading(len(self.blocks), level, mark, line))
            heading: Node = {"type": "heading", "content": line, "attrs": {"level": level}}
            if self.align and tree.may_align:
                heading["marks"] = [{"type": "alignment", "attrs": {"align": self.align}}]
            tree.add(heading)
        tree.add_all(pictures)

    def _add_line_with_pictures(self, line: list[Node]) -> None:
        parts = split_at_pictures(line, self.align, may_split=not self.tree.is_in_task)
        if self.heading is not None:
            words: list[Node] = []
            for part in parts:
                if isinstance(part, list):
                    words += [{"type": "text", "text": " "}, *part] if words else part
            is_title = self.tree.top is self.tree.root
            if not is_title:
                without_flag(words)
            self._add_heading(words, [part for part in parts if isinstance(part, dict)])
            if is_title and self.headings:
                self.headings[-1].read()  # while its badges can be recognised
                without_flag(words)
            return
        for part in parts:
            if isinstance(part, dict):
                self.tree.add(part)
            else:
                self.tree.add(self.paragraph(without_flag(part)))


def as_card(node: Node) -> Node:
    """Return the card that an address alone in its paragraph becomes, or the node itself."""
    marks = node["marks"]
    if len(marks) == 1 and marks[0]["type"] == "link":
        href, text = marks[0]["attrs"]["href"], node["text"]
        if href[:4] == "http" and text in {href, href.removeprefix("http://"), href[:-1]}:
            return {"type": "inlineCard", "attrs": {"url": href}}
    return node
