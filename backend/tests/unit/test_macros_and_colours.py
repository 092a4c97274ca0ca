"""Macros of Jira's markup, and colours of HTML, as ADF has them."""

from __future__ import annotations

from typing import Any

import pytest

from app.tasks.adf.html_to_adf import html_to_adf
from app.tasks.adf.jira_markup import jira_markup_to_adf
from app.tasks.adf.markdown import markdown_to_adf, read_markdown
from app.tasks.adf.validation import find_violations


def texts_with_colours(document: dict[str, Any]) -> list[tuple[str, str]]:
    """Return each text of the document and its colour, in order."""
    found: list[tuple[str, str]] = []
    waiting = [document]
    while waiting:
        node = waiting.pop()
        if node["type"] == "text":
            marks = {mark["type"]: mark for mark in node.get("marks", ())}
            colour = marks["textColor"]["attrs"]["color"] if "textColor" in marks else ""
            found.append((node["text"], colour))
        waiting += reversed(node.get("content", ()))
    return found


@pytest.mark.parametrize("macro", ["{toc}", "{toc:maxLevel=3|style=none}"])
def test_a_table_of_contents_of_jira_is_no_content(macro: str) -> None:
    document = jira_markup_to_adf(f"{macro}\n\nh2. First\n")
    assert [block["type"] for block in document["content"]] == ["heading"]


@pytest.mark.parametrize(
    ("macro", "text", "colour"),
    [
        ("{status:colour=Green|title=Done}", "Done", "green"),
        ("{status:title=Late|color=Red|subtle=true}", "Late", "red"),
        ("{status:colour=Purple|title=New & odd}", "New & odd", "purple"),
        ("{status:colour=Grey|title=Open}", "Open", "neutral"),
        ("{status:title=Open}", "Open", "neutral"),
        ("{status:Open}", "Open", "neutral"),
    ],
)
@pytest.mark.parametrize("around", ["a %s b", "|cell|%s|", "* %s"])
def test_a_status_of_jira_is_a_status(macro: str, text: str, colour: str, around: str) -> None:
    document = jira_markup_to_adf(around % macro)
    status = {"type": "status", "attrs": {"text": text, "color": colour}}
    assert str(status) in str(document)
    assert find_violations(document) == []


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ('<p style="color:red">a</p>b', [("a", "#ff0000"), ("b", "")]),
        ('<div style="color:#00f"><p>a</p></div><p>b</p>', [("a", "#0000ff"), ("b", "")]),
        ('<h2 style="color: green">a</h2><p>b</p>', [("a", "#008000"), ("b", "")]),
        ('<span style="color:rgb(1,2,3)">a</span>b', [("a", "#010203"), ("b", "")]),
        ('<font color="#0a0">a</font>b', [("a", "#00aa00"), ("b", "")]),
        (
            '<table><tr><td style="color:red">a<td>b</table>',
            [("a", "#ff0000"), ("b", "")],
        ),
        (
            '<p style="color:red">a <font color="blue">b</font></p>',
            [("a ", "#ff0000"), ("b", "#0000ff")],
        ),
    ],
)
def test_the_colour_of_an_element_is_that_of_its_text(
    html: str, expected: list[tuple[str, str]]
) -> None:
    for read in (html_to_adf, markdown_to_adf):
        document = read(html)
        assert texts_with_colours(document) == expected
        assert find_violations(document) == []


@pytest.mark.parametrize(
    ("front_matter", "title", "others"),
    [
        ("summary: From summary", "From summary", {}),
        ("Summary: From summary", "From summary", {}),
        ("summary: Said below\ntitle: From title", "From title", {"summary": "Said below"}),
        ("priority: High", "Heading", {"priority": "High"}),
    ],
)
def test_a_summary_in_front_matter_is_a_title(
    front_matter: str, title: str, others: dict[str, str]
) -> None:
    read = read_markdown(f"---\n{front_matter}\n---\n# Heading\n\ntext\n", None)
    assert read.sections[0].title == title
    assert read.front_matter == others
