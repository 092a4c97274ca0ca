"""The only hand that writes a preview's HTML: known elements, escaped text, and an end.

What is written is well-formed whatever happens in between: an element is a context manager, and
closes itself when the writer is full. Elements and attributes come from fixed sets; everything
that a document says passes `text` or an attribute's escaping.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from collections.abc import Iterator

ELEMENTS = frozenset({
    "a", "blockquote", "br", "code", "details", "div", "em", "hr", "li", "ol", "p", "pre", "s",
    "span", "strong", "sub", "summary", "sup", "table", "tbody", "td", "th", "time", "tr", "u",
    "ul",
})  # fmt: skip
ATTRIBUTES = frozenset({
    "aria-label", "class", "colspan", "datetime", "href", "open", "rel", "role", "rowspan",
    "start", "tabindex", "title",
})  # fmt: skip
LINK_RELATION = "noopener noreferrer nofollow"
LONGEST_ATTRIBUTE = 2_000

COLOURS = {
    "grey": (0x62, 0x6F, 0x86),
    "blue": (0x1D, 0x7A, 0xFC),
    "teal": (0x28, 0x98, 0xBD),
    "green": (0x22, 0xA0, 0x6B),
    "yellow": (0xE2, 0xB2, 0x03),
    "orange": (0xF1, 0x8D, 0x13),
    "red": (0xE3, 0x49, 0x35),
    "purple": (0x82, 0x70, 0xDB),
}
"""What a document's colours are shown as: the nearest of these, by class, legible in each theme."""

_NOT_SHOWABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_IGNORED_IN_ADDRESSES = re.compile("[\x00-\x20\x7f-\x9f]")
_ADDRESS = re.compile(r"https?://[^/?#\\]|mailto:.", re.ASCII | re.IGNORECASE)
_HEX_COLOUR = re.compile(r"#([0-9a-f]{6})(?:[0-9a-f]{2})?", re.ASCII | re.IGNORECASE)


class Full(Exception):  # noqa: N818 - not an error: a preview has an end
    """The writer holds as much as it may; what is open closes by itself."""


class MarkupWriter:
    """HTML of at most about `most_characters`, escaped and well-formed at every moment."""

    def __init__(self, most_characters: int) -> None:
        self._parts: list[str] = []
        self._left = most_characters
        self._flag: str | None = None

    @property
    def markup(self) -> Markup:
        """All that was written."""
        return Markup("".join(self._parts))  # noqa: S704 - this class is what makes it safe

    def flag_next(self, reason: str) -> None:
        """Have the next element that opens show that something is wrong with it."""
        self._flag = reason

    @contextmanager
    def element(self, tag: str, css: str = "", **attributes: str) -> Iterator[None]:
        """Everything written inside stands in this element.

        Raises:
            Full: there was no room for it; nothing was written.

        """
        self._open(tag, css, attributes)
        try:
            yield
        finally:
            self._parts.append(f"</{tag}>")

    def void(self, tag: str, css: str = "", **attributes: str) -> None:
        """Write an element that has no content."""
        self._open(tag, css, attributes, end="/>")

    def text(self, text: str) -> None:
        """Write the text, cut where there is no more room.

        Raises:
            Full: it was cut.

        """
        shown = text[: self._left]
        self._parts.append(str(escape(showable(shown))))
        self._left -= len(shown)
        if len(shown) < len(text):
            raise Full

    def say_at_the_end(self, text: str) -> None:
        """Write the text behind everything, whether there is room or not."""
        self._left += len(text) + 200
        with self.element("p", "adf-note"):
            self.text(text)

    def _open(self, tag: str, css: str, attributes: dict[str, str], end: str = ">") -> None:
        if self._flag is not None:
            css, attributes = f"{css} adf-flagged", {**attributes, "title": self._flag}
            self._flag = None
        if css:
            attributes = {"class": css.strip(), **attributes}
        written = [tag]
        for name, value in attributes.items():
            attribute = name.rstrip("_").replace("_", "-")
            if tag not in ELEMENTS or attribute not in ATTRIBUTES:
                message = f"{tag} {attribute} is not among the elements and attributes of a preview"
                raise AssertionError(message)
            written.append(f'{attribute}="{escape(showable(value)[:LONGEST_ATTRIBUTE])}"')
        opened = "<" + " ".join(written) + end
        if len(opened) > self._left:
            raise Full
        self._left -= len(opened)
        self._parts.append(opened)


def showable(text: str) -> str:
    """The text with a replacement character for all that HTML, XML or UTF-8 cannot hold."""
    return _NOT_SHOWABLE.sub("\ufffd", text)


def link_address(address: str) -> str | None:
    """The address, if a page of ours may link to it: http, https or mailto, and absolute.

    Spaces and control characters go first, as browsers ignore them when they look for the scheme.
    """
    cleaned = _IGNORED_IN_ADDRESSES.sub("", address)
    is_short = len(cleaned) <= LONGEST_ATTRIBUTE
    return cleaned if is_short and _ADDRESS.match(cleaned) else None


def nearest_colour(colour: str) -> str | None:
    """The name of the shown colour that comes nearest to `#rrggbb`; None if it is no colour."""
    found = _HEX_COLOUR.fullmatch(colour)
    if found is None:
        return None
    wanted = bytes.fromhex(found.group(1))
    return min(
        COLOURS,
        key=lambda name: sum((a - b) ** 2 for a, b in zip(COLOURS[name], wanted, strict=True)),
    )
