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
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyromark import Markdown, Options

from app.tasks.adf.html_source import KNOWN_ELEMENTS, balanced_fragment
from app.tasks.adf.panels import PANEL_TYPES

if TYPE_CHECKING:
    from collections.abc import Iterator

_PARSER = Markdown(
    options=Options.ENABLE_TABLES
    | Options.ENABLE_FOOTNOTES
    | Options.ENABLE_STRIKETHROUGH
    | Options.ENABLE_TASKLISTS
    | Options.ENABLE_DEFINITION_LIST
)

_SHIELD = dict(zip("_*~|", "\ufdd0\ufdd1\ufdd2\ufdd3", strict=True))
_SHIELD_TABLE = str.maketrans(_SHIELD)
_ENCODED_SHIELD = re.compile(r"%EF%B7%9([0-3])")
_BARE_ADDRESS = re.compile(r"(?:://|www\.)[^\s<>\"'`|\\)\]]*+")
_DASH_AND_PIPE = re.compile(r"-:?[ \t]*\|")
_DELIMITER_ROW = re.compile(r"[ \t>]*(?:\|[ \t]*)?:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*")
_BACKTICKS_OR_PIPE = re.compile(r"`+|\\.|\|")

_RAW_HTML = re.compile(r"<[A-Za-z/!?]")
_TAG_NAME = re.compile(r"<(/?)([A-Za-z][^\s/>\"'<]*)")
_INVISIBLE = ("script", "style", "template")
_SWALLOWING = ("audio", "iframe", "math", "object", "picture", "select", "svg", "video")
_HEADING_TAG = re.compile(r"<h[1-6](?=[\s>/])", re.IGNORECASE)
_TASK = re.compile(r'<li>(\s*(?:<p>)?)<input disabled="" type="checkbox"( checked="")?/>')
_TASK_LIST = re.compile(r"<ul>(?=\s*<li data-task)")
_ALERT = re.compile(
    r"<blockquote>(\s*<p>)(?:\[!(\w+)\][+-]?[ \t]*([^\n<]*)(?:\n|<br />\n?|(?=</p>))"
    r"|(?=<strong>(Note|Tip|Important|Warning|Caution)</strong>(?:\n|<br />|</p>)))"
)
_FOOTNOTE_REFERENCE = re.compile(
    r'<sup class="footnote-reference"><a href="#([^"]*)">\d+</a></sup>'
)
_FOOTNOTE_DEFINITION = re.compile(
    r'<div class="footnote-definition" id="([^"]*)"><sup class="footnote-definition-label">\d+</sup>'
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
                html = _ENCODED_SHIELD.sub(lambda found: "_*~|"[int(found[1])], html)
        if number_headings:
            html = _with_numbered_headings(html)
        if "checkbox" in html:
            html = _TASK.sub(_mark_task, html)
            html = _TASK_LIST.sub("<ul data-tasks>", html)
        if "<blockquote" in html:
            html = _ALERT.sub(_mark_alert, html)
        if "footnote-" in html:
            html = _FOOTNOTE_REFERENCE.sub(
                r'<footnote-reference name="\1"></footnote-reference>', html
            )
            html = _FOOTNOTE_DEFINITION.sub(r'<div data-footnote="\1">', html)
        if _RAW_HTML.search(self.text) is not None:
            html = balanced_fragment(_with_unknown_tags_as_text(html, self.text))
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


def prepare_markdown(source: str) -> PreparedMarkdown:
    r"""Return `source` (cleaned, line ends: `\n`) as pulldown-cmark is to read it."""
    text, origins = source, None
    if (":::" in text or "!!!" in text or "???" in text) and _ADMONITION.search(text):
        lines, origins = _with_admonitions_as_html(text.split("\n"))
        text = "\n".join(lines)
    plain = text
    if "://" in text or "www." in text:
        text = _BARE_ADDRESS.sub(_shield_address, text)
    if "|" in text and "-" in text:
        text = _with_pipes_shielded(text)
    return PreparedMarkdown(text, origins, text is not plain and text != plain)


def _shield_address(found: re.Match[str]) -> str:
    address = found[0].rstrip("?!.,:;*_~")
    return address.translate(_SHIELD_TABLE) + found[0][len(address) :]


# Tables


def _with_pipes_shielded(text: str) -> str:
    """Shield the pipes of table rows that stand in code, or beyond the last column."""
    delimiter_rows = _delimiter_rows(text)
    if not delimiter_rows:
        return text
    parts: list[str] = []
    done = 0
    for row in delimiter_rows:
        if row.start() < done:
            continue
        columns = _cell_count(row[0])
        header_start = text.rfind("\n", done, max(row.start() - 1, done)) + 1 or done
        parts += [
            text[done:header_start],
            _shield_row(text[header_start : row.start()], columns, keep_surplus=False),
            row[0],
        ]
        done = row.end()
        while done < len(text):
            end = text.find("\n", done + 1)
            line = text[done : end if end >= 0 else len(text)]
            if not line.strip(" \t\n>"):
                break
            parts.append(_shield_row(line, columns, keep_surplus=True))
            done += len(line)
    parts.append(text[done:])
    return "".join(parts)


def _delimiter_rows(text: str) -> list[re.Match[str]]:
    """Return the lines below the headers of tables, and perhaps some that only look like one."""
    rows: list[re.Match[str]] = []
    position = 0
    while (hint := _DASH_AND_PIPE.search(text, position)) is not None:
        start = text.rfind("\n", 0, hint.start()) + 1
        end = text.find("\n", hint.start())
        position = end if end >= 0 else len(text)
        row = _DELIMITER_ROW.fullmatch(text, start, position)
        if row is not None:
            rows.append(row)
    return rows


def _cell_count(row: str) -> int:
    return row.strip(" \t\n>").removeprefix("|").removesuffix("|").count("|") + 1


def _shield_row(row: str, columns: int, *, keep_surplus: bool) -> str:
    if _cell_count(row) <= columns:
        return row
    marks = list(_BACKTICKS_OR_PIPE.finditer(row))
    ends: dict[str, list[int]] = defaultdict(list)
    for mark in marks:
        if mark[0][0] == "`":
            ends[mark[0]].append(mark.start())
    shielded: list[int] = []
    pipes: list[int] = []
    code_end = -1
    for mark in marks:
        at = mark.start()
        if mark[0] == "|":
            (shielded if at < code_end else pipes).append(at)
        elif mark[0][0] == "`" and at > code_end:
            places = ends[mark[0]]
            following = bisect_right(places, at)
            code_end = places[following] if following < len(places) else code_end
    if keep_surplus and pipes:
        if not row[: pipes[0]].strip(" \t\n>"):
            pipes.pop(0)
        if pipes and not row[pipes[-1] + 1 :].strip():
            pipes.pop()
        shielded += pipes[columns - 1 :]
    characters = list(row)
    for at in shielded:
        characters[at] = _SHIELD["|"]
    return "".join(characters)


# Admonitions

_ADMONITION = re.compile(r"^[ \t]*(?::{3,}|!!!|\?\?\?)", re.MULTILINE)
_INDENTED = re.compile(r"([ \t]*)(!!!|\?\?\?\+?)[ \t]*([\w-]+)[^\"\n]*(?:\"([^\"\n]*)\")?[ \t]*")
_FENCED = re.compile(r"([ \t]*)(:{3,})[ \t]*\{?\.?([\w-]+)\}?[ \t]*(?:\[([^\]\n]*)\]|(.*?))[ \t]*")
_FENCE_END = re.compile(r"[ \t]*:{3,}[ \t]*")
_CODE_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})")


