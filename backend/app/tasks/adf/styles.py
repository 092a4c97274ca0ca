"""The marks of ADF that an element's attributes stand for."""

from __future__ import annotations

import re
from typing import Any

Node = dict[str, Any]

_ALIGNMENTS = {"center": "center", "right": "end", "end": "end", "middle": "center"}
_HEX = re.compile(r"#([0-9a-f]{3}|[0-9a-f]{6})\b", re.IGNORECASE)
_RGB = re.compile(r"rgba?\(\s*(\d{1,3})[\s,]+(\d{1,3})[\s,]+(\d{1,3})(?:[\s,/]+([\d.]+))?")
_NAMED = {
    "aqua": "#00ffff", "black": "#000000", "blue": "#0000ff", "brown": "#a52a2a",
    "crimson": "#dc143c", "cyan": "#00ffff", "darkblue": "#00008b", "darkgreen": "#006400",
    "darkorange": "#ff8c00", "darkred": "#8b0000", "fuchsia": "#ff00ff", "gold": "#ffd700",
    "gray": "#808080", "green": "#008000", "grey": "#808080", "indigo": "#4b0082",
    "lightblue": "#add8e6", "lightgray": "#d3d3d3", "lightgreen": "#90ee90", "lime": "#00ff00",
    "magenta": "#ff00ff", "maroon": "#800000", "navy": "#000080", "olive": "#808000",
    "orange": "#ffa500", "pink": "#ffc0cb", "purple": "#800080", "red": "#ff0000",
    "silver": "#c0c0c0", "teal": "#008080", "tomato": "#ff6347", "violet": "#ee82ee",
    "white": "#ffffff", "yellow": "#ffff00",
}  # fmt: skip
"""The colours of CSS that people name; any other is left out, as the text is what counts."""

_OF_CONFLUENCE = {
    "grey": "#f4f5f7", "red": "#ffebe6", "yellow": "#fffae6", "green": "#e3fcef",
    "blue": "#deebff", "teal": "#e6fcff", "purple": "#eae6ff",
}  # fmt: skip
"""The grounds of cells that Confluence calls by these names."""

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
    """Return a colour of CSS as `#rrggbb`; None for one that is not known, or transparent."""
    colour = colour.strip().lower()
    if found := _HEX.match(colour):
        digits = found[1]
        return "#" + (digits if len(digits) > 3 else "".join(d * 2 for d in digits))  # noqa: PLR2004
    if found := _RGB.match(colour):
        if found[4] is not None and found[4].strip("0.") == "":
            return None
        return "#" + "".join(f"{min(int(part), 255):02x}" for part in found.groups()[:3])
    return _NAMED.get(colour)


def ground_of(attributes: dict[str, str]) -> str | None:
    """Return the colour of a cell's ground; None where it is the page's."""
    style = declarations(attributes.get("style", ""))
    said = style.get("background-color") or style.get("background") or attributes.get("bgcolor")
    highlight = attributes.get("data-highlight-colour", "").lower()
    colour = hex_colour(said or _OF_CONFLUENCE.get(highlight, highlight))
    return None if colour == "#ffffff" else colour


def block_marks_of(attributes: dict[str, str]) -> list[Node]:
    """Return the marks that a block's `style` and `color` give to all the text in it."""
    if "style" not in attributes and "color" not in attributes:
        return []
    return [mark for mark in marks_of(attributes) if mark["type"] not in _NOT_OF_BLOCKS]


_NOT_OF_BLOCKS = frozenset({"backgroundColor", "subsup"})


def marks_of(attributes: dict[str, str]) -> list[Node]:
    """Return the marks that an inline element's `style` and `color` stand for."""
    style = declarations(attributes.get("style", ""))
    marks: list[Node] = []
    weight = style.get("font-weight", "")
    if weight in {"bold", "bolder"} or (weight.isdigit() and int(weight[:4]) >= 600):  # noqa: PLR2004 - CSS: semi-bold
        marks.append({"type": "strong"})
    if style.get("font-style") in {"italic", "oblique"}:
        marks.append({"type": "em"})
    decoration = style.get("text-decoration", "") + style.get("text-decoration-line", "")
    if "underline" in decoration:
        marks.append({"type": "underline"})
    if "line-through" in decoration:
        marks.append({"type": "strike"})
    if (position := style.get("vertical-align", "")) in {"sub", "super"}:
        marks.append({"type": "subsup", "attrs": {"type": position[:3]}})
    colour = hex_colour(style.get("color", attributes.get("color", "")))
    if colour and colour != "#000000":
        marks.append({"type": "textColor", "attrs": {"color": colour}})
    ground = hex_colour(style.get("background-color", ""))
    if ground and ground != "#ffffff":
        marks.append({"type": "backgroundColor", "attrs": {"color": ground}})
    return marks
