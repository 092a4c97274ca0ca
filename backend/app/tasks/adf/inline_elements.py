"""The elements of HTML that are marks and inline nodes of ADF; see `block_elements`."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from app.tasks.adf.attributes import read_attributes
from app.tasks.adf.code_languages import language_of
from app.tasks.adf.document_builder import DocumentBuilder
from app.tasks.adf.inline_text import link_to, plain_text
from app.tasks.adf.pictures import picture_node, text_of_picture
from app.tasks.adf.styles import HIGHLIGHT

Node = dict[str, Any]

_STRONG: Node = {"type": "strong"}
_EMPHASIS: Node = {"type": "em"}
_STRIKE: Node = {"type": "strike"}
_UNDERLINE: Node = {"type": "underline"}
MARKS: dict[str, Node] = {
    "strong": _STRONG,
    "b": _STRONG,
    "em": _EMPHASIS,
    "i": _EMPHASIS,
    "cite": _EMPHASIS,
    "dfn": _EMPHASIS,
    "del": _STRIKE,
    "s": _STRIKE,
    "strike": _STRIKE,
    "u": _UNDERLINE,
    "ins": _UNDERLINE,
    "sub": {"type": "subsup", "attrs": {"type": "sub"}},
    "sup": {"type": "subsup", "attrs": {"type": "sup"}},
    "mark": HIGHLIGHT,
}
_STATUS_COLOURS = {
    "lozenge-success": "green",
    "lozenge-error": "red",
    "lozenge-current": "yellow",
    "lozenge-moved": "yellow",
    "lozenge-complete": "blue",
    "lozenge-progress": "blue",
    **{f"status-{colour}": colour for colour in ("blue", "green", "purple", "red", "yellow")},
}
CODE = ("code", "kbd", "samp", "tt", "var")
_PERMALINKS = frozenset({
    "headerlink", "header-anchor", "anchor-link", "anchorjs-link", "footnote-back",
    "footnote-backref", "data-footnote-backref",
})  # fmt: skip


def open_mark(builder: DocumentBuilder, _attributes: str, tag: str) -> None:
    """Begin a mark."""
    builder.inline.open_mark(MARKS[tag])


def close_mark(builder: DocumentBuilder, _attributes: str, tag: str) -> None:
    """End a mark."""
    builder.inline.close_mark(MARKS[tag]["type"])


def read_mark(builder: DocumentBuilder, _attributes: str, text: str, tag: str) -> bool:
    """Read a marked text."""
    builder.inline.add_marked(text, MARKS[tag])
    return True


def open_code(builder: DocumentBuilder, attributes: str) -> None:
    """Begin code within a line, or name the language of a block."""
    if builder.code is None:
        builder.inline.open_code()
    elif attributes and not builder.language:
        builder.language = _language_named(attributes)


@lru_cache(maxsize=256)
def _language_named(attributes: str) -> str:
    return language_of(read_attributes(attributes))


def close_code(builder: DocumentBuilder, _attributes: str) -> None:
    """End code within a line."""
    if builder.code is None:
        builder.inline.close_code()


def read_code(builder: DocumentBuilder, _attributes: str, text: str) -> bool:
    """Read code within a line."""
    builder.inline.add_code(text)
    return True


def open_span(builder: DocumentBuilder, attributes: str) -> None:
    """Begin a status, or what has no meaning but its style."""
    if "status-macro" in attributes:
        _open_status(builder, read_attributes(attributes).get("class", ""))
    else:
        builder.later("span", lambda: None)


def _open_status(builder: DocumentBuilder, classes: str) -> None:
    """Read a status of Confluence, or of Jira's markup."""
    aside = builder.inline.put_aside()
    colour = next((found for name, found in _STATUS_COLOURS.items() if name in classes), "neutral")

    def close() -> None:
        text = plain_text(builder.inline.take())
        builder.inline.restore(aside)
        if text:
            attributes = {"text": text, "color": colour}
            builder.inline.add_node({"type": "status", "attrs": attributes})

    builder.later("span", close)


def open_link(builder: DocumentBuilder, attributes: str) -> None:
    """Begin a link."""
    said = read_attributes(attributes) if attributes else {}
    href = said.get("href", "")
    if builder.code is not None:
        _open_link_in_code(builder, href)
    elif _is_permalink(said):
        builder.hide("a")
    else:
        builder.inline.open_link(href, said["title"].strip() if "title" in said else "")
        builder.later("a", builder.inline.close_link)


def _open_link_in_code(builder: DocumentBuilder, href: str) -> None:
    """A code block holds text only: its links stand below it."""
    resolved, start = builder.addresses.resolve(href), len(builder.code or ())

    def close() -> None:
        name = " ".join("".join((builder.code or [])[start:]).split())
        if resolved and name:
            if builder.inline.nodes:
                builder.inline.add_hard_break()
            marks = [link_to(resolved)]
            builder.inline.add_node({"type": "text", "text": name, "marks": marks})

    builder.later("a", close)


def read_link(builder: DocumentBuilder, attributes: str, text: str) -> bool:
    """Read a link."""
    href = attributes[7:-1]
    if attributes[:7] != ' href="' or '"' in href or "&" in href or not text.strip():
        return False
    builder.inline.add_link(text, href)
    return True


def add_break(builder: DocumentBuilder, _attributes: str) -> None:
    """Break the line."""
    if builder.code is None:
        builder.inline.add_hard_break()
    else:
        builder.code.append("\n")


def add_picture(builder: DocumentBuilder, attributes: str) -> None:
    """Add a picture, or what it says where it cannot be shown."""
    said = read_attributes(attributes)
    source = said.get("src") or said.get("data-src") or said.get("srcset", "").split(" ")[0]
    if builder.code is not None:
        builder.code.append(said.get("alt", ""))
        return
    url = builder.addresses.resolve_picture(source) if source else None
    picture = picture_node(source, url or "", said, builder.inline.link)
    if url is None:
        text = picture["alt"] or ("" if source[:5] == "data:" else picture["file"])
        if not text:
            return
        picture = text_of_picture(text, builder.inline.marks)
    builder.has_picture = True
    builder.inline.add_node(picture)


def hide(builder: DocumentBuilder, _attributes: str, tag: str) -> None:
    """Drop what the element holds."""
    builder.hide(tag)


def open_embedded(builder: DocumentBuilder, attributes: str, tag: str) -> None:
    """Link to a video or the like; what stands in it is for browsers that cannot show it."""
    said = read_attributes(attributes)
    href = builder.addresses.resolve(said.get("src") or said.get("data") or "")
    if href is not None:
        builder.inline.open_link(href, "")
        builder.inline.add_text(said.get("title", "").strip() or href)
        builder.inline.close_link()
        if tag != "embed":
            builder.hide(tag)


def open_title(builder: DocumentBuilder, _attributes: str) -> None:
    """Read the title of an HTML document, which is no part of its text."""
    aside = builder.inline.put_aside()

    def close() -> None:
        builder.title = builder.title or plain_text(builder.inline.take())
        builder.inline.restore(aside)

    builder.later("title", close)


def _is_permalink(attributes: dict[str, str]) -> bool:
    """Whether the link is the “¶” beside a heading, or the “↩” behind a footnote."""
    return "class" in attributes and not _PERMALINKS.isdisjoint(attributes["class"].split())