def _with_admonitions_as_html(lines: list[str]) -> tuple[list[str], list[int]]:
    """Write admonitions as elements around their Markdown; return the lines and their origins.

    `!!! note "Title"` holds what is indented by four (MkDocs), `:::note Title` what stands before
    `:::` (Docusaurus, VuePress, Pandoc).
    """
    written: list[str] = []
    origins: list[int] = []
    open_blocks: list[tuple[int | None, str, str]] = []  # indentation, or None: `:::`; lead; tag
    fence = ""
    for number, line in enumerate(lines):
        emitted: list[str] = []
        indent = len(line) - len(line.lstrip(" "))
        while open_blocks and line.strip():
            limit, lead, tag = open_blocks[-1]
            if limit is None or indent >= limit + 4:
                break
            open_blocks.pop()
            emitted += ["", f"{lead}</{tag}>", ""]
        inner = line[4 * sum(limit is not None for limit, _, _ in open_blocks) :]
        code = _CODE_FENCE.match(inner)
        if fence:
            if code and code[1].startswith(fence) and not inner[code.end() :].strip():
                fence = ""
            emitted.append(inner)
        elif code:
            fence = code[1]
            emitted.append(inner)
        elif found := _INDENTED.fullmatch(inner):
            tag = "details" if found[2].startswith("?") else "div"
            open_blocks.append((indent, found[1], tag))
            emitted += _opening(found[1], tag, found[3], found[4])
        elif any(limit is None for limit, _, _ in open_blocks[-1:]) and _FENCE_END.fullmatch(inner):
            _, lead, tag = open_blocks.pop()
            emitted += ["", f"{lead}</{tag}>", ""]
        elif found := _FENCED.fullmatch(inner):
            tag = "details" if found[3] == "details" else "div"
            open_blocks.append((None, found[1], tag))
            emitted += _opening(found[1], tag, found[3], found[4] or found[5])
        else:
            emitted.append(inner)
        written += emitted
        origins += [number] * len(emitted)
    for _, lead, tag in reversed(open_blocks):
        written += ["", f"{lead}</{tag}>", ""]
        origins += [len(lines) - 1] * 3
    return written, origins


