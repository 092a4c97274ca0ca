"""Markdown made ready for pulldown-cmark, and its HTML made ready for `html_reader`.

pulldown-cmark reads CommonMark and most of GitHub's extensions. What it has not: bare addresses
(`_`, `*` and `~` in one are no emphasis), table rows with a pipe in code or with more cells than
the header, admonitions, and tags that are no HTML. Characters that it must not see as markup are
exchanged for non-characters, which no cleaned text has, and put back in the HTML: so nothing has to
be known about what is code and what is not.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyromark import Markdown, Options

from app.tasks.adf.admonitions import has_admonitions, with_admonitions_as_html
from app.tasks.adf.html_source import (
    AROUND_END_TAGS_LEFT_OUT,
    END_TAG_LEFT_OUT,
    KNOWN_ELEMENTS,
    KNOWN_WHERE_CLOSED,
    balanced_fragment,
)
from app.tasks.adf.panels import PANEL_TYPES
from app.tasks.adf.table_rows import PIPE, with_pipes_shielded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PARSER = Markdown(
    options=Options.ENABLE_TABLES
    | Options.ENABLE_FOOTNOTES
    | Options.ENABLE_STRIKETHROUGH
    | Options.ENABLE_TASKLISTS
    | Options.ENABLE_DEFINITION_LIST
)

_COLON = "\ufdd6"
_DASH = "\ufdd8"
_SHIELD = {
    "_": "\ufdd0", "*": "\ufdd1", "~": "\ufdd2", "|": PIPE, ":": _COLON, "\\": "\ufdd7", "-": _DASH,
}  # fmt: skip
_SHIELD_TABLE = str.maketrans({plain: _SHIELD[plain] for plain in "_*~|\\"})
_ENCODED_SHIELD = re.compile(r"%EF%B7%9([0-367])")
# Each begins with a literal, which the regular expression engine finds ten times as fast, and looks
# for markup no farther than where the next may begin, so that no character is looked at twice.
_NOT_IN_ADDRESS = r"\s<>\"'`|\\)\]"
_BARE_ADDRESS, _BARE_HOST = (
    re.compile(
        f"{start}[^{_NOT_IN_ADDRESS}_*~{first}]*+(?:{first}(?!{others})[^{_NOT_IN_ADDRESS}_*~{first}]*+)*"
        f"[_*~][^{_NOT_IN_ADDRESS}]*+"
    )
    for start, first, others in (("://", ":", "//"), (r"www\.", "w", r"ww\."))
)
_FORMULA = re.compile(
    r"\$\$(?!\$)[^$\n]*+(?:\n(?![ \t]*\n)[^$\n]*+){0,500}\$\$"
    r"|\$(?=[^\s$])(?=[^$\n]*?(?:\\[A-Za-z]|[\^_]))[^$\n]++(?<!\s)\$(?!\d)"
)
"""TeX, as GitHub and Obsidian have it; `$5 or US$6` is none."""

_SIGNATURE = re.compile(r"^--(?= ?$)", re.MULTILINE)
_COLON_BEFORE_WORD = re.compile(r":(?<=[\n\t >]:)(?=[^\s-])")
"""Begins no definition, where it is the first of its line: `:smile:`."""

_DEEPEST_INDENT = 512

_RAW_HTML = re.compile(r"<[A-Za-z/!?]")
_TAG_NAME = re.compile(r"<(/?)([A-Za-z][^\s/>\"'<]*)")
_INVISIBLE = ("script", "style", "template")
_MOST_REPLACED = 8
"""Names replaced one by one; more are replaced in one slower pass."""

_SWALLOWING = (
    *("audio", "canvas", "iframe", "math", "object", "picture", "select", "svg", "textarea"),
    "video",
)
_HEADING_TAG = re.compile(r"<h[1-6](?=[\s>/])", re.IGNORECASE)
_TASK = re.compile(r'<li>(\s*(?:<p>)?)<input disabled="" type="checkbox"( checked="")?/>')
_TASK_LIST = re.compile(r"<ul>(?=\s*<li data-task)")
_ALERT = re.compile(
    r"<blockquote>(\s*<p>)(?:\[!(\w+)\][+-]?[ \t]*((?:[^\n<]|<(?!br />|/p>))*)"
    r"(?:\n|<br />\n?|(?=</p>))"
    r"|(?=<strong>(Note|Tip|Important|Warning|Caution)</strong>(?:\n|<br />|</p>)))"
)
_NOTION_CALLOUT = re.compile(
    r"<aside>(?=\s*(?:<p>\s*)?[\u2139\u203c\u2600-\u27bf\U0001f300-\U0001faff])"
)
_CONTENTS = re.compile(r"<p>(?:\[\[(?:<em>TOC</em>|TOC|toc)\]\]|\[TOC\]|\[toc\])</p>\n?")
"""The table of contents, by GitLab and Azure DevOps, or by Python's Markdown: no content."""

