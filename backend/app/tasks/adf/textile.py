"""Textile, as Redmine has it, where it differs from Jira's wiki markup, which descends from it."""

from __future__ import annotations

import re

_SIGNS = re.compile(
    r"^\|_[.<>=^~\\\d/]*\. |\"[^\"\n]+\":https?://|^<pre>|^(?:p[<>=]*|bc)\. \S|\{\{collapse",
    re.MULTILINE,
)
_PRE = re.compile(
    r"<pre>\s*(?:<code(?: class=\"([\w+#-]+)\")?>)?((?:(?!</?pre>)[\s\S])*?)(?:</code>)?\s*</pre>"
)
_CODE = re.compile(r"(\{code[^}\n]*\}[^{]*+(?:\{(?!code)[^{]*+)*\{code\})")
_COLLAPSE = re.compile(r"\{\{collapse(?:\(([^)\n]*)\))?\s*\n((?:(?!\{\{collapse)[\s\S])*?)\n\}\}")
_REWRITTEN = (
    (re.compile(r"\"([^\"\n|\[\]]+)\":((?:https?://|mailto:)[^\s|]*[^\s|.,;:!?)])"), r"[\1|\2]"),
    (re.compile(r"(?<![\w@])@([^\s@](?:[^@\n]*[^\s@])?)@(?![\w@])"), r"{{\1}}"),
    (re.compile(r"\|_[.<>=^~\\\d/]*\. ?"), "||"),
    (re.compile(r"\|[<>=^~\\\d/]+\. "), "|"),
    (re.compile(r"%\{color: ?([#\w]+);?\}([^%\n]*)%"), r"{color:\1}\2{color}"),
    (re.compile(r"^(h[1-6])[<>=]+\. ", re.MULTILINE), r"\1. "),
    (re.compile(r"^p[<>=]*\. ", re.MULTILINE), ""),
    (re.compile(r"^bc\. (.*(?:\n.+)*)", re.MULTILINE), r"{code}\n\1\n{code}"),
    (re.compile(r"^> ?(.+)", re.MULTILINE), r"bq. \1"),
)


def is_textile(source: str) -> bool:
    """Whether there are signs that Jira's wiki markup has not."""
    return _SIGNS.search(source) is not None


def textile_to_jira(source: str) -> str:
    """Return Textile as Jira's wiki markup; headings, lists and most marks are the same."""
    source = _PRE.sub(lambda found: f"{{code:{found[1] or 'none'}}}\n{found[2]}\n{{code}}", source)
    source = _COLLAPSE.sub(r"{expand:\1}\n\2\n{expand}", source)
    parts = _CODE.split(source)
    for number in range(0, len(parts), 2):
        for pattern, written in _REWRITTEN:
            parts[number] = pattern.sub(written, parts[number])
    return "".join(parts)