def _opening(lead: str, tag: str, kind: str, title: str | None) -> list[str]:
    if tag == "details":
        return ["", f"{lead}<details><summary>{title or kind}</summary>", ""]
    heading = [f"{lead}**{title.strip()}**", ""] if title and title.strip() else []
    return ["", f'{lead}<div class="admonition {kind}">', "", *heading]


# HTML


def _with_numbered_headings(html: str) -> str:
    number = -1

    def mark(found: re.Match[str]) -> str:
        nonlocal number
        number += 1
        return f'{found[0]} data-heading="{number}"'

    return _HEADING_TAG.sub(mark, html)


def _mark_task(found: re.Match[str]) -> str:
    return f'<li data-task="{"done" if found[2] else "open"}">{found[1]}'


def _mark_alert(found: re.Match[str]) -> str:
    space, kind, title, named = found.groups()
    if named:
        return f'<blockquote class="alert {named.lower()}">{space}'
    if kind.lower() not in PANEL_TYPES:
        return found[0]
    heading = f"<strong>{title.strip()}</strong><br />" if title.strip() else ""
    return f'<blockquote class="alert {kind.lower()}">{space}{heading}'


def _with_unknown_tags_as_text(html: str, source: str) -> str:
    """Escape the tags that are no HTML, or that would swallow the rest of the document."""
    for name in _INVISIBLE:
        html = _without_element(html, name)
    last_comment_end = html.rfind("-->")
    if html.find("<!--", last_comment_end + 1) >= 0:
        kept = html[: last_comment_end + 1]
        html = kept + html[last_comment_end + 1 :].replace("<!--", "&lt;!--")
    closed: set[str] = set()
    names: set[str] = set()
    for slash, name in _TAG_NAME.findall(source):
        (closed if slash else names).add(name)
    unknown = {name for name in names | closed if not _is_html(name, closed)}
    lowered = source.lower()
    for name in _SWALLOWING:
        if lowered.count(f"<{name}") > lowered.count(f"</{name}"):
            unknown |= {one for one in names if one.lower() == name}
    if not unknown:
        return html

    def escape(found: re.Match[str]) -> str:
        return f"&lt;{found[0][1:]}" if found[2] in unknown else found[0]

    return _TAG_NAME.sub(escape, html)


def _is_html(name: str, closed: set[str]) -> bool:
    """Whether the tag is HTML; `Map<Object>` and the like have no closing tag."""
    if name.lower() not in KNOWN_ELEMENTS:
        return False
    return name.islower() or name[1:].isdigit() or name in closed or name in {"BR", "HR", "IMG"}


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
