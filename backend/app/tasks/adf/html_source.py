"""HTML made ready for `html_reader`: parsed as a browser would, and written out balanced.

`turbohtml` parses (WHATWG HTML, in linear time; Lexbor took quadratic time for 400,000 nested
elements) and serializes. What no browser shows as text (scripts, styles) is taken out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import turbohtml

from app.tasks.adf.storage_format import is_storage_format, storage_to_html
from app.tasks.adf.style_rules import write_class_rules
from app.tasks.adf.tool_exports import is_of_tool, list_items_of_word, make_plain

KNOWN_ELEMENTS = frozenset({
    "a", "abbr", "acronym", "address", "annotation", "article", "aside", "audio", "b", "basefont",
    "bdi", "bdo", "big", "blink", "blockquote", "body", "br", "button", "caption", "center",
    "cite", "code", "col", "colgroup", "dd", "del", "details", "dfn", "dialog", "dir", "div",
    "dl", "dt", "em", "embed", "fieldset", "figcaption", "figure", "font", "footer", "form",
    "g-emoji", "h1", "h2", "h3", "h4", "h5", "h6", "head", "header", "hgroup", "hr", "html", "i",
    "iframe", "img", "input", "ins", "kbd", "label", "legend", "li", "link", "main", "map",
    "mark", "marquee", "math", "menu", "meta", "nav", "nobr", "noscript", "object", "ol",
    "optgroup", "option", "p", "picture", "pre", "q", "rb", "rp", "rt", "rtc", "ruby", "s",
    "samp", "search", "section", "select", "slot", "small", "source", "span", "strike", "strong",
    "sub", "summary", "sup", "svg", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "track",
    "tt", "u", "ul", "var", "video", "wbr",
    # MathML, of which only the texts are shown
    "maction", "merror", "mfrac", "mi", "mmultiscripts", "mn", "mo", "mover", "mpadded", "mphantom",
    "mprescripts", "mroot", "mrow", "ms", "mspace", "msqrt", "mstyle", "msub", "msubsup", "msup",
    "mtable", "mtd", "mtext", "mtr", "munder", "munderover", "semantics",
})  # fmt: skip
"""What is HTML in Markdown. Any other tag is text there: a placeholder, a type's parameter, JSX."""

KNOWN_WHERE_CLOSED = frozenset({
    "canvas", "data", "datalist", "meter", "output", "progress", "textarea", "time",
})  # fmt: skip
"""What is HTML in Markdown only where it has a closing tag: people write `<output>` for a file."""

END_TAG_LEFT_OUT = frozenset({
    "COL", "DD", "DT", "LI", "OPTION", "P", "TBODY", "TD", "TFOOT", "TH", "THEAD", "TR",
})  # fmt: skip
"""Elements that old HTML, in capitals, does not close."""

AROUND_END_TAGS_LEFT_OUT = frozenset({"DL", "OL", "SELECT", "TABLE", "UL"})

_INVISIBLE = ("script", "style", "template", "noembed", "noframes", "xmp", "plaintext", "noscript")
_TASK_BOX = re.compile(
    r"<li((?:[^>\"]|\"[^\"]*\")*)>(\s*(?:<(?:p|label)(?:[^>\"]|\"[^\"]*\")*>\s*)*)"
    r"<input((?:[^>\"]|\"[^\"]*\")*)>"
)
_TASK_LIST = re.compile(r"<ul(?=(?:[^>\"]|\"[^\"]*\")*>\s*<li data-task)")
_HIDDEN = (
    '[hidden],[style*="display:none" i],[style*="display: none" i],.katex-html[aria-hidden="true"]'
)
# Each begins with a literal, as asking the tree is slow.
_MAY_HIDE = (
    re.compile(r' hidden(?:="[^"]*")?(?=[ />])(?=[^<>"]*+(?:"[^"]*"[^<>"]*+)*>)'),
    re.compile("display"),
    re.compile("DISPLAY"),
    re.compile("katex-html"),
)
_COMMENT = re.compile(r"<!--.*?-->|<[!?][^>]*>", re.DOTALL)
_PRE = re.compile(r'(<pre[^>"]*+(?:"[^"]*"[^>"]*+)*>)\n')
"""The line end that a serializer adds for the one that a parser drops."""

_NAME = re.compile(r"<([a-z]+)")


def balanced_fragment(html: str, names: Iterable[str] | None = None) -> str:
    """Return a piece of HTML with balanced tags, without what is never shown.

    `names` are those of its elements that are not surely shown, where they are known.
    """
    body = turbohtml.parse_fragment(_as_html(html), positions=False)
    if names is None and is_of_tool(html):
        make_plain(body)
    elif "mso-list" in html:
        list_items_of_word(body)
    return _serialized(body, names)


def balanced_document(html: str) -> str:
    """Return a whole document with balanced tags, without what is never shown.

    Elements of the making of other tools are exchanged for HTML's (`tool_exports`).
    """
    page = turbohtml.parse(_as_html(html), positions=False)
    make_plain(page)
    return _serialized(page)


def _as_html(source: str) -> str:
    return storage_to_html(source) if is_storage_format(source) else source


def _serialized(
    root: turbohtml.Element | turbohtml.Document, names: Iterable[str] | None = None
) -> str:
    html = root.inner_html
    known = set(_NAME.findall(html) if names is None else names)
    if "style" in known:
        write_class_rules(root)
    wrong = [name for name in _INVISIBLE if name in known]
    if "iframe" in known:
        wrong.append("iframe > *")
        for frame in root.select("iframe"):
            frame.clear()  # its content is text that no browser shows
    if any(sign.search(html) is not None for sign in _MAY_HIDE):
        wrong.append(_HIDDEN)
    if wrong:
        root.remove(",".join(wrong))
        html = root.inner_html
    if "pre" in known:
        html = _PRE.sub(r"\1", html)
    if '"checkbox"' in html:
        html = _TASK_LIST.sub("<ul data-tasks", _TASK_BOX.sub(_mark_task, html))
    return _COMMENT.sub("", html) if "<!" in html or "<?" in html else html


def _mark_task(found: re.Match[str]) -> str:
    item, between, box = found.groups()
    if 'type="checkbox"' not in box:
        return found[0]
    return f'<li data-task="{"done" if " checked" in box else "open"}"{item}>{between}'
