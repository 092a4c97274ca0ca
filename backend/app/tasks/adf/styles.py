"""The marks of ADF that an element's attributes stand for."""

from __future__ import annotations

import re
from colorsys import hls_to_rgb
from functools import lru_cache
from typing import Any

from app.tasks.adf.attributes import read_attributes
from app.tasks.adf.css_colours import CSS_COLOURS

Node = dict[str, Any]

_ALIGNMENTS = {"center": "center", "right": "end", "end": "end", "middle": "center"}
_HEX = re.compile(r"(?:#([0-9a-f]{3})([0-9a-f])?|#?([0-9a-f]{6})([0-9a-f]{2})?)$", re.IGNORECASE)
_LEVEL = r"(\d{1,3}(?:\.\d{1,9})?%?)"
_RGB = re.compile(
    rf"rgba?\(\s*{_LEVEL}[\s,]+{_LEVEL}[\s,]+{_LEVEL}(?:[\s,/]+(\d{{0,3}}\.?\d{{1,9}}%?))?"
)
_HSL = re.compile(r"hsla?\(\s*(\d{1,3})(?:deg)?[\s,]+(\d{1,3})%[\s,]+(\d{1,3})%")
_OF_CONFLUENCE = {
    "grey": "#f4f5f7", "red": "#ffebe6", "yellow": "#fffae6", "green": "#e3fcef",
    "blue": "#deebff", "teal": "#e6fcff", "purple": "#eae6ff",
}  # fmt: skip
"""The backgrounds of cells that Confluence calls by these names."""

_HIGHLIGHT = re.compile(r"(?<!\S)highlight-(#?\w+)")
_BLACK, WHITE = "#000000", "#ffffff"
_LIGHTEST = 235
_NO_BACKGROUND_OF_TEXT = frozenset({
    "address", "article", "aside", "body", "center", "details", "dialog", "div", "dl", "fieldset",
    "figure", "footer", "form", "header", "main", "nav", "ol", "section", "table", "tbody", "td",
    "tfoot", "th", "thead", "tr", "ul",
})  # fmt: skip
_BLOCKS = _NO_BACKGROUND_OF_TEXT | {
    "blockquote", "dd", "dt", "h1", "h2", "h3", "h4", "h5", "h6", "li", "p",
}  # fmt: skip
UNMARKED: dict[str, Node] = {
    kind: {"type": kind, "is": False} for kind in ("strong", "em", "textColor", "backgroundColor")
}
"""Marks that stand for the absence of one."""

HIGHLIGHT: Node = {"type": "backgroundColor", "attrs": {"color": "#fff59d"}}


def declarations(style: str) -> dict[str, str]:
    """Return a `style` attribute's declarations: property and value, both in lower case."""
    pairs = (part.partition(":") for part in style.lower().split(";"))
    return {name.strip(): value.strip() for name, colon, value in pairs if colon}


def alignment(attributes: dict[str, str]) -> str | None:
    """Return ADF's alignment of what the element holds; "" resets it, None leaves it."""
    said = attributes.get("align", "").strip().lower()
    if "style" in attributes:
        said = declarations(attributes["style"]).get("text-align", said)
    return _ALIGNMENTS.get(said, "") if said else None


def hex_colour(colour: str) -> str | None:
    """Return a colour of CSS on white as `#rrggbb`; None for one not known, or transparent."""
    colour = colour.strip().lower().removesuffix("!important").rstrip()
    if found := _HEX.match(colour):
        short, short_alpha, long, alpha = found.groups()
        if (short_alpha or alpha or "f").strip("0") == "":
            return None
        return f"#{long or ''.join(digit * 2 for digit in short)}"
    if found := _RGB.match(colour):
        *parts, alpha = found.groups()
        if alpha is not None and alpha.strip("0.%") == "":
            return None
        levels = (float(part.rstrip("%")) * (2.55 if "%" in part else 1) for part in parts)
        share = 1.0 if alpha is None else _share(alpha)
        on_white = (255 + (min(level, 255) - 255) * share for level in levels)
        return "#" + "".join(f"{round(level):02x}" for level in on_white)
    if found := _HSL.match(colour):
        hue, saturation, lightness = (float(part) for part in found.groups())
        rgb = hls_to_rgb(hue % 360 / 360, min(lightness, 100) / 100, min(saturation, 100) / 100)
        return "#" + "".join(f"{round(part * 255):02x}" for part in rgb)
    return CSS_COLOURS.get(colour)


def _share(alpha: str) -> float:
    """Return the opacity that is written as a number or percentage, at most 1."""
    return min(float(alpha.rstrip("%")) / (100 if "%" in alpha else 1), 1.0)


def background_of(attributes: dict[str, str]) -> str | None:
    """Return the background colour of a table, row or cell; None where it has none."""
    said = _background(declarations(attributes.get("style", ""))) or attributes.get("bgcolor")
    classes = _HIGHLIGHT.search(attributes.get("class", ""))
    highlight = attributes.get("data-highlight-colour", classes[1] if classes else "").lower()
    return hex_colour(said or _OF_CONFLUENCE.get(highlight, highlight))


def _background(style: dict[str, str]) -> str:
    shorthand = style.get("background", "")
    return style.get("background-color") or (
        shorthand if "(" in shorthand else shorthand.partition(" ")[0]
    )


@lru_cache(maxsize=1024)
def marks_of(tag: str, written: str) -> tuple[Node, ...]:
    """Return the marks that an element's attributes, as written, give to the text in it.

    A mark of `UNMARKED` takes back what an element around it gave. The background of a wrapper,
    table, row or cell is none of its text's.
    """
    attributes = read_attributes(written)
    style = declarations(attributes.get("style", ""))
    marks: list[Node] = []
    weight = style.get("font-weight", "")
    if weight:
        is_bold = weight[:4] == "bold" or (weight.isdigit() and int(weight[:4]) >= 600)  # noqa: PLR2004 - CSS: semi-bold
        marks.append({"type": "strong"} if is_bold else UNMARKED["strong"])
    if slant := style.get("font-style"):
        is_slanted = slant.startswith(("italic", "oblique"))
        marks.append({"type": "em"} if is_slanted else UNMARKED["em"])
    decoration = style.get("text-decoration", "") + style.get("text-decoration-line", "")
    if "underline" in decoration and tag != "a":
        marks.append({"type": "underline"})
    if "line-through" in decoration:
        marks.append({"type": "strike"})
    position = style.get("vertical-align", "")
    if position in {"sub", "super"} and tag not in _BLOCKS:
        marks.append({"type": "subsup", "attrs": {"type": position[:3]}})
    if colour := hex_colour(style.get("color", attributes.get("color", ""))):
        marks.append(_coloured("textColor", colour, _BLACK))
    if tag not in _NO_BACKGROUND_OF_TEXT and (background := hex_colour(_background(style))):
        marks.append(_coloured("backgroundColor", background, WHITE))
    return tuple(marks)


def _coloured(kind: str, colour: str, of_page: str) -> Node:
    return UNMARKED[kind] if colour == of_page else {"type": kind, "attrs": {"color": colour}}


def is_light(mark: Node) -> bool:
    """Whether a text of this colour cannot be read on a white page."""
    colour = mark.get("attrs", {}).get("color", _BLACK)
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return red * 0.3 + green * 0.6 + blue * 0.1 > _LIGHTEST
