"""ADF in Jira's wiki markup, `{adf}…{adf}`: what Jira's exports have no markup for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic_core import from_json

from app.tasks.adf.attributes import read_attributes
from app.tasks.adf.block_tree import MAY_HOLD
from app.tasks.adf.document_builder import DocumentBuilder

Node = dict[str, Any]

_DEEPEST = 100


def add_adf(builder: DocumentBuilder, attributes: str) -> None:
    """Add the node that the element's `json` says, or its texts where it has no place in Jira."""
    source = read_attributes(attributes).get("json", "")
    try:
        node = from_json(source)
    except ValueError:
        node = None
    if _is_valid(node) and node["type"] in MAY_HOLD["doc"]:
        builder.flush()
        builder.tree.add_all([node])
    elif _is_valid({"type": "paragraph", "content": [node]}):
        builder.inline.add_node(node)
    else:
        builder.flush()
        for line in _lines(node) if isinstance(node, dict) else [source]:
            if line.strip():
                builder.tree.add(builder.paragraph([{"type": "text", "text": line.strip()}]))


def _is_valid(node: object) -> bool:
    from app.tasks.adf.validation import is_valid_adf  # noqa: PLC0415 - for the few that need it

    return is_valid_adf({"type": "doc", "version": 1, "content": [node]})


def _lines(node: Node, depth: int = 0) -> Iterator[str]:
    """Yield the text of each block that has one."""
    content = [one for one in node.get("content") or () if isinstance(one, dict)]
    texts = [one["text"] for one in content if isinstance(one.get("text"), str)]
    if texts:
        yield "".join(texts)
    elif depth < _DEEPEST:
        for one in content:
            yield from _lines(one, depth + 1)
