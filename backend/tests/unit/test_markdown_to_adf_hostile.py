"""Markdown made to break a parser ends soon: as a document, or as an error that says what to do."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema_rs
import pytest

from app.core.errors import DocumentError, ErrorCategory
from app.tasks.adf.markdown import markdown_to_adf, split_sections
from app.tasks.adf.validation import find_violations

if TYPE_CHECKING:
    from collections.abc import Callable

SCHEMA = Path(__file__).parents[2] / "app/tasks/adf/schema/adf-full-57.7.22.json"
VALIDATOR = jsonschema_rs.validator_for(json.loads(SCHEMA.read_text()))

SECONDS = 10.0
"""Processor time. Each takes less than a second or two where nothing else runs; what is quadratic
takes minutes."""


@pytest.mark.parametrize(
    "marker", ["> ", ">", "- ", "* ", "+ ", "1. ", "> - ", "- > 1. ", "<ul><li>", "<blockquote>"]
)
def test_ten_thousand_levels_are_refused_at_once(marker: str) -> None:
    started = time.process_time()
    with pytest.raises(DocumentError) as refused:
        markdown_to_adf(marker * 10_000 + "a")

    assert time.process_time() - started < 1.0
    assert refused.value.category is ErrorCategory.USER_FIXABLE
    assert "100 levels" in refused.value.message
    assert refused.value.next_step
    with pytest.raises(DocumentError):
        split_sections(marker * 10_000 + "a", 1)


def tasks(levels: int) -> str:
    return "".join("  " * level + "* [ ] a\n" for level in range(levels))


@pytest.mark.parametrize(
    "nested",
    [lambda n: ">" * n + "a", lambda n: "- " * n + "a", lambda n: "1. " * n + "a", tasks],
    ids=["quotes", "bullets", "numbers", "tasks"],
)
@pytest.mark.parametrize("most", [1, 3, 100, 120])
def test_nesting_is_allowed_up_to_the_limit_and_no_further(
    nested: Callable[[int], str], most: int
) -> None:
    document = markdown_to_adf(nested(most), max_nesting=most)

    assert VALIDATOR.is_valid(document)
    assert find_violations(document) == []
    assert json.loads(json.dumps(document)) == document
    with pytest.raises(DocumentError):
        markdown_to_adf(nested(most + 1), max_nesting=most)


def test_no_setting_lets_nesting_exhaust_the_stack() -> None:
    with pytest.raises(DocumentError, match="120 levels"):
        markdown_to_adf("> " * 121 + "a", max_nesting=1_000_000)


HOSTILE = {
    "opening brackets": "[" * 50_000,
    "balanced brackets": "[" * 50_000 + "]" * 50_000,
    "brackets around a defined label": "[a]: b\n\n" + "[" * 30_000 + "a]",
    "links that never close": "[a](b" * 50_000,
    "destinations that never close": "[a](" + "(" * 50_000,
    "titles that never close": '[a](b "' * 20_000,
    "half references": "[a]: b\n\n" + "[a][" * 20_000,
    "nested links": "[" * 5_000 + "a" + "](x)" * 5_000,
    "nested images": "![" * 5_000 + "a" + "](x)" * 5_000,
    "emphasis that never closes": "*a_" * 20_000,
    "emphasis never opened": "a* " * 30_000,
    "emphasis around emphasis": "*" * 50_000 + "a" + "*" * 50_000,
    "two kinds of emphasis, nested": "*a **b " * 5_000 + "c** d* " * 5_000,
    "strikethrough of two widths": "~a ~~b " * 20_000,
    "backtick runs of every length": "".join("a" + "`" * n for n in range(700)),
    "one long backtick run": "`" * 100_000,
    "open tags": "<a " * 50_000,
    "open attributes": '<a href="' * 30_000,
    "open comments": "<!--" * 30_000,
    "open sections": "<![CDATA[" * 20_000,
    "ampersands": "&" * 100_000,
    "one line of a megabyte": "word " * 200_000,
    "one word of a megabyte": "a" * 1_000_000,
    "a line of markup": "a*b_c[d]!e`f " * 20_000,
    "addresses without a host": "http://" * 30_000,
    "address of parentheses": "http://a.b/" + "(" * 50_000 + ")" * 50_000,
    "address of semicolons": "http://a.b/" + ";" * 50_000,
    "address of entities": "http://a.b/" + "&a;" * 50_000,
    "address of underscores": "http://" + "a_b." * 50_000,
    "address of dots": "a@" + "b." * 100_000,
    "local part without an end": "a." * 100_000 + "@",
    "at signs": "a@" * 50_000,
    "rows without cells": "|".join("a" * 1_000) + "\n" + "|".join("-" * 1_000) + "\nx" * 1_000,
    "cells without columns": "a|b\n-|-\n" + "|".join("c" * 50_000),
    "lazy lines": "> a\n" + "b\n" * 50_000,
    "half definitions": "[a\n" * 20_000,
    "half footnotes": "[^a]: x\n\n" + "[^" * 20_000,
    "footnotes of footnotes": "[^0]" + "".join(f"\n\n[^{n}]: [^{n + 1}]" for n in range(5_000)),
    "spaces": "a" + " " * 500_000 + "\nb",
    "addresses of underscores": "http://a_b " * 30_000,
    "elements within each other": "<div>" * 100_000,
    "marks within each other": "<b>" * 100_000 + "a",
    "marks around paragraphs": "<p><b>" * 50_000,
    "links within each other": "<a href='/b'>" * 50_000,
    "text without a cell": "<table>" + "a<b>c</b>" * 20_000,
    "one tag of a megabyte": "<a " + "b" * 1_000_000,
    "attributes without number": "<a " + " ".join(f"b{n}=1" for n in range(50_000)) + ">",
    "scripts that never close": "<div>" + "<script " * 50_000,
    "scripts behind their end": "<div></script>" + "<script>" * 50_000,
    "comments behind their end": "<div>--></div>\n\n" + "<!--" * 50_000,
    "placeholders": "<div>" + "".join(f"<x{n}>" for n in range(50_000)),
    "spans of columns": "<table>" + "<tr><td colspan=1000>" * 5_000,
    "spans of rows": "<table>" + "<tr><td rowspan=65534>" * 500,
    "admonitions within each other": "".join("    " * n + "!!! note\n" for n in range(300)),
    "open admonitions": ":::note\n" * 5_000,
    "rows of pipes in code": "a|b\n-|-\n" + "`|" * 50_000,
    "delimiter rows": "a|b\n-|-\n" * 20_000,
    "front matter that never ends": "---\n" + "a: b\n" * 50_000,
    "front matter of anchors": "---\na: &a [x]\n"
    + "".join(f"b{n}: &b{n} [{','.join([f'*b{n - 1}' if n else '*a'] * 9)}]\n" for n in range(30))
    + "---\n",
    "emoji": ":smile:" * 20_000,
    "pictures with sizes that never close": "![a](" * 50_000,
    "highlights, comments, pages and formulas": "==a %%b [[c| $d_" * 20_000,
    "open shortcodes": "{{< note >}}\n" * 20_000,
    "comments of one line": "%%\n\n" * 20_000,
    "colons": ":" * 100_000,
    "pictures": "![a](https://b/c.png)" * 10_000,
    "quotes in items": "- > a\n" * 10_000,
    "tables in items": "- a\n\n  | b |\n  |---|\n" * 5_000,
    "texts without marks": "a<i></i>" * 20_000,
    "NULs": "\0" * 100_000,
    "carriage returns": "\r" * 200_000,
}


@pytest.mark.parametrize("source", HOSTILE.values(), ids=HOSTILE)
def test_hostile_markdown_becomes_a_valid_document_in_time(source: str) -> None:
    started = time.thread_time()
    document = markdown_to_adf(source, max_nodes=2_000_000)

    assert time.thread_time() - started < SECONDS
    assert VALIDATOR.is_valid(document)


def test_too_many_nodes_are_refused_by_the_setting_s_name() -> None:
    with pytest.raises(DocumentError, match="1,000 nodes") as refused:
        markdown_to_adf("- a\n" * 100_000, max_nodes=1_000)
    assert "SESSION_TASKS_MAX_NODES" in (refused.value.next_step or "")


def test_threads_share_the_parser_without_disturbing_each_other() -> None:
    sources = [f"# {n}\n\n[a]: /{n}\n\n- [a]\n\n  > {n}" for n in range(8)]
    expected = [markdown_to_adf(source) for source in sources]
    start = threading.Barrier(len(sources))
    wrong: list[str] = []

    def convert(number: int) -> None:
        start.wait(timeout=10)
        wrong.extend(
            sources[number]
            for _ in range(50)
            if markdown_to_adf(sources[number]) != expected[number]
        )

    threads = [threading.Thread(target=convert, args=(number,)) for number in range(len(sources))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