_FORMULA_ALONE = re.compile(r"<p>\$\$\s*([^$<]+?)\s*\$\$</p>")
_FORMULA_IN_CODE = re.compile(r"\$(<code>[^<]*</code>)\$")
_WITHIN_MARKS = r"<(\w+)[^<>]*>[^<>]*</\2>"


class _OutsideCode:
    """A pattern that finds nothing in code or tags; what it replaces there stays as it is."""

    def __init__(self, pattern: str) -> None:
        self._anywhere = re.compile(pattern)
        self._outside = re.compile(rf"<(?:code|pre)(?=[ >])[^<>]*>[^<]*+|<[^<>]*+>|{pattern}")

    def sub(self, written: str | Callable[[re.Match[str]], str], html: str) -> str:
        if self._anywhere.search(html) is None:  # ten times as fast
            return html
        return self._outside.sub(written, html)


_HIGHLIGHT = _OutsideCode(
    rf"==(?<![\w=]==)(?=[^\s=])((?:[^<=]++|=(?!=)|{_WITHIN_MARKS})+)(?<!\s)==(?![\w=])"
)
_COMMENT = _OutsideCode(
    rf"%%(?<![^\s>]%%)(?!%)((?:[^<%]++|%(?!%)|{_WITHIN_MARKS})+)(?<!\d)%%(?![\w%])"
)
_WIKI_LINK = _OutsideCode(
    r"(!?)\[\[(?![\d\s,.]*[\]|])(?=\S)([^\[\]|<>\"\n]+?)(?:\|([^\[\]|<>\"\n]+))?\]\]"
)
_SIZED_PICTURE = _OutsideCode(
    r'!\[([^\]"<\n]*)\]\(([^\s"<()]++)(?:\s+"([^"<\n]*)")?\s+=(\d*)x(\d*)\)'
)
"""A picture of Azure DevOps, `![alt](address =500x)`."""

_PICTURE = re.compile(r"\.(?:png|jpe?g|gif|svg|webp|bmp|avif)$", re.IGNORECASE)

_ATTRIBUTES = re.compile(r"<p>\{:[^{}<\n]*\}(?:</p>|\n)|[ \n]?\{: ?[.#][^{}<\n]*\}(?=</p>)")
"""Attributes of the text above or before them, by kramdown (Jekyll)."""

_SIZE_OF_PICTURE = re.compile(
    r"(?<=\") ?/>\{:?[ \t]*((?:(?:width|height)=(?:\"[\w%.]+\"|[\w%.]+)[ \t]*)+)\}"
)
"""What GitLab, YouTrack and Pandoc write behind a picture."""

_FOOTNOTE_REFERENCE = re.compile(
    r'<sup class="footnote-reference"><a href="#([^"]*)">\d+</a></sup>'
)
_FOOTNOTE_DEFINITION = re.compile(
    r'<div class="footnote-definition" id="([^"]*)">'
    r'<sup class="footnote-definition-label">\d+</sup>'
)


@dataclass(frozen=True, slots=True)
class PreparedMarkdown:
    """Markdown that pulldown-cmark reads as it is meant.

    Attributes:
        text: the Markdown.
        origins: for each line, the line of the source it comes from (first is 0); None: the same.
        is_shielded: whether characters were exchanged.

    """

    text: str
    origins: list[int] | None
    is_shielded: bool

    def html(self, *, number_headings: bool) -> str:
        """Return the document as HTML with balanced tags.

        `number_headings` gives each heading a `data-heading`, counted from 0, by which
        `heading_lines` finds its line.
        """
        html = _PARSER.html(self.text)
        if self.is_shielded:
            for plain, shield in _SHIELD.items():
                html = html.replace(shield, plain)
            if "%EF%B7%9" in html:
                html = _ENCODED_SHIELD.sub(lambda found: "_*~|  :\\"[int(found[1])], html)
        if number_headings:
            html = _with_numbered_headings(html)
        for sign, pattern, written in _REWRITTEN:
            if sign[0] in html and sign in html:  # one character is found five times as fast
                html = pattern.sub(written, html)
        if _RAW_HTML.search(self.text) is not None:
            html, names = _with_unknown_tags_as_text(html, self.text)
            html = balanced_fragment(html, names)
        return html

    def heading_lines(self) -> Iterator[int]:
        """Yield the line of each heading, in the order of `data-heading`; the first line is 1."""
        encoded = self.text.encode()
        line_ends = [found.start() for found in re.finditer(b"\n", encoded)]

        def line_at(offset: int) -> int:
            line = bisect_right(line_ends, offset - 1)
            return (line if self.origins is None else self.origins[line]) + 1

        for event, place in _PARSER.events_with_range(self.text, merge_text=True):
            if not isinstance(event, dict):
                continue
            start = event.get("Start")
            if isinstance(start, dict) and "Heading" in start:
                yield line_at(place["start"])
            html = event.get("Html") or event.get("InlineHtml")
            if isinstance(html, str) and "<" in html:
                for tag in _HEADING_TAG.finditer(html):
                    yield line_at(place["start"] + len(html[: tag.start()].encode()))


