"""markdown-it-py's inline rules, chosen by the character at hand, and bare addresses as in GFM.

What a rule does is markdown-it-py's business; here only those are asked that start with the
character they are asked about.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from markdown_it.parser_inline import ParserInline
from markdown_it.rules_inline import (
    StateInline,
    autolink,
    backtick,
    emphasis,
    entity,
    escape,
    html_inline,
    image,
    link,
    newline,
    strikethrough,
)

from app.tasks.adf.autolinks import URL_START, match_url

if TYPE_CHECKING:
    from collections.abc import Callable

    from markdown_it import MarkdownIt
    from markdown_it.token import Token
    from markdown_it.utils import EnvType

    InlineRule = Callable[[StateInline, bool], bool]

BRACKET_NESTING = 20
"""Brackets nested deeper than this are text: markdown-it-py's own limit for CommonMark."""

_TERMINATOR = re.compile(r"[\n!&*<\[\\\]_`~]")
_TERMINATOR_OR_URL = re.compile(rf"[\n!&*<\[\\\]_`~]|{URL_START}")
_FOOTNOTE_REFERENCE = re.compile(r"\[\^([^ \n\]]{1,200})\]")  # bounded: `[^[^[^...`


def _bare_url(state: StateInline, silent: bool) -> bool:
    """Match a bare address, outside of links."""
    if silent or state.linkLevel > 0:
        return False
    found = match_url(state.src, state.pos, state.posMax)
    if found is None:
        return False
    stop, address = found
    href = state.md.normalizeLink(address)
    if not state.md.validateLink(href):
        return False
    state.push("link_open", "a", 1).attrs = {"href": href}
    state.push("text", "", 0).content = state.src[state.pos : stop]
    state.push("link_close", "a", -1)
    state.pos = stop
    return True


def _footnote_reference(state: StateInline, silent: bool) -> bool:
    """`[^label]`, where the document defines that footnote."""
    footnotes = state.env.get("footnotes")
    if footnotes is None:
        return False
    found = _FOOTNOTE_REFERENCE.match(state.src, state.pos, state.posMax)
    if found is None or f":{found[1]}" not in footnotes["refs"]:
        return False
    if not silent:
        token = state.push("footnote_ref", "", 0)
        token.content = found[1]
    state.pos = found.end()
    return True


_INLINES_AT: dict[str, tuple[InlineRule, ...]] = {
    "\n": (newline,),
    "\\": (escape,),
    "`": (backtick,),
    "~": (strikethrough.tokenize,),
    "*": (emphasis.tokenize,),
    "_": (emphasis.tokenize,),
    "[": (_footnote_reference, link),
    "!": (image,),
    "<": (autolink, html_inline),
    "&": (entity,),
    **dict.fromkeys("hHfFw", (_bare_url,)),
}


class InlineParser(ParserInline):
    """markdown-it-py's inline parser, with rules chosen by character."""

    def tokenize(self, state: StateInline) -> None:
        """Parse the text from `state.pos` to `state.posMax`."""
        source, end = state.src, state.posMax
        may_have_urls = state.linkLevel == 0 and ("://" in source or "www." in source)
        search = (_TERMINATOR_OR_URL if may_have_urls else _TERMINATOR).search
        is_too_deep = state.level >= BRACKET_NESTING
        while (position := state.pos) < end:
            found = None if is_too_deep else search(source, position, end)
            stop = found.start() if found else end
            if stop > position:
                state.append_pending(source[position:stop])
                state.pos = stop
                continue
            for rule in _INLINES_AT.get(source[position], ()):
                if rule(state, False):
                    break
            else:
                state.append_pending(source[position])
                state.pos += 1
        if state.pending:
            state.pushPending()

    def skipToken(self, state: StateInline) -> None:  # noqa: N802 - theirs
        """Go past one token without keeping it, to find where a link's text ends."""
        position = state.pos
        known = state.cache.get(position)
        if known is not None:
            state.pos = known
            return
        if state.level >= BRACKET_NESTING:
            state.pos = state.posMax + 1
        else:
            self._skip(state, position)
        state.cache[position] = state.pos

    @staticmethod
    def _skip(state: StateInline, position: int) -> None:
        found = _TERMINATOR.search(state.src, position, state.posMax)
        stop = found.start() if found else state.posMax
        if stop > position:
            state.pos = stop
            return
        state.level += 1
        for rule in _INLINES_AT.get(state.src[position], ()):
            if rule(state, True):
                break
        else:
            state.pos = position + 1
        state.level -= 1

    def parse(
        self,
        src: str,
        md: MarkdownIt,
        env: EnvType,
        tokens: list[Token],
    ) -> list[Token]:
        """Add the inline tokens of `src` to `tokens`; texts are not yet joined."""
        state = StateInline(src, md, env, tokens)
        self.tokenize(state)
        if state.delimiters or any(state.tokens_meta):
            for pair_up in self.ruler2.getRules(""):
                pair_up(state)
        return state.tokens
