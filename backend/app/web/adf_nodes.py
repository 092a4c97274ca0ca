"""Read ADF nodes that may be invalid: each function returns something that can be shown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

Node = Mapping[str, Any]

LARGEST_NUMBER = 10**15
LONGEST_JSON = 500
MOST_MARKS = 12
_MILLISECONDS = re.compile(r"-?[0-9]{1,15}", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def type_of(node: object) -> str:
    """Return the node's type; empty where it has none."""
    found = node.get("type") if isinstance(node, Mapping) else None
    return found if isinstance(found, str) else ""


def children_of(node: Node) -> list[Any]:
    """Return the node's content as a list, even if it is not one."""
    content = node.get("content")
    if isinstance(content, list):
        return content
    return [] if content is None else [content]


def attribute(node: Node, name: str) -> str:
    """Return an attribute as text; empty if it is missing, or neither text nor a number."""
    attributes = node.get("attrs")
    return scalar_text(attributes.get(name)) if isinstance(attributes, Mapping) else ""


def number(node: Node, name: str, *, least: int, most: int, otherwise: int) -> int:
    """Return an attribute as a whole number between `least` and `most`."""
    attributes = node.get("attrs")
    value = attributes.get(name) if isinstance(attributes, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # noqa: PLR0124 - NaN
        return otherwise
    return int(max(least, min(value, most)))


def marks_of(node: Node) -> dict[str, Node]:
    """Return the node's marks by type: the first of each, up to a sensible number."""
    marks = node.get("marks")
    found: dict[str, Node] = {}
    for mark in marks if isinstance(marks, list) else ():
        if isinstance(mark, Mapping) and len(found) < MOST_MARKS:
            found.setdefault(type_of(mark), mark)
    return found


def scalar_text(value: object) -> str:
    """Return text and numbers as text; empty for everything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and abs(value) >= LARGEST_NUMBER:  # to write it out takes long
        return "a very large number"
    return str(value) if isinstance(value, int | float) else ""


def date_of(timestamp: str) -> datetime | None:
    """Return the day of an ADF date (milliseconds since 1970, as text)."""
    if not _MILLISECONDS.fullmatch(timestamp):
        return None
    try:
        return _EPOCH + timedelta(milliseconds=int(timestamp))
    except OverflowError:
        return None


def compact_json(value: object) -> str:
    """Return the value as JSON on one line, cut short."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, RecursionError):
        return "…"
    return text if len(text) <= LONGEST_JSON else text[:LONGEST_JSON] + "…"


def texts_in(node: object) -> Iterator[str]:
    """Yield all texts below the node in reading order, at any depth."""
    waiting: list[object] = [node]
    while waiting:
        here = waiting.pop()
        if isinstance(here, Mapping):
            yield from filter(None, (scalar_text(here.get("text")), attribute(here, "text")))
            waiting.extend(reversed(children_of(here)))
        elif isinstance(here, list):
            waiting.extend(reversed(here))
        elif text := scalar_text(here):
            yield text
