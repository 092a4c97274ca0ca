"""Which markup the descriptions of a table are written in, and their ADF.

Exports do not say: Jira's own has its wiki markup, Azure DevOps' HTML, those of GitHub and Linear
Markdown, and spreadsheets plain text. So the column's content decides, and a note says why.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

from app.core.errors import DocumentError
from app.tasks.adf.html_to_adf import html_to_adf
from app.tasks.adf.jira_markup import jira_markup_to_adf
from app.tasks.adf.markdown import markdown_to_adf
from app.tasks.adf.plain_text import text_to_adf
from app.tasks.adf.table_layout import blocks_of_cell
from app.values.options import BodyFormat

Node = dict[str, Any]
Convert = Callable[[str], dict[str, Any]]

_ROWS_LOOKED_AT = 500
_CHARACTERS_LOOKED_AT = 20_000
_SIGNS_SHOWN = 3

_SIGNS: dict[BodyFormat, tuple[tuple[str, re.Pattern[str]], ...]] = {
    BodyFormat.JIRA: tuple(
        (sign, re.compile(pattern, re.MULTILINE))
        for sign, pattern in (
            ("h2.", r"^h[1-6]\. \S"),
            ("{code}", r"\{code(?::[^}\n]*)?\}"),
            ("{noformat}", r"\{noformat(?::[^}\n]*)?\}"),
            ("{adf}", r"\{adf(?::[^}\n]*)?\}"),
            ("{quote}", r"^\s*\{quote\}"),
            ("{panel}", r"\{panel(?::[^}\n]*)?\}"),
            ("{color}", r"\{color:[^}\n]+\}"),
            ("{status}", r"\{status:[^}\n]+\}"),
            ("{toc}", r"^\s*\{toc(?::[^}\n]*)?\}\s*$"),
            ("{info}", r"^\s*\{(?:info|note|tip|warning|expand)(?::[^}\n]*)?\}"),
            ("|_. …|", r"^\|_\. [^|\n]+\|"),
            ('"…":https://…', r"\"[^\"\n]+\":https?://"),
            ("||…||", r"^\s*\|\|[^|\n]+\|\|"),
            ("bq.", r"^bq\. \S"),
            ("[…|https://…]", r"\[[^\]\[\n|]+\|(?:https?://|mailto:)"),
            ("[~…]", r"\[~[\w:.@-]+\]"),
            ("{{…}}", r"\{\{[^{}\n]+\}\}"),
            ("!….png!", r"![^\s!|]+\.(?:png|jpe?g|gif)(?:\|[^!\n]*)?!"),
        )
    ),
    BodyFormat.HTML: tuple(
        (sign, re.compile(pattern, re.IGNORECASE))
        for sign, pattern in (
            ("<p>", r"</(?:p|div|h[1-6]|blockquote|pre)>"),
            ("<li>", r"</(?:li|ul|ol)>"),
            ("<td>", r"</(?:td|tr|table)>"),
            ("<b>", r"</(?:b|strong|i|em|u|span|font|a|code)>"),
            ("<br>", r"<br ?/?>"),
            ("<ac:…>", r"<ac:(?:structured-macro|link|image|task-list|layout)[ >]"),
        )
    ),
    BodyFormat.MARKDOWN: tuple(
        (sign, re.compile(pattern, re.MULTILINE))
        for sign, pattern in (
            ("**…**", r"\*\*\S[^*\n]*\*\*"),
            ("```", r"^ {0,3}(?:```|~~~)"),
            ("[…](…)", r"\[[^\]\n]*\]\([^)\s]+"),
            ("# …", r"^ {0,3}#{1,6} \S"),
            ("- [ ]", r"^\s*[-*+] \[[ xX]\] "),
            ("|---|", r"^\s*\|?\s*:?-{3,}:?\s*\|"),
            ("`…`", r"`[^`\n]+`"),
            ("- …", r"^\s{0,3}[-*+] \S"),
            ("1. …", r"^\s{0,3}\d{1,3}[.)] \S"),
            ("> …", r"^> ?\S"),
            ("~~…~~", r"~~\S[^~\n]*~~"),
        )
    ),
}
_NAMES = {
    BodyFormat.JIRA: "Jira markup",
    BodyFormat.HTML: "HTML",
    BodyFormat.MARKDOWN: "Markdown",
    BodyFormat.TEXT: "plain text",
}
_WEAK_JIRA = re.compile(
    r"^[*#]+ \S|(?<!\w)[*_+-]\S[^*_+\n-]*[*_+-](?!\w)|\[https?://[^\]\s]+\]"
    r"|\[[^\]\[\n|]+\|[\^#~][^\]\n]+\]",
    re.MULTILINE,
)
_ALL_HTML = re.compile(
    r"\s*<(p|div|h[1-6]|ul|ol|dl|table|blockquote|pre|details|section|span|html|body|steps|ac:[a-z-]+)\b[^>]*>"
    r".*</\w[\w:-]*>\s*\Z",
    re.IGNORECASE | re.DOTALL,
)
"""A description that is an element of HTML, or several, from beginning to end."""

_ENTITY = re.compile(r"&(?:[a-z]{2,8}|#\d{1,7});", re.IGNORECASE)


_MAY_BE_MARKUP = re.compile(r"[<{\[*`|!\n]")
_INLINE_MARKDOWN = re.compile(r"\*\*\S[^*\n]*\*\*|\[[^\]\n]*\]\([^)\s]+|`[^`\n]+`")


@dataclass(frozen=True, slots=True)
class BodyReader:
    """Reads the descriptions of one table.

    Attributes:
        format: the markup; a description without any of its signs is plain text, or what its own
            signs tell.
        signs: what tells that it is this one; empty where it was given.

    """

    format: BodyFormat
    signs: tuple[str, ...]
    is_given: bool
    _convert: dict[BodyFormat, Convert]

    def to_adf(self, body: str) -> dict[str, Any]:
        """Return the description as ADF.

        Raises:
            DocumentError: it nests too deeply or has too many nodes.

        """
        return self._convert[self.format if self.is_given else self._format_of(body)](body)

    def to_cell(self, value: str, *, is_of_jira: bool = False) -> list[Node] | None:
        """Return a value of another column as the blocks of a cell; None where it is plain text.

        Only clear signs of markup count there, unless `is_of_jira`: a comment that Jira exported.
        """
        if not is_of_jira and _MAY_BE_MARKUP.search(value) is None:
            return None
        found = self._format_of_value(value, is_of_jira=is_of_jira)
        if found is BodyFormat.TEXT or (self.is_given and found is not self.format):
            return None
        try:
            return list(blocks_of_cell(self._convert[found](value)["content"]))
        except DocumentError:
            return None  # it nests too deeply: shown as it is written

    def _format_of_value(self, value: str, *, is_of_jira: bool) -> BodyFormat:
        if _ALL_HTML.match(value) is not None:
            return BodyFormat.HTML
        if is_of_jira and _has_signs(BodyFormat.JIRA, value):
            return BodyFormat.JIRA
        if self.format is BodyFormat.MARKDOWN and "\n" not in value:
            is_markup = _INLINE_MARKDOWN.search(value) is not None
        else:
            is_markup = _has_strong_signs(self.format, value)
        return self.format if is_markup else BodyFormat.TEXT

    def _format_of(self, body: str) -> BodyFormat:
        """Return the markup of one description: the column's, another's that it shows, or none."""
        if self.format is not BodyFormat.HTML and _ALL_HTML.match(body) is not None:
            return BodyFormat.HTML
        if _has_signs(self.format, body):
            return self.format
        of_jira = self.format is not BodyFormat.TEXT and _has_strong_signs(BodyFormat.JIRA, body)
        return BodyFormat.JIRA if of_jira else BodyFormat.TEXT

    def note(self, column: str) -> str:
        """Say for people how the column was read, and why."""
        if self.is_given:
            return ""
        reason = f" ({', '.join(self.signs)})" if self.signs else ""
        return f"“{column}” is read as {_NAMES[self.format]}{reason}"


def body_reader(
    chosen: BodyFormat,
    bodies: Iterable[str],
    *,
    base_url: str | None,
    max_nesting: int,
    max_nodes: int,
) -> BodyReader:
    """Return how to read descriptions: as chosen, or as their signs tell (`auto`)."""
    limits = {"base_url": base_url, "max_nesting": max_nesting, "max_nodes": max_nodes}
    convert: dict[BodyFormat, Convert] = {
        BodyFormat.MARKDOWN: partial(markdown_to_adf, hard_breaks=True, **limits),  # type: ignore[arg-type] # of mixed types
        BodyFormat.HTML: partial(html_to_adf, **limits),  # type: ignore[arg-type] # as above
        BodyFormat.JIRA: partial(jira_markup_to_adf, **limits),  # type: ignore[arg-type] # as above
        BodyFormat.TEXT: partial(text_to_adf, max_nodes=max_nodes),
    }
    if chosen is not BodyFormat.AUTO:
        return BodyReader(chosen, (), is_given=True, _convert=convert)
    found, signs = _by_signs(bodies)
    return BodyReader(found, signs, is_given=False, _convert=convert)


def _by_signs(bodies: Iterable[str]) -> tuple[BodyFormat, tuple[str, ...]]:
    votes: Counter[BodyFormat] = Counter()
    signs: dict[BodyFormat, Counter[str]] = {kind: Counter() for kind in _SIGNS}
    for body in islice(bodies, _ROWS_LOOKED_AT):
        beginning = body[:_CHARACTERS_LOOKED_AT]
        seen = {
            kind: [sign for sign, pattern in patterns if pattern.search(beginning)]
            for kind, patterns in _SIGNS.items()
        }
        if seen[BodyFormat.MARKDOWN] and not beginning.lstrip().startswith("<"):
            seen[BodyFormat.HTML] = []  # HTML within Markdown
        for kind, found in seen.items():
            signs[kind].update(found)
        best = max(seen, key=lambda kind: len(seen[kind]))
        if seen[best]:
            votes[best] += 1
    if not votes:
        return BodyFormat.TEXT, ()
    # Jira's signs are in no other markup, but its lists are also Markdown's.
    kinds = (BodyFormat.JIRA, BodyFormat.HTML, BodyFormat.MARKDOWN)
    best = max(kinds, key=lambda kind: votes[kind])
    return best, tuple(sign for sign, _ in signs[best].most_common(_SIGNS_SHOWN))


def _has_strong_signs(kind: BodyFormat, body: str) -> bool:
    return any(pattern.search(body) for _, pattern in _SIGNS.get(kind, ()))


def _has_signs(kind: BodyFormat, body: str) -> bool:
    if _has_strong_signs(kind, body):
        return True
    if kind is BodyFormat.JIRA and _WEAK_JIRA.search(body) is not None:
        return True
    has_entities = kind in {BodyFormat.HTML, BodyFormat.JIRA} and _ENTITY.search(body) is not None
    return has_entities or (kind is BodyFormat.HTML and "<" in body)
