"""Plain text as ADF: line ends, blanks and punctuation stay as they are; addresses are links."""

from __future__ import annotations

from typing import Any

from app.tasks.adf.addresses import AddressResolver
from app.tasks.adf.autolinks import find_addresses
from app.tasks.adf.html_reader import too_many_nodes
from app.tasks.adf.inline_text import link_to
from app.tasks.adf.markdown import DEFAULT_MAX_NODES
from app.tasks.adf.text_cleaning import clean_text

Node = dict[str, Any]


def text_to_adf(source: str, *, max_nodes: int = DEFAULT_MAX_NODES) -> Node:
    """Return the ADF document that shows `source` line by line; blank lines end a paragraph.

    Raises:
        DocumentError: it becomes more than `max_nodes` nodes.

    """
    text, _ = clean_text(source)
    addresses = AddressResolver(None)
    blocks: list[Node] = []
    line_nodes: list[Node] = []
    node_count = 0
    for line in [*text.splitlines(), ""]:
        if line.strip():
            linked = linked_text(line.rstrip(), addresses)
            node_count += 1 + len(linked)  # the break or paragraph, too
            if node_count > max_nodes:
                raise too_many_nodes(max_nodes)
            if line_nodes:
                line_nodes.append({"type": "hardBreak"})
            line_nodes += linked
        elif line_nodes:
            blocks.append({"type": "paragraph", "content": line_nodes})
            line_nodes = []
    return {"type": "doc", "version": 1, "content": blocks}


def linked_text(line: str, addresses: AddressResolver) -> list[Node]:
    """Return the text with its addresses as links."""
    nodes: list[Node] = []
    done = 0
    for start, end, address in find_addresses(line):
        href = addresses.resolve(address)
        if href is not None:
            if start > done:
                nodes.append({"type": "text", "text": line[done:start]})
            nodes.append({"type": "text", "text": line[start:end], "marks": [link_to(href)]})
            done = end
    if done < len(line):
        nodes.append({"type": "text", "text": line[done:]})
    return nodes
