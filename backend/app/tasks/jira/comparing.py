"""Compare what was sent to Jira with what is read back, past the changes that Jira makes.

===================== ============================================================================
of                    what Jira changes
===================== ============================================================================
descriptions          `localId` and other attributes that it adds; empty `attrs` and `marks`; the
                      order of marks; neighbouring texts with the same marks become one
lists                 their order, and repeated entries
references            an id or a name comes back as the whole object; people by `accountId`
numbers               `3` comes back as `3.0`
estimates             `28h` comes back as `3d 4h`: compared by seconds where they are given
summaries             blanks at their ends
===================== ============================================================================
"""

from __future__ import annotations

import re
from typing import Any

_SECONDS = {"w": 5 * 8 * 3600, "d": 8 * 3600, "h": 3600, "m": 60}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([wdhm]?)")
_DEFAULTS = {"isNumberColumnEnabled": False, "layout": "default"}
"""Attributes that Jira adds to tables, with these values."""


def differs(sent: Any, read: Any) -> bool:
    """Whether a field's value, as Jira returns it, is another than the one that was sent."""
    return not _agrees(sent, read)


def _agrees(sent: Any, read: Any) -> bool:
    if isinstance(sent, dict):
        if sent.get("type") == "doc":
            return isinstance(read, dict) and _normal(sent) == _normal(read)
        return isinstance(read, dict) and all(
            _member_agrees(name, value, read) for name, value in sent.items()
        )
    if isinstance(sent, list):
        return _list_agrees(sent, read if isinstance(read, list) else [])
    if isinstance(read, list):  # a sprint is sent as its number
        return any(_agrees(sent, each) for each in read)
    if isinstance(read, dict):
        return any(str(read.get(name)) == str(sent) for name in ("id", "key", "name", "value"))
    are_numbers = isinstance(sent, int | float) and isinstance(read, int | float)
    return sent == read if are_numbers else str(sent).strip() == str(read).strip()


def _list_agrees(sent: list[Any], read: list[Any]) -> bool:
    return all(any(_agrees(each, other) for other in read) for each in sent) and all(
        any(_agrees(each, other) for each in sent) for other in read
    )


def _member_agrees(name: str, sent: Any, read: dict[str, Any]) -> bool:
    seconds = read.get(f"{name}Seconds")
    if seconds is not None:
        return _seconds_of(str(sent)) == int(seconds)
    if name == "id" and "id" not in read:
        return str(read.get("accountId")) == str(sent)
    return name in read and _agrees(sent, read[name])


def _seconds_of(duration: str) -> int:
    return int(sum(float(n) * _SECONDS[unit or "m"] for n, unit in _DURATION.findall(duration)))


def _normal(node: dict[str, Any]) -> dict[str, Any]:
    """Return an ADF node without what Jira changes."""
    made = {name: value for name, value in node.items() if name not in {"attrs", "marks"}}
    attributes = {
        name: value
        for name, value in (node.get("attrs") or {}).items()
        if name != "localId" and not (name in _DEFAULTS and value == _DEFAULTS[name])
    }
    marks = [_normal(mark) for mark in node.get("marks") or []]
    if attributes:
        made["attrs"] = attributes
    if marks:
        made["marks"] = sorted(marks, key=lambda mark: str(mark.get("type")))
    if isinstance(node.get("content"), list):
        made["content"] = _joined([_normal(child) for child in node["content"]])
    return made


def _joined(nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    joined: list[dict[str, Any]] = []
    for node in nodes:
        last = joined[-1] if joined else {}
        is_run = last.get("type") == node.get("type") == "text"
        if is_run and last.get("marks") == node.get("marks"):
            last["text"] += node["text"]
        else:
            joined.append(node)
    return joined
