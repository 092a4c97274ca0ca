"""Write a preview's HTML: known elements only, escaped text, and a maximum size.

The result is always well-formed: an element is a context manager, and is closed when the writer is
full. Elements and attributes come from fixed sets; all text of a document is escaped.
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
"""The colours that a document's colours are mapped to; their classes are legible in each theme."""

_NOT_SHOWABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_IGNORED_IN_ADDRESSES = re.compile("[\x00-\x20\x7f-\x9f]")
_ADDRESS = re.compile(r"https?://[^/?#\\]|mailto:.", re.ASCII | re.IGNORECASE)
_HEX_COLOUR = re.compile(r"#([0-9a-f]{6})(?:[0-9a-f]{2})?", re.ASCII | re.IGNORECASE)


class Full(Exception):  # noqa: N818 - not an error: a preview has an end
    """The writer has reached its maximum size; open elements are closed."""


class MarkupWriter:
    """Writes HTML of at most about `most_characters`, escaped and always well-formed."""

    def __init__(self, most_characters: int) -> None:
        self._parts: list[str] = []
        self._left = most_characters
        self._flag: str | None = None

    @property
    def markup(self) -> Markup:
        """The HTML written so far."""
        return Markup("".join(self._parts))  # noqa: S704 - this class is what makes it safe

    def flag_next(self, reason: str) -> None:
        """Mark the next element that opens as faulty."""
        self._flag = reason

    @contextmanager
    def element(self, tag: str, css: str = "", **attributes: str) -> Iterator[None]:
        """Open an element; close it when the context ends.

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
        """Write the text, cut to the room that is left.

        Raises:
            Full: it was cut.

        """
        shown = text[: self._left]
        self._parts.append(str(escape(showable(shown))))
        self._left -= len(shown)
        if len(shown) < len(text):
            raise Full

    def say_at_the_end(self, text: str) -> None:
        """Write the text at the end, even if there is no room left."""
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
    """Return the text with replacement characters for those that HTML, XML or UTF-8 cannot hold."""
    return _NOT_SHOWABLE.sub("\ufffd", text)


def link_address(address: str) -> str | None:
    """Return the address, if a page may link to it: http, https or mailto, and absolute.

    Spaces and control characters are removed first, as browsers ignore them in the scheme.
    """
    cleaned = _IGNORED_IN_ADDRESSES.sub("", address)
    is_short = len(cleaned) <= LONGEST_ATTRIBUTE
    return cleaned if is_short and _ADDRESS.match(cleaned) else None


def nearest_colour(colour: str) -> str | None:
    """Return the name of the shown colour nearest to `#rrggbb`; None if it is not a colour."""
    found = _HEX_COLOUR.fullmatch(colour)
    if found is None:
        return None
    wanted = bytes.fromhex(found.group(1))
    return min(
        COLOURS,
        key=lambda name: sum((a - b) ** 2 for a, b in zip(COLOURS[name], wanted, strict=True)),
    )
