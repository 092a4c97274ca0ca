"""Lists that programs export as JSON in a cell: comments, checklists."""

from __future__ import annotations

from typing import Any

from pydantic_core import from_json

from app.tasks.adf.addresses import AddressResolver
from app.tasks.adf.plain_text import linked_text

Node = dict[str, Any]

_MOST_ITEMS = 1_000


def list_of_json(value: str) -> Node | None:
    """Return a list of objects, or an object of lists, as a bullet list; None for anything else."""
    if value[:2] not in {"[{", '{"'}:
        return None
    try:
        read = from_json(value)
    except ValueError:
        return None
    groups = read if isinstance(read, list) else [read]
    if isinstance(read, dict) and not all(isinstance(one, list) for one in read.values()):
        return None
    if len(groups) > _MOST_ITEMS or not all(isinstance(one, dict) for one in groups):
        return None
    lines = [
        ", ".join(f"{key}: {said}" for key, one in group.items() if (said := _said(one)))
        for group in groups
    ]
    items = [_item(line) for line in lines if line]
    return {"type": "bulletList", "content": items} if items else None


def _said(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_said, value))
    return "" if value is None else " ".join(str(value).split())


def _item(line: str) -> Node:
    content = linked_text(line, AddressResolver(None))
    return {"type": "listItem", "content": [{"type": "paragraph", "content": content}]}
