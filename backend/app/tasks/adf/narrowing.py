"""A document reduced to what breaks the schema, so that explaining it takes no longer than judging.

The locator reads every node in Python; `jsonschema_rs` judges in microseconds. So the children of a
node are judged one by one, each alone in its place, and only those that are refused are kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Node = dict[str, Any]

MOST_LEVELS = 12
"""So deep it is narrowed: each level judges what is below it again."""


_WHOLE = frozenset({"mediaSingle", "blockTaskItem", "layoutSection"})
"""Nodes whose children have to stand together: a caption alone is refused."""


class Narrowed:
    """The reduced document, and where its parts stand in the whole one."""

    def __init__(self, document: Node, is_valid: Callable[[object], bool], limit: int) -> None:
        self._is_valid = is_valid
        self._limit = limit
        self._indices: dict[int, list[int]] = {}
        self.document = self._narrow(document, lambda node: node, MOST_LEVELS)

    def pointer(self, reduced: str) -> str:
        """Return the JSON Pointer into the whole document for one into the reduced one."""
        steps: list[str] = []
        value: Any = self.document
        for step in reduced.split("/")[1:]:
            if isinstance(value, list):
                at = int(step)
                steps.append(str(self._indices.get(id(value), range(len(value)))[at]))
                value = value[at]
            else:
                steps.append(step)
                value = value.get(step.replace("~1", "/").replace("~0", "~"))
        return "".join(f"/{step}" for step in steps)

    def _narrow(self, node: Any, place: Callable[[Node], Node], levels: int) -> Any:
        content = node.get("content") if isinstance(node, dict) else None
        if not isinstance(content, list) or not content or not levels:
            return node
        kind = node.get("type")
        if isinstance(kind, str) and kind in _WHOLE:
            return node
        if len(content) == 1:
            return self._kept(node, place, [0], levels)
        refused: list[int] = []
        for at, child in enumerate(content):
            if not self._is_valid(place({**node, "content": [child]})):
                refused.append(at)
                if len(refused) == self._limit:
                    break
        return self._kept(node, place, refused, levels) if refused else node

    def _kept(
        self, node: Node, place: Callable[[Node], Node], indices: list[int], levels: int
    ) -> Node:
        content = [
            self._narrow(
                node["content"][at],
                lambda child: place({**node, "content": [child]}),
                levels - 1,
            )
            for at in indices
        ]
        self._indices[id(content)] = indices
        return {**node, "content": content}
