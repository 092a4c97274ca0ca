"""The attributes of an element, as they are written."""

from __future__ import annotations

import re
from html import unescape

_ATTRIBUTE = re.compile(r'([^\s=/"]+)(?:="([^"]*)")?')
_LARGEST_NUMBER = 2**31 - 1


def read_attributes(written: str) -> dict[str, str]:
    """Return the attributes of a serialized tag by name; "" for one without a value."""
    found = dict(_ATTRIBUTE.findall(written))
    if "&" in written:
        return {name: unescape(value) for name, value in found.items()}
    return found


def number(written: str | None, otherwise: int, least: int, most: int = _LARGEST_NUMBER) -> int:
    """Return the number that an attribute says, within bounds."""
    if written is None or not written.strip().lstrip("+-").isdecimal():
        return otherwise
    return min(max(int(written[:12]), least), most)