def prepare_markdown(source: str, *, is_message: bool = False) -> PreparedMarkdown:
    r"""Return `source` (cleaned, line ends: `\n`) as pulldown-cmark is to read it.

    In a message, `--` begins a signature, and makes no heading of the line above.
    """
    text, origins = source, None
    if has_admonitions(text):
        lines, origins = with_admonitions_as_html(text.split("\n"))
        text = "\n".join(lines)
    plain = text
    if is_message and "\n--" in text:
        text = _SIGNATURE.sub(_DASH * 2, text)
    if "://" in text:
        text = _BARE_ADDRESS.sub(_shield_address, text)
    if "www." in text:
        text = _BARE_HOST.sub(_shield_address, text)
    if "$" in text:
        text = _FORMULA.sub(lambda found: found[0].translate(_SHIELD_TABLE), text)
    if ":" in text:
        text = _COLON_BEFORE_WORD.sub(_shield_first_colon, text)
    if "|" in text and "-" in text:
        text = with_pipes_shielded(text)
    return PreparedMarkdown(text, origins, text is not plain and text != plain)


def _shield_first_colon(found: re.Match[str]) -> str:
    at = found.start()
    _, line_end, line = found.string[max(0, at - _DEEPEST_INDENT) : at].rpartition("\n")
    return _COLON if line_end and not line.strip(" \t>") else ":"


def _shield_address(found: re.Match[str]) -> str:
    address = found[0].rstrip("?!.,:;*_~")
    return address.translate(_SHIELD_TABLE) + found[0][len(address) :]


def _with_numbered_headings(html: str) -> str:
    number = -1

    def mark(found: re.Match[str]) -> str:
        nonlocal number
        number += 1
        return f'{found[0]} data-heading="{number}"'

    return _HEADING_TAG.sub(mark, html)


def _write_size(found: re.Match[str]) -> str:
    sizes = re.findall(r"(width|height)=\"?([\w%.]+)", found[1])
    return "".join(f' {side}="{size}"' for side, size in sizes) + "/>"


def _mark_task(found: re.Match[str]) -> str:
    return f'<li data-task="{"done" if found[2] else "open"}">{found[1]}'


def _write_highlight(found: re.Match[str]) -> str:
    return f"<mark>{found[1]}</mark>" if found[1] else found[0]


def _drop_comment(found: re.Match[str]) -> str:
    return "" if found[1] else found[0]


def _write_wiki_link(found: re.Match[str]) -> str:
    """Write `[[Page]]`, `[[Page|text]]` or `![[picture.png|300]]` as a link or a picture."""
    embeds, page, said = found.groups()
    if page is None:
        return found[0]
    if embeds and _PICTURE.search(page) is not None:
        width = re.match(r"\d+", said or "")
        return f'<img src="{page}" ' + (
            f'width="{width[0]}"/>' if width else f'alt="{said or ""}"/>'
        )
    shown = said or " > ".join(part for part in page.split("#") if part)
    return f'<a href="{page}">{shown}</a>'


def _write_sized_picture(found: re.Match[str]) -> str:
    names = ("alt", "src", "title", "width", "height")
    said = [f'{name}="{value}"' for name, value in zip(names, found.groups(), strict=True) if value]
    return f"<img {' '.join(said)}/>" if found[2] else found[0]


