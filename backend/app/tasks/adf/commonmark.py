"""The Markdown parser: markdown-it-py with our two parsers, shared by all threads.

It finds exactly what an unchanged markdown-it-py finds, which a property test checks token by
token, save for what `block_parser` and `inline_parser` say is ours.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from markdown_it import MarkdownIt

from app.tasks.adf.block_parser import BlockParser
from app.tasks.adf.inline_parser import InlineParser

if TYPE_CHECKING:
    from markdown_it.token import Token

    Environment = dict[str, Any]

MOST_NESTING = 120
"""The deepest nesting, whatever is asked for.

A level of Markdown is four of JSON, and `validation` stops at 500; Python's own stack at 1,000.
"""

_UNSAFE_LINK = re.compile(r"\s*(?:javascript|vbscript|data|file):", re.IGNORECASE)


class _Markdown(MarkdownIt):
    def __init__(self) -> None:
        super().__init__("zero", {"html": True, "strikethrough_single_tilde": True})
        self.block = BlockParser()
        self.inline = InlineParser()
        # Texts are joined where the ADF is built; doing it here too would be doing it twice.
        self.inline.ruler2.enableOnly(["balance_pairs", "strikethrough", "emphasis"])

    def validateLink(self, url: str) -> bool:  # noqa: N802 - theirs
        return _UNSAFE_LINK.match(url) is None


_PARSER = _Markdown()


def parse_blocks(source: str, max_nesting: int) -> tuple[list[Token], Environment]:
    """Return the document's blocks as a flat list of tokens, and what inline parsing must know.

    Inline tokens hold their source (`content`), not yet parsed: see `parse_inline`.

    Raises:
        DocumentError: quotes, lists and footnotes are nested more than `max_nesting` deep.

    """
    environment: Environment = {"nesting": 0, "max_nesting": min(max_nesting, MOST_NESTING)}
    tokens: list[Token] = []
    _PARSER.block.parse(source, _PARSER, environment, tokens)
    return tokens, environment


def parse_inline(content: str, environment: Environment) -> list[Token]:
    """Return the inline tokens of one paragraph, heading or cell; texts are not yet joined."""
    return _PARSER.inline.parse(content, _PARSER, environment, [])


def normalize_link(address: str) -> str:
    """Return `address` as an href: percent-encoded, host in Punycode; empty where unsafe."""
    href = _PARSER.normalizeLink(address)
    return href if _PARSER.validateLink(href) else ""
