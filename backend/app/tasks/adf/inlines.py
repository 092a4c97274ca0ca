"""Inline Markdown as ADF: texts with their marks, and hard breaks.

Nothing is dropped: an image becomes a link named by its alternative text, raw HTML stays as text,
and what a link cannot carry (an empty text, an image's own address) is written out.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from app.tasks.adf.autolinks import find_emails
from app.tasks.adf.commonmark import normalize_link, parse_inline

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from markdown_it.token import Token

    Node = dict[str, Any]

_STRONG: Node = {"type": "strong"}
_CODE: Node = {"type": "code"}
_SUPERSCRIPT: Node = {"type": "subsup", "attrs": {"type": "sup"}}
_HARD_BREAK: Node = {"type": "hardBreak"}

_MARKS: dict[str, Node] = {"strong": _STRONG, "em": {"type": "em"}, "strike": {"type": "strike"}}
_OPENED_MARKS = {"strong_open": "strong", "em_open": "em", "s_open": "strike"}
_CLOSED_MARKS = {"strong_close": "strong", "em_close": "em", "s_close": "strike"}

_IS_MARKED_UP = re.compile(r"[!&*<\[\\`_~]|://|www\.|  \n")
_LINE_END = re.compile(r" ?\n[ \t]*")
_HTML_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)


def inline_nodes(
    content: str, environment: dict[str, Any], number_of: Callable[[str], int]
) -> list[Node]:
    """Return the ADF nodes of one paragraph, heading or cell; empty for blank text.

    No text is empty, no node has a mark twice, and code goes with nothing but a link. Marks are
    shared between nodes: treat them as read-only.

    Args:
        content: the Markdown.
        environment: what `parse_blocks` found in the whole document.
        number_of: the number of the footnote with this label.

    """
    if _IS_MARKED_UP.search(content) is None:
        text = _LINE_END.sub(" ", content) if "\n" in content else content
        if "@" not in text:
            return [{"type": "text", "text": text}] if text else []
        builder = _InlineBuilder(number_of)
        builder.texts.append(text)
    else:
        builder = _InlineBuilder(number_of)
        builder.add_all(parse_inline(content, environment))
    builder.end_text()
    return builder.nodes


def plain_text(tokens: Sequence[Token]) -> str:
    """Return what a reader sees of these tokens, without marks, addresses and HTML tags."""
    texts: list[str] = []
    for token in tokens:
        match token.type:
            case "text" | "text_special" | "code_inline":
                texts.append(token.content)
            case "softbreak" | "hardbreak":
                texts.append(" ")
            case "image":
                texts.append(plain_text(token.children or ()))
            case "html_inline" if _HTML_BREAK.fullmatch(token.content):
                texts.append(" ")
    return "".join(texts)


def is_plain(tokens: Sequence[Token]) -> bool:
    """Whether `plain_text` is the whole of it: no address, HTML tag or footnote besides."""
    return not any(
        token.type in ("link_open", "image", "html_inline", "footnote_ref") for token in tokens
    )


def strengthen(nodes: list[Node]) -> list[Node]:
    """Return the same nodes in bold, save code, which can carry no other mark."""
    return [
        {**node, "marks": [_STRONG, *marks]}
        if node["type"] == "text"
        and _STRONG not in (marks := node.get("marks", []))
        and _CODE not in marks
        else node
        for node in nodes
    ]


class _InlineBuilder:
    """Collects texts under the marks that are open, and nodes from texts."""

    __slots__ = ("link", "link_start", "marks", "nodes", "number_of", "open_marks", "texts")

    def __init__(self, number_of: Callable[[str], int]) -> None:
        self.nodes: list[Node] = []
        self.texts: list[str] = []
        self.marks: list[Node] = []
        self.open_marks = {"strong": 0, "em": 0, "strike": 0}  # how often each is open
        self.link: Node | None = None
        self.link_start = 0
        self.number_of = number_of

    def add_all(self, tokens: Sequence[Token]) -> None:
        for token in tokens:
            kind = token.type
            if kind in ("text", "text_special"):
                self.texts.append(token.content)
            elif kind == "softbreak":
                if self.texts or not self.nodes or self.nodes[-1]["type"] != "hardBreak":
                    self.texts.append(" ")
            elif kind == "code_inline":
                self.add_text(token.content, [_CODE, self.link] if self.link else [_CODE])
            elif kind in _OPENED_MARKS:
                self.end_text()
                self.open_marks[_OPENED_MARKS[kind]] += 1
                self.set_marks()
            elif kind in _CLOSED_MARKS:
                self.end_text()
                self.open_marks[_CLOSED_MARKS[kind]] -= 1
                self.set_marks()
            else:
                self.add_other(kind, token)

    def add_other(self, kind: str, token: Token) -> None:
        if kind == "link_open":
            self.open_link(token)
        elif kind == "link_close":
            self.close_link()
        elif kind == "hardbreak":
            self.add_hard_break()
        elif kind == "html_inline":
            if _HTML_BREAK.fullmatch(token.content):
                self.add_hard_break()
            else:
                self.texts.append(token.content.replace("\n", " "))
        elif kind == "image":
            self.add_image(token)
        elif kind == "footnote_ref":
            self.add_text(f"[{self.number_of(token.content)}]", [_SUPERSCRIPT])
        else:
            raise AssertionError(f"no rule makes {kind!r}")

    def set_marks(self) -> None:
        """Make the open marks the current ones, each once, as a list no node holds yet."""
        marks = [_MARKS[name] for name, times in self.open_marks.items() if times]
        if self.link is not None:
            marks.append(self.link)
        self.marks = marks

    def add_text(self, text: str, marks: list[Node]) -> None:
        """Add one text under exactly these marks."""
        self.end_text()
        if text:
            self.nodes.append({"type": "text", "text": text, "marks": marks})

    def add_hard_break(self) -> None:
        self.end_text()
        self.nodes.append(_HARD_BREAK)

    def end_text(self) -> None:
        """Make one node of the texts collected since the last one, with e-mail addresses linked."""
        if not self.texts:
            return
        text = "".join(self.texts)
        self.texts.clear()
        if "@" in text and self.link is None:
            text = self.add_emails(text)
        if text:
            node: Node = {"type": "text", "text": text}
            if self.marks:
                node["marks"] = self.marks
            self.nodes.append(node)

    def add_emails(self, text: str) -> str:
        """Add `text` up to its last e-mail address, and give back the rest."""
        done = 0
        for start, end, address in find_emails(text):
            href = normalize_link(address)
            if not href:
                continue
            for part, marks in (
                (text[done:start], self.marks),
                (text[start:end], [*self.marks, _link(href)]),
            ):
                if part:
                    node: Node = {"type": "text", "text": part}
                    self.nodes.append({**node, "marks": marks} if marks else node)
            done = end
        return text[done:]

    def open_link(self, token: Token) -> None:
        self.end_text()
        href, title = str(token.attrs["href"]), str(token.attrs.get("title", ""))
        self.link_start = len(self.nodes)
        if href:
            self.link = _link(href, title)
            self.set_marks()
        elif title:
            self.texts.append(f"({title}) ")

    def close_link(self) -> None:
        """End the link; one without any text to click on shows its address."""
        self.end_text()
        if self.link is not None:
            shown = (node.get("text", "") for node in self.nodes[self.link_start :])
            if not "".join(shown).strip():
                self.add_text(self.link["attrs"]["href"], self.marks)
            self.link = None
            self.set_marks()

    def add_image(self, token: Token) -> None:
        """Link to the image by its alternative text.

        Media in ADF must have been uploaded before, so a link it is. Inside another link the
        alternative text keeps that link, and the image's own address follows in parentheses.
        """
        source, title = str(token.attrs["src"]), str(token.attrs.get("title", ""))
        alternative = " ".join(plain_text(token.children or ()).split())
        if not source:
            self.texts.append(f"{alternative} ({title})" if title else alternative)
            return
        link = _link(source, title)
        if self.link is None:
            self.add_text(alternative or source, [*self.marks, link])
            return
        self.end_text()
        own_marks = [mark for mark in self.marks if mark is not self.link]
        if alternative:
            self.texts.append(f"{alternative} (")
            self.add_text(source, [*own_marks, link])
            self.texts.append(")")
        else:
            self.add_text(source, [*own_marks, link])


def _link(href: str, title: str = "") -> Node:
    attributes = {"href": href, "title": title} if title else {"href": href}
    return {"type": "link", "attrs": attributes}
