"""For any input, Atlassian's schema accepts the output, and no word is missing.

Completeness for an example of a specification: its expected HTML is parsed as a browser
parses it (`html5lib` and browsers agree with `turbohtml`, which parses here), and

- the words that a browser shows, and images' alternative texts, stand in the ADF in the same order;
- every address of a link or image is one of the ADF's, or stands in its texts.

A word is a run of letters, digits and underscores. Tags that are no HTML are text.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urljoin

import jsonschema_rs
import pytest
import turbohtml
from hypothesis import given
from hypothesis import strategies as st

from app.tasks.adf.html_to_adf import html_to_adf
from app.tasks.adf.markdown import markdown_to_adf, split_sections
from app.tasks.adf.markdown_source import _with_unknown_tags_as_text
from app.tasks.adf.validation import find_violations

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

TESTS = Path(__file__).parents[1]
SCHEMA = TESTS.parent / "app/tasks/adf/schema/adf-full-57.7.22.json"
VALIDATOR = jsonschema_rs.validator_for(json.loads(SCHEMA.read_text()))
COMMONMARK = json.loads((TESTS / "data/commonmark/commonmark-0.31.2.json").read_text())
EXTENSIONS = json.loads((TESTS / "data/commonmark/gfm-0.29-extensions.json").read_text())

BASE = "https://base.example/"
WORD = re.compile(r"\w+")
BLOCKS = (
    "p,div,li,td,th,h1,h2,h3,h4,h5,h6,pre,blockquote,ul,ol,table,tr,dl,dt,dd,hr,br,details,summary"
)


class ExpectedHtml:
    """Return the text that a browser shows for the HTML of an example."""

    def __init__(self, source: str, html: str) -> None:
        page = turbohtml.parse_fragment(_with_unknown_tags_as_text(html, source)[0])
        page.remove("script,style,template,title")
        for element in page.select("img"):
            element.insert_before(turbohtml.Text(f" {element.attrs.get('alt') or ''} "))
        for element in page.select(BLOCKS):
            element.insert_before(turbohtml.Text(" "))
            element.insert_after(turbohtml.Text(" "))
        self.words = words([page.text])
        self.addresses = [
            str(element.attrs[name] or "")
            for name in ("href", "src")
            for element in page.select(f"a[{name}],img[{name}]")
        ]


def nodes_of(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    waiting = [node]
    while waiting:
        current = waiting.pop()
        yield current
        waiting.extend(reversed(current.get("content", [])))


def texts_of(document: dict[str, Any]) -> list[str]:
    """Return the texts in order; other nodes separate words."""
    texts = [""]
    for node in nodes_of(document):
        if node["type"] == "text":
            texts[-1] += node["text"]
            continue
        attributes = node.get("attrs", {})
        texts += [str(attributes.get(name, "")) for name in ("alt", "title", "shortName")]
        texts += [attributes.get("url", "") if node["type"] == "inlineCard" else "", ""]
    return texts


def addresses_of(document: dict[str, Any]) -> set[str]:
    return {
        attributes.get("href") or attributes.get("url")
        for node in nodes_of(document)
        for attributes in (
            node.get("attrs", {}),
            *(mark.get("attrs", {}) for mark in node.get("marks", ())),
        )
    } - {None}


def words(texts: Iterable[str]) -> list[str]:
    return [word for text in texts for word in WORD.findall(text)]


def first_missing(wanted: list[str], present: list[str]) -> str | None:
    """Return the first of `wanted` that `present` does not have in that order."""
    rest = iter(present)
    return next((word for word in wanted if word not in rest), None)


def assert_whole(document: dict[str, Any], expected: ExpectedHtml) -> None:
    texts = texts_of(document)
    assert first_missing(expected.words, words(texts)) is None
    everything = "\n".join(texts)
    addresses = addresses_of(document)
    for address in filter(None, expected.addresses):
        absolute = quote(urljoin(BASE, address), safe="!#$%&'()*+,/:;=?@[]~")
        unsafe = re.match(r"\s*(javascript|data|file|about):", address)
        assert absolute in addresses or absolute in everything or unsafe


def assert_sound(document: dict[str, Any]) -> None:
    """Check the schema, and the rules of Jira that it does not have."""
    assert VALIDATOR.is_valid(document)
    assert find_violations(document, max_characters=10_000_000) == []
    for node in nodes_of(document):
        if node["type"] == "text":
            assert node["text"]
            node["text"].encode()
            assert not re.search(
                "[\x00-\x08\x0b\x0c\x0e-\x1f\ufdd0-\ufdef\ufffe\uffff]", node["text"]
            )
            names = [mark["type"] for mark in node.get("marks", ())]
            assert len(names) == len(set(names))
            assert "code" not in names or set(names) <= {"code", "link"}
        elif node["type"] == "heading":
            assert type(node["attrs"]["level"]) is int
        elif node["type"].endswith("Item"):
            assert node["content"] is not None
    for address in addresses_of(document):
        assert address.isascii()
        assert re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", address)
        assert not re.match(r"(javascript|vbscript|data|file):", address, re.IGNORECASE)
    ids = [
        node["attrs"]["localId"]
        for node in nodes_of(document)
        if node["type"] in ("taskList", "taskItem")
    ]
    assert len(ids) == len(set(ids))
    json.dumps(document).encode()


@pytest.mark.parametrize("example", COMMONMARK, ids=lambda e: str(e["example"]))
def test_commonmark_example_is_valid_and_whole(example: dict[str, Any]) -> None:
    document = markdown_to_adf(example["markdown"], base_url=BASE)

    assert_sound(document)
    assert_whole(document, ExpectedHtml(example["markdown"], example["html"]))


@pytest.mark.parametrize("example", EXTENSIONS, ids=lambda e: str(e["example"]))
def test_gfm_extension_example_is_valid_and_whole(example: dict[str, Any]) -> None:
    document = markdown_to_adf(example["markdown"], base_url=BASE)

    assert_sound(document)
    assert_whole(document, ExpectedHtml(example["markdown"], example["html"]))


MARKUP = [
    *("*", "**", "_", "__", "~~", "~", "`", "``", "```", "```\n", "~~~\n", "\\", "![", "[", "]"),
    *("](", ")", "(", "<", ">", "</", "<!--", "-->", "<b>", "</b>", "<div>", "<br>", '"', "'"),
    *("&amp;", "&#0;", "&", "> ", ">", "- ", "* ", "+ ", "1. ", "7) ", "- [ ] ", "- [x] ", "# "),
    *("### ", "===", "---", "***", "|", "|-|", "|-|-|\n", ":-:", "\t", " ", "  ", "    ", "@"),
    *("<details>", "</details>", "<summary>", "</summary>", "<table>", "<tr>", "<td>", "</td>"),
    *("</table>", "<ul>", "<li>", "</li>", "</ul>", "<h1>", "</h1>", "<p align=center>", "</p>"),
    *("<a href='/b'>", "</a>", "<sub>", "</sub>", "<kbd>", "<pre>", "</pre>", "<dl><dt>", "<dd>"),
    *("<img src='https://a/b.png' alt='c'>", "<span style='color:red'>", "</span>", "<X>", "<hr>"),
    *("> [!NOTE]\n", ":::tip\n", ":::\n", '!!! note "x"\n    ', ":smile:", "<ol start=3>", "<q>"),
    *("https://", "www.", "mailto@", ".", ",", "!", "\n", "\n\n", "  \n", "\r\n", "\u00a0"),
    *("\ufeff", "\u2028", "\x0b", "é", "ß", "漢", "\U0001f600"),
]
DEFINITIONS = ["[a]", "[a]: /a 'A'", "[^a]", "[^a]: ", "\n[a]: ", "\n[^b]: ", "[^b]", ":", "a", "b"]


@st.composite
def markdown_with_numbered_words(draw: st.DrawFn) -> str:
    """Generate Markdown without definitions, in which no word occurs twice."""
    fragments = draw(st.lists(st.sampled_from([*MARKUP, "", "", ""]), max_size=40))
    return "".join(text or f" w{n}x" for n, text in enumerate(fragments))


def everything_said(document: dict[str, Any]) -> set[str]:
    said = [*texts_of(document), *addresses_of(document)]
    for node in nodes_of(document):
        attributes = [node.get("attrs", {}), *(m.get("attrs", {}) for m in node.get("marks", ()))]
        said += [str(value) for one in attributes for value in one.values()]
    return set(re.findall(r"w\d+x", " ".join(said)))


def shown_words(source: str) -> set[str]:
    """Return the numbered words that are neither in a comment, nor in a tag, nor after a fence."""
    hidden = re.sub(r"<!--.*?-->|<[^>]*>|<[/!?].*|(```|~~~)[^\n\r]*", " ", source, flags=re.DOTALL)
    return set(re.findall(r"w\d+x", hidden.split("<!--")[0]))


@given(markdown_with_numbered_words())
def test_every_word_of_the_source_is_kept(source: str) -> None:
    document = markdown_to_adf(source, base_url=BASE)

    assert_sound(document)
    assert shown_words(source) <= everything_said(document)


@given(markdown_with_numbered_words(), st.sampled_from([None, 1, 2, 3]))
def test_every_word_of_the_source_is_kept_in_some_section(source: str, level: int | None) -> None:
    said: set[str] = set()
    for section in split_sections(source, level, base_url=BASE):
        assert_sound(section.document)
        said |= everything_said(section.document) | set(re.findall(r"w\d+x", section.title or ""))
        assert section.title is None or section.title == " ".join(section.title.split()) != ""

    assert shown_words(source) <= said


any_character = st.characters(exclude_categories=())
any_text = st.one_of(
    st.text(any_character),
    st.lists(
        st.one_of(st.sampled_from(MARKUP + DEFINITIONS), st.text(any_character, max_size=3))
    ).map("".join),
)


@given(any_text, st.sampled_from([None, 1, 3]))
def test_any_text_gives_valid_documents(source: str, level: int | None) -> None:
    assert_sound(markdown_to_adf(source))
    for section in split_sections(source, level):
        assert_sound(section.document)
        (section.title or "").encode()
        assert "\0" not in (section.title or "")


@given(any_text)
def test_the_same_text_gives_the_same_document(source: str) -> None:
    assert markdown_to_adf(source) == markdown_to_adf(source)


@given(any_text)
def test_any_html_gives_a_valid_document(source: str) -> None:
    assert_sound(html_to_adf(source))
