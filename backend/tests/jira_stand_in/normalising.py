"""Jira's own changes: the difference between what was sent and what is read.

Each change is one that Jira Cloud is known to make; a reader that compares must know them all.
"""

from __future__ import annotations

import copy
import re
import uuid
from typing import Any

SECONDS = {"w": 5 * 8 * 3600, "d": 8 * 3600, "h": 3600, "m": 60}
"""Jira's units at its default working week: five days of eight hours."""

_WITH_LOCAL_ID = frozenset(
    ("taskList", "taskItem", "blockTaskItem", "decisionList", "decisionItem", "table", "expand")
)


def normalise_adf(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document as Jira returns it.

    Empty `attrs` and `marks` go, runs of text with the same marks become one, marks come in one
    order, tables say their layout, and some nodes get a `localId` of Jira's own.
    """
    return _node(copy.deepcopy(document))


def _node(node: dict[str, Any]) -> dict[str, Any]:
    for name in ("attrs", "marks"):
        if name in node and not node[name]:
            del node[name]
    if "marks" in node:
        node["marks"].sort(key=lambda mark: str(mark["type"]))
    if node["type"] in _WITH_LOCAL_ID:
        node.setdefault("attrs", {})["localId"] = str(uuid.uuid4())
    if node["type"] == "table":
        node["attrs"] = {"isNumberColumnEnabled": False, "layout": "default"} | node["attrs"]
    if "content" in node:
        node["content"] = _joined([_node(child) for child in node["content"]])
    return node


def _joined(nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    joined: list[dict[str, Any]] = []
    for node in nodes:
        last = joined[-1] if joined else None
        is_run = last is not None and last["type"] == node["type"] == "text"
        if is_run and last is not None and last.get("marks") == node.get("marks"):
            last["text"] += node["text"]
        else:
            joined.append(node)
    return joined


def normalise_duration(text: object) -> tuple[str, int]:
    """Return an estimate as Jira writes it, and its seconds: `28h` is `3d 4h`.

    Raises:
        ValueError: it is no estimate.

    """
    if not isinstance(text, str) or not re.fullmatch(r"(\s*\d+(\.\d+)?\s*[wdhm]?)+\s*", text):
        raise ValueError(text)
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([wdhm]?)", text)
    seconds = int(sum(float(number) * SECONDS[unit or "m"] for number, unit in parts))
    left, words = seconds, []
    for unit, size in SECONDS.items():
        count, left = divmod(left, size)
        if count:
            words.append(f"{count}{unit}")
    return " ".join(words) or "0m", seconds
