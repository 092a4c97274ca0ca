"""A preview shows all of a document's text, is well-formed, and contains nothing executable."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.tasks.adf.markdown import markdown_to_adf
from app.web.adf_markup import ATTRIBUTES, COLOURS, ELEMENTS, LINK_RELATION, nearest_colour
from app.web.adf_preview import MOST_CHARACTERS, render_adf, render_adf_text

TESTS = Path(__file__).parents[1]
VALID = json.loads((TESTS / "data/adf_valid_documents.json").read_text())
COMMONMARK = json.loads((TESTS / "data/commonmark/commonmark-0.31.2.json").read_text())
SCHEMA = json.loads(
    (TESTS.parent / "app/tasks/adf/schema/adf-full-57.7.22.json").read_text()
)["definitions"]  # fmt: skip
TYPES = sorted({
    kind
    for definition in SCHEMA.values()
    for kind in definition.get("properties", {}).get("type", {}).get("enum", ())
})  # fmt: skip

PHRASING_ONLY = {"a", "code", "em", "p", "pre", "s", "span", "strong", "sub", "summary", "sup", "u"}
PHRASING = {"a", "br", "code", "em", "s", "span", "strong", "sub", "sup", "time", "u"}
CHILDREN = {
    "ol": {"li"}, "ul": {"li"}, "table": {"tbody"}, "tbody": {"tr"}, "tr": {"td", "th"},
}  # fmt: skip

HOSTILE = (
    "<script>alert(1)</script>",
    "</code></pre><img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "javascript:alert(1)",
    "JaVa\tScRiPt:alert(1)",
    "\x01javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "vbscript:msgbox(1)",
    "//evil.example/x",
    "https:\\\\evil.example",
    "]]><!--<x>",
    "&lt;script&gt;&#x3c;",
    "\x00\x0b\ud800\uffff\u202e",
    "{{7*7}}{% raw %}",
)

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(HOSTILE)
)
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=8) | st.sampled_from(HOSTILE), inner, max_size=4)
        | st.fixed_dictionaries(
            {"type": st.sampled_from([*TYPES, "foreign"])},
            optional={
                "content": inner | st.lists(inner, max_size=4),
                "text": inner,
                "attrs": inner
                | st.dictionaries(
                    st.sampled_from(
                        ["url", "href", "level", "order", "panelType", "text", "color", "colspan",
                         "timestamp", "title", "language", "shortName", "state", "data", "id"]
                    ),
                    inner,
                    max_size=4,
                ),
                "marks": st.lists(inner, max_size=3),
            },
        )
    ),
    max_leaves=25,
)  # fmt: skip


def parsed(preview: str) -> ET.Element:
    """Return the preview, after checking that it contains only what is allowed."""
    preview.encode()
    tree = ET.fromstring(preview)
    for element in tree.iter():
        assert element.tag in ELEMENTS
        assert set(element.attrib) <= ATTRIBUTES
        inside = {child.tag for child in element}
        if element.tag in PHRASING_ONLY:  # otherwise a browser would close it early
            assert inside <= PHRASING
        if element.tag in CHILDREN:
            assert inside <= CHILDREN[element.tag]
            assert not (element.text or "").strip()
        if element.tag == "a":
            assert element.attrib["rel"] == LINK_RELATION
            assert re.match(r"(?i)(https?://|mailto:)[^\s]", element.attrib["href"])
            assert element.find(".//a") is None
    return tree


def said(preview: str) -> str:
    return "".join(parsed(preview).itertext())


def texts(node: Any) -> list[str]:
    """Return all texts of a document, by plain recursion."""
    if isinstance(node, list):
        return [text for child in node for text in texts(child)]
    own = [node["text"]] if node.get("type") == "text" else []
    return own + texts(node.get("content", []))


def paragraph(*nodes: Any) -> dict[str, Any]:
    return {
        "type": "doc",
        "version": 1,
        "content": [{"type": "paragraph", "content": list(nodes)}],
    }


def linked(href: str) -> dict[str, Any]:
    mark = {"type": "link", "attrs": {"href": href}}
    return paragraph({"type": "text", "text": "here", "marks": [mark]})


@given(anything)
def test_any_json_is_shown_and_is_well_formed(document: Any) -> None:
    parsed(render_adf(document))


@given(st.lists(anything, max_size=4), st.integers(100, 2_000))
def test_a_preview_ends_where_it_must_and_is_still_well_formed(nodes: list[Any], most: int) -> None:
    preview = render_adf({"type": "doc", "content": nodes}, most_characters=most)

    parsed(f"<div>{preview}</div>")
    assert len(re.sub(r"&[#\w]+;|</\w+>", "x", preview)) <= most + 300


@pytest.mark.parametrize("name", VALID)
def test_every_valid_document_is_shown_without_a_box_and_with_all_its_texts(name: str) -> None:
    preview = render_adf(VALID[name])

    shown = said(preview)
    assert all(text in shown for text in texts(VALID[name]))
    assert "adf-unknown" not in preview


@pytest.mark.parametrize("example", COMMONMARK, ids=lambda example: str(example["example"]))
def test_no_word_of_a_commonmark_example_is_lost(example: dict[str, Any]) -> None:
    document = markdown_to_adf(example["markdown"])

    shown = said(render_adf(document))

    at = 0
    for text in texts(document["content"]):
        for word in re.findall(r"\w+", text):
            at = shown.index(word, at) + len(word)


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_of_the_schema_says_the_text_that_it_holds(kind: str) -> None:
    inside = {"type": "text", "text": "needle"}
    node = {"type": kind, "attrs": {"text": "needle"}, "text": "needle", "content": [inside]}
    for document in ({"type": "doc", "content": [node]}, paragraph(node), node):
        shown = said(render_adf(document))
        assert "needle" in shown


def test_an_unknown_node_is_a_box_with_its_name_and_all_it_holds() -> None:
    inside = {"type": "paragraph", "content": [{"type": "text", "text": "kept"}]}
    node = {"type": "hologram", "attrs": {"depth": 3}, "content": [inside]}

    preview = render_adf({"type": "doc", "content": [node]})

    assert "Unknown node: hologram" in preview
    assert "kept" in preview
    assert "depth" in preview


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("kind", [*TYPES, "<script>alert(1)</script>"])
def test_nothing_hostile_breaks_out_wherever_it_stands(hostile: str, kind: str) -> None:
    names = (
        "alt", "background", "color", "data", "extensionKey", "href", "id", "language", "localId",
        "order", "panelIcon", "panelIconText", "panelType", "resourceId", "shortName", "state",
        "text", "timestamp", "title", "type", "url",
    )  # fmt: skip
    attributes = dict.fromkeys(names, hostile)
    mark = {"type": kind, "attrs": attributes}
    text = {"type": "text", "text": hostile, "marks": [mark, {"type": hostile}]}
    node = {"type": kind, "attrs": attributes, "text": hostile, "content": [text], "marks": [mark]}

    for document in ({"type": "doc", "content": [node]}, paragraph(node), {"type": hostile}):
        tree = parsed(render_adf(document, {"/content/0": hostile}))
        for link in tree.iter("a"):
            assert "alert" not in link.attrib["href"]


@pytest.mark.parametrize(
    "address", ["https://example.com/a?b=c&d=<e>", "HTTP://example.com", "mailto:a@example.com"]
)
def test_links_to_the_web_and_to_mail_are_links(address: str) -> None:
    (link,) = parsed(render_adf(linked(address))).iter("a")

    assert link.attrib["href"] == address


@pytest.mark.parametrize("address", [*HOSTILE, "ftp://example.com", "/login", "#here", "", "http:"])
def test_other_links_are_text_that_tells_the_address(address: str) -> None:
    tree = parsed(render_adf(linked(address)))

    assert list(tree.iter("a")) == []
    (span,) = tree.iter("span")
    assert span.text == "here"
    assert span.attrib["title"].startswith("Not a link here")


def test_an_image_is_a_card_with_its_address() -> None:
    media = {
        "type": "media",
        "attrs": {"type": "external", "url": "https://example.com/cat.png", "alt": "A cat"},
    }

    preview = render_adf(
        {"type": "doc", "content": [{"type": "mediaSingle", "content": [media]}]}
    )  # fmt: skip

    assert "<img" not in preview
    assert "A cat" in said(preview)
    assert "https://example.com/cat.png" in said(preview)


def test_a_document_of_any_depth_is_shown_with_its_innermost_text() -> None:
    node: dict[str, Any] = {"type": "text", "text": "innermost"}
    for _ in range(20_000):
        node = {"type": "blockquote", "content": [node]}

    preview = render_adf({"type": "doc", "content": [node]})

    assert "innermost" in said(preview)
    assert "Nested too deeply" in preview


def test_a_preview_that_ends_early_says_so() -> None:
    preview = render_adf(paragraph({"type": "text", "text": "x" * (MOST_CHARACTERS + 1)}))

    assert "The preview ends here" in preview
    assert len(preview) < MOST_CHARACTERS + 1_000


@pytest.mark.parametrize("text", ["", "no JSON", "[" * 100_000, "NaN", "null", '"text"', "[[1]]"])
def test_text_that_is_no_document_is_shown_as_what_it_is(text: str) -> None:
    parsed(f"<div>{render_adf_text(text)}</div>")


@pytest.mark.parametrize(
    ("path", "marked"),
    [
        ("", "oneheretwo"),
        ("/content/0", "one"),
        ("/content/0/attrs/level", "one"),
        ("/content/1/content/0/marks/0/attrs/href", "here"),
        ("/content/2/content/0/content/0", "two"),
    ],
)
def test_what_a_finding_is_about_is_marked_with_its_reason(path: str, marked: str) -> None:
    item = {"type": "paragraph", "content": [{"type": "text", "text": "two"}]}
    document = {
        "type": "doc",
        "content": [
            {"type": "paragraph", "content": [{"type": "text", "text": "one"}]},
            linked("https://example.com")["content"][0],
            {"type": "bulletList", "content": [{"type": "listItem", "content": [item]}]},
        ],
    }

    tree = parsed(render_adf(document, {path: "too <long>"}))

    (found,) = [
        element
        for element in tree.iter()
        if "adf-flagged" in element.attrib.get("class", "").split()
    ]
    assert "".join(found.itertext()) == marked
    assert found.attrib["title"] == "too <long>"


@pytest.mark.parametrize("name", COLOURS)
def test_a_colour_is_its_own_nearest(name: str) -> None:
    assert nearest_colour("#{:02x}{:02x}{:02x}".format(*COLOURS[name])) == name
    assert nearest_colour("red") is None
