"""Plain text as ADF: line ends, blanks and punctuation stay as they are; addresses are links."""

from __future__ import annotations

from typing import Any

from app.tasks.adf.addresses import AddressResolver
from app.tasks.adf.autolinks import find_addresses
from app.tasks.adf.inline_text import link_to
from app.tasks.adf.text_cleaning import clean_text

Node = dict[str, Any]


def text_to_adf(source: str) -> Node:
    """Return the ADF document that shows `source` line by line; blank lines end a paragraph."""
    text, _ = clean_text(source)
    addresses = AddressResolver(None)
    blocks: list[Node] = []
    line_nodes: list[Node] = []
    for line in [*text.splitlines(), ""]:
        if line.strip():
            if line_nodes:
                line_nodes.append({"type": "hardBreak"})
            line_nodes += _linked(line.rstrip(), addresses)
        elif line_nodes:
            blocks.append({"type": "paragraph", "content": line_nodes})
            line_nodes = []
    return {"type": "doc", "version": 1, "content": blocks}


def _linked(line: str, addresses: AddressResolver) -> list[Node]:
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