def _mark_alert(found: re.Match[str]) -> str:
    space, kind, title, named = found.groups()
    if named:
        return f'<blockquote class="alert {named.lower()}">{space}'
    if kind.lower() not in PANEL_TYPES:
        return found[0]
    heading = f"<strong>{title.strip()}</strong><br />" if title.strip() else ""
    return f'<blockquote class="alert {kind.lower()}">{space}{heading}'


def _with_unknown_tags_as_text(html: str, source: str) -> tuple[str, set[str]]:
    """Escape the tags that are no HTML, or that would swallow the rest of the document.

    Return the HTML, and the names of all tags in `source`, in lower case.
    """
    tags = set(_TAG_NAME.findall(source))
    unknown = _unknown_names(source, tags)
    folded = {name.lower() for _, name in tags}
    for name in unknown:
        if name.lower() in _INVISIBLE:
            html = _without_element(html, name.lower())
    kept = html.rfind("-->") + 1
    if html.find("<!--", kept) >= 0:  # never closed
        html = html[:kept] + html[kept:].replace("<!--", "&lt;!--")
    if len(unknown) > _MOST_REPLACED:
        html = _TAG_NAME.sub(lambda tag: f"&lt;{tag[0][1:]}" if tag[2] in unknown else tag[0], html)
        return html, folded
    for start in (f"{slash}{name}" for name in unknown for slash in ("<", "</")):
        if start in html:
            for end in (">", " ", "\n", "/", "\t"):
                html = html.replace(f"{start}{end}", f"&lt;{start[1:]}{end}")
    return html, folded


def _unknown_names(source: str, tags: set[tuple[str, str]]) -> set[str]:
    """Return the names of the tags in `source` that are text."""
    closed = {name for slash, name in tags if slash}
    names = {name for slash, name in tags if not slash}
    unknown = {name for name in names | closed if not _is_html(name, closed, source)}
    for name in names - unknown:
        if (folded := name.lower()) in _SWALLOWING:
            lowered = source.lower()
            if lowered.count(f"<{folded}") > lowered.count(f"</{folded}"):
                unknown.add(name)
    return unknown


def _is_html(name: str, closed: set[str], source: str) -> bool:
    """Whether the tag is HTML; `Map<Object>` and the like have no closing tag."""
    folded = name.lower()
    if folded not in KNOWN_ELEMENTS:
        return folded in KNOWN_WHERE_CLOSED and name in closed
    if name.islower() or name[1:].isdigit() or name in closed or name in {"BR", "HR", "IMG"}:
        return True
    if name == "P":
        return re.search(r"\w<P>", source) is None
    return name in END_TAG_LEFT_OUT and not closed.isdisjoint(AROUND_END_TAGS_LEFT_OUT)


def _without_element(html: str, name: str) -> str:
    opening = re.compile(rf"<{name}(?=[\s>/])", re.IGNORECASE)
    closing = re.compile(rf"</{name}\s*>", re.IGNORECASE)
    kept: list[str] = []
    done = 0
    while (start := opening.search(html, done)) is not None:
        end = closing.search(html, start.end())
        if end is None:
            break
        kept.append(html[done : start.start()])
        done = end.end()
    return "".join([*kept, html[done:]]) if kept else html


_REWRITTEN: tuple[
    tuple[str, re.Pattern[str] | _OutsideCode, str | Callable[[re.Match[str]], str]], ...
] = (
    ("checkbox", _TASK, _mark_task),
    ("data-task", _TASK_LIST, "<ul data-tasks>"),
    ("<blockquote", _ALERT, _mark_alert),
    ("<aside>", _NOTION_CALLOUT, '<aside class="callout">'),
    ("TOC", _CONTENTS, ""),
    ("[toc]", _CONTENTS, ""),
    ("{:", _ATTRIBUTES, ""),
    ("$<code>", _FORMULA_IN_CODE, r"\1"),
    ("$$", _FORMULA_ALONE, r'<pre lang="latex">\1</pre>'),
    ("==", _HIGHLIGHT, _write_highlight),
    ("%%", _COMMENT, _drop_comment),
    ("[[", _WIKI_LINK, _write_wiki_link),
    ("](", _SIZED_PICTURE, _write_sized_picture),
    ("/>{", _SIZE_OF_PICTURE, _write_size),
    (
        "footnote-",
        _FOOTNOTE_REFERENCE,
        r'<footnote-reference name="\1"></footnote-reference>',
    ),
    ("footnote-", _FOOTNOTE_DEFINITION, r'<div data-footnote="\1">'),
)
"""Rewritings of the parser's HTML: a sign that it must have, what to find, what it becomes."""
