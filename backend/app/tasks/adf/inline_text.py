"""A line of ADF's inline nodes: texts with their marks, line breaks, links, emoji.

White space is what a browser would show: runs of it are one space, none at either end.
"""

from __future__ import annotations

import re
from typing import Any

from app.tasks.adf.addresses import AddressResolver
from app.tasks.adf.autolinks import find_addresses
from app.tasks.adf.emoji_names import find_emoji
from app.tasks.adf.styles import UNMARKED

Node = dict[str, Any]

_BLANKS = re.compile(r"[ \t\n\f\r]+")
_LINE_END = re.compile(r"[ \t\f\r]*\n[ \t\n\f\r]*")
_HARD_BREAK: Node = {"type": "hardBreak"}
_CODE: Node = {"type": "code"}
_CODE_MARKS = [_CODE]
_HAS_MARKUP = re.compile(r"[&\n\t@:]|  |www\.")
"""What has to be looked at closely before it is the text of a node."""

_LONGEST_MERGED = 4_096
"""A longer text is not added to: adding copies it."""


class InlineText:
    """Collects the inline nodes of the current line, under the marks that are open.

    Marks are shared between nodes: treat them as read-only. Code goes with nothing but a link, as
    the schema has it.

    Args:
        addresses: resolves the links.
        hard_breaks: whether a line's end is a line's end, or a space.

    Attributes:
        nodes: the line so far.
        node_count: how many nodes there were in all lines.
        link: the mark of the link that is open, if one is.
        marks: those that are open, None for none.

    """

    def __init__(self, addresses: AddressResolver, *, hard_breaks: bool) -> None:
        self._addresses = addresses
        self._hard_breaks = hard_breaks
        self.nodes: list[Node] = []
        self.node_count = 0
        self.link: Node | None = None
        self._is_link_shown = False
        self.marks: list[Node] | None = None
        self._open: dict[str, list[Node]] = {"strong": [], "em": [], "strike": []}  # in this order
        self._code_depth = 0
        self._is_at_start = True  # of the line, or behind a blank: no blank may follow

    # Marks

    def open_mark(self, mark: Node) -> None:
        """Have what follows carry the mark; of several of one type the innermost counts."""
        self._open.setdefault(mark["type"], []).append(mark)
        self._set_marks()

    def close_mark(self, kind: str) -> None:
        """End the innermost mark of this type."""
        if marks := self._open.get(kind):
            marks.pop()
            self._set_marks()

    def has_mark(self, kind: str) -> bool:
        """Whether what follows carries a mark of this type."""
        marks = self._open.get(kind, ())
        return len(marks) > 0 and "is" not in marks[-1]

    def open_code(self) -> None:
        """Have what follows be code."""
        self._code_depth += 1
        self._set_marks()

    def close_code(self) -> None:
        """End the innermost code."""
        self._code_depth -= 1
        self._set_marks()

    def open_link(self, href: str, title: str) -> None:
        """Have what follows link to `href`, which is not resolved yet."""
        resolved = self._addresses.resolve(href)
        if resolved is not None:
            self._is_link_shown = False
            self.link = link_to(resolved, title)
            self.open_mark(UNMARKED["textColor"])  # a link has a colour of its own

    def close_link(self) -> None:
        """End the link; one without any text to click on shows its address."""
        if self.link is not None:
            if not self._is_link_shown:
                self.add_text(self.link["attrs"]["href"])
            self.link = None
            self.close_mark("textColor")

    def _set_marks(self) -> None:
        if self._code_depth:
            marks = [_CODE]
        else:
            marks = [stack[-1] for stack in self._open.values() if stack and "is" not in stack[-1]]
        if self.link is not None:
            marks.append(self.link)
        self.marks = marks or None

    def _marks_of_link(self) -> list[Node]:
        return [mark for mark in self.marks or () if mark["type"] != "textColor"]

    # Nodes

    def add_markup(self, text: str) -> None:
        """Add a piece of HTML that has no tags: character references are read, blanks collapsed."""
        if "&" in text:
            text = plain(text)
        if self._code_depth:
            self.add_text(text.replace("\n", " "))
            return
        if "\n" in text or "  " in text or "\t" in text:
            if self._hard_breaks and "\n" in text:
                self._add_lines(text)
                return
            text = text.replace("\n", " ")
            if "  " in text or "\t" in text:
                text = _BLANKS.sub(" ", text)
        if self._is_at_start and text[:1] == " ":
            text = text[1:]
            if not text:
                return
        if self.link is None and (
            (":" in text and ("://" in text or text.count(":") > 1))
            or "@" in text
            or "www." in text
        ):
            self._add_with_addresses(text)
        else:
            self.add_text(text)

    def _add_lines(self, text: str) -> None:
        for number, line in enumerate(_LINE_END.split(text)):
            if number and self.nodes and self.nodes[-1] is not _HARD_BREAK:
                self.add_hard_break()
            if line:
                self.add_markup(_BLANKS.sub(" ", line).replace("&", "&amp;"))

    def add_text(self, text: str) -> None:
        """Add a text, which must not be empty, as it is, under the open marks."""
        marks = self.marks
        nodes = self.nodes
        self._is_link_shown = True
        self._is_at_start = text[-1] == " "
        if nodes:
            last = nodes[-1]
            if (
                last.get("marks") is marks
                and last["type"] == "text"
                and len(last["text"]) < _LONGEST_MERGED
            ):
                last["text"] += text
                return
        self.node_count += 1
        if marks is None:
            nodes.append({"type": "text", "text": text})
        else:
            nodes.append({"type": "text", "text": text, "marks": marks})

    def add_marked(self, text: str, mark: Node) -> None:
        """Add a piece of HTML that has no tags, under one more mark."""
        if self.marks is None and text and _HAS_MARKUP.search(text) is None and text[0] != " ":
            self.add_node({"type": "text", "text": text, "marks": [mark]})
            self._is_at_start = text[-1] == " "
            return
        self.open_mark(mark)
        if text:
            self.add_markup(text)
        self.close_mark(mark["type"])

    def add_code(self, text: str) -> None:
        """Add a piece of HTML that has no tags as code."""
        if "&" in text:
            text = plain(text)
        if "\n" in text:
            text = text.replace("\n", " ")
        if text:
            marks = _CODE_MARKS if self.link is None else [_CODE, self.link]
            self.add_node({"type": "text", "text": text, "marks": marks})

    def add_link(self, text: str, href: str) -> None:
        """Add a link to `href`, named by a piece of HTML that has no tags and is not blank."""
        resolved = None if self.link is not None else self._addresses.resolve(href)
        if resolved is None:
            self.add_markup(text)
            return
        if self._code_depth:
            self.open_link(href, "")
            self.add_markup(text)
            self.close_link()
            return
        text = _BLANKS.sub(" ", plain(text)) if "&" in text or "\n" in text else text
        if self._is_at_start and text[0] == " ":
            text = text[1:]
        link = {"type": "link", "attrs": {"href": resolved}}
        marks = [*self._marks_of_link(), link]
        self.add_node({"type": "text", "text": text, "marks": marks})
        self._is_at_start = text[-1] == " "

    def add_node(self, node: Node) -> None:
        """Add a finished inline node."""
        self._is_link_shown = True
        self._is_at_start = False
        self.node_count += 1
        self.nodes.append(node)

    def add_hard_break(self) -> None:
        """Add a line break, unless the line has not begun."""
        if self.nodes:
            self._strip_end()
            self.nodes.append(_HARD_BREAK)
            self._is_at_start = True

    def _add_with_addresses(self, text: str) -> None:
        done = 0
        for start, end, address in find_addresses(text):
            href = self._addresses.resolve(address)
            if href is not None:
                self._add_with_emoji(text[done:start])
                marks = [*self._marks_of_link(), link_to(href)]
                self.add_node({"type": "text", "text": text[start:end], "marks": marks})
                done = end
        self._add_with_emoji(text[done:])

    def _add_with_emoji(self, text: str) -> None:
        done = 0
        if ":" in text:
            for start, end, node in find_emoji(text):
                if start > done:
                    self.add_text(text[done:start])
                self.add_node(node)
                done = end
        if done < len(text):
            self.add_text(text[done:])

    def _strip_end(self) -> None:
        """Drop the blanks at the end of the line."""
        nodes = self.nodes
        while nodes and nodes[-1]["type"] == "text" and nodes[-1]["text"][-1] == " ":
            if stripped := nodes[-1]["text"].rstrip(" "):
                nodes[-1]["text"] = stripped
                return
            nodes.pop()

    # Lines

    def take(self) -> list[Node]:
        """Return the finished line, without breaks at its end, and begin another."""
        nodes = self.nodes
        if self._is_at_start and nodes:
            self._strip_end()
            while nodes and nodes[-1] is _HARD_BREAK:
                nodes.pop()
                self._strip_end()
        self.nodes = []
        self._is_at_start = True
        return nodes

    def put_aside(self) -> tuple[list[Node], bool]:
        """Begin another line; `restore` goes on with this one."""
        aside = self.nodes, self._is_at_start
        self.nodes, self._is_at_start = [], True
        return aside

    def restore(self, aside: tuple[list[Node], bool]) -> None:
        """Go on with a line that was put aside; what was collected since is dropped."""
        self.nodes, self._is_at_start = aside


def link_to(href: str, title: str = "") -> Node:
    """Return a link mark."""
    attributes = {"href": href, "title": title} if title else {"href": href}
    return {"type": "link", "attrs": attributes}


def plain(text: str) -> str:
    """Return serialized HTML without its character references, of which there are five."""
    return (
        text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", '"')
        .replace("&nbsp;", "\xa0")
        .replace("&amp;", "&")
    )


def plain_text(nodes: list[Node]) -> str:
    """Return what the inline nodes say, on one line."""
    texts = []
    for node in nodes:
        match node["type"]:
            case "text":
                texts.append(node["text"])
            case "emoji":
                texts.append(node["attrs"]["text"])
            case "hardBreak":
                texts.append(" ")
            case "inlineCard":
                texts.append(node["attrs"]["url"])
    return " ".join("".join(texts).split())
