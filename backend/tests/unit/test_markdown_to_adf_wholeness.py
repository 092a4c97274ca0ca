"""Whatever goes in, Atlassian's schema accepts what comes out, and no word is missing.

What "whole" means for an example of a specification: its expected HTML is read by the standard
library's parser, and

- the words a reader sees there (texts and images' alternative texts) stand in the ADF's texts, in
  the same order;
- every link destination and image source is a link of the ADF or stands in its texts, and every
  title likewise;
- every word of raw HTML, of which the HTML has only the tag, stands in the ADF's texts. Only
  `<br>` does not: it becomes a hard break.

A word is a run of letters, digits and underscores.
"""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from mdit_py_plugins.footnote import footnote_plugin

from app.core.errors import DocumentError
from app.tasks.adf import block_parser, commonmark
from app.tasks.adf.markdown import markdown_to_adf, split_sections
from app.tasks.adf.validation import find_violations

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from markdown_it.token import Token

TESTS = Path(__file__).parents[1]
SCHEMA = TESTS.parent / "app/tasks/adf/schema/adf-full-57.7.22.json"
VALIDATOR = jsonschema_rs.validator_for(json.loads(SCHEMA.read_text()))
COMMONMARK = json.loads((TESTS / "data/commonmark/commonmark-0.31.2.json").read_text())
EXTENSIONS = json.loads((TESTS / "data/commonmark/gfm-0.29-extensions.json").read_text())

WORD = re.compile(r"\w+")
HTML_BREAK = re.compile(r"<br\s*/?>")


class ExpectedHtml(HTMLParser):
    """What the HTML of an example says, told apart by where it must be found again."""

    def __init__(self, source: str, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.source = source
        self.seen: list[str] = []
        self.addresses: list[str] = []
        self.titles: list[str] = []
        self.raw: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        written = self.get_starttag_text() or ""
        if written in self.source:
            if not HTML_BREAK.fullmatch(written):
                self.raw.append(written)
            return
        for name, value in attrs:
            if name == "alt":
                self.seen.append(value or "")
            elif name in ("href", "src"):
                self.addresses.append(value or "")
            elif name == "title":
                self.titles.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        if f"</{tag}>" in self.source:
            self.raw.append(tag)

    def handle_data(self, data: str) -> None:
        self.seen.append(data)

    def handle_comment(self, data: str) -> None:
        # `<!-->` is a whole comment to CommonMark and the start of one to Python before 3.13.6:
        # what is not in the source as it stands here was read wrongly.
        if data in self.source:
            self.raw.append(data)

    handle_decl = handle_pi = unknown_decl = handle_comment


def nodes_of(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    waiting = [node]
    while waiting:
        current = waiting.pop()
        yield current
        waiting.extend(reversed(current.get("content", [])))


def texts_of(document: dict[str, Any]) -> list[str]:
    """The texts in order; nodes that are no text keep words apart."""
    texts = [""]
    for node in nodes_of(document):
        if node["type"] == "text":
            texts[-1] += node["text"]
        else:
            texts.append("")
    return texts


def links_of(document: dict[str, Any]) -> list[dict[str, str]]:
    return [
        mark["attrs"]
        for node in nodes_of(document)
        for mark in node.get("marks", ())
        if mark["type"] == "link"
    ]


def words(texts: Iterable[str]) -> list[str]:
    return [word for text in texts for word in WORD.findall(text)]


def first_missing(wanted: list[str], present: list[str]) -> str | None:
    """The first of `wanted` that `present` does not have in that order."""
    rest = iter(present)
    return next((word for word in wanted if word not in rest), None)


def assert_whole(document: dict[str, Any], expected: ExpectedHtml) -> None:
    texts = texts_of(document)
    present = words(texts)
    everything = "\n".join(texts)
    links = links_of(document)
    hrefs = {link["href"] for link in links}
    titles = {link.get("title") for link in links}
    # Joined as the HTML has it: marks do not end a word, and nor do tags.
    assert first_missing(words(["".join(expected.seen)]), present) is None
    for address in expected.addresses:
        assert address in hrefs or address in everything
    for title in expected.titles:
        assert title in titles or title in everything
    assert set(words(expected.raw)) <= set(present)


def assert_sound(document: dict[str, Any]) -> None:
    """The schema, and what the schema lets through and Jira does not."""
    assert VALIDATOR.is_valid(document)
    assert find_violations(document, max_characters=10_000_000) == []
    for node in nodes_of(document):
        kind = node["type"]
        if kind == "text":
            assert node["text"]
            assert "\0" not in node["text"]
            node["text"].encode()
            names = [mark["type"] for mark in node.get("marks", ())]
            assert len(names) == len(set(names))
            assert "code" not in names or set(names) <= {"code", "link"}
        elif kind == "heading":
            assert type(node["attrs"]["level"]) is int
        elif kind == "table":
            assert len({len(row["content"]) for row in node["content"]}) == 1
    for link in links_of(document):
        assert link["href"].strip()
        assert not re.match(r"\s*(javascript|vbscript|data|file):", link["href"], re.IGNORECASE)
    ids = [
        node["attrs"]["localId"]
        for node in nodes_of(document)
        if node["type"] in ("taskList", "taskItem")
    ]
    assert len(ids) == len(set(ids))
    json.dumps(document).encode()


@pytest.mark.parametrize("example", COMMONMARK, ids=lambda e: str(e["example"]))
def test_commonmark_example_is_valid_and_whole(example: dict[str, Any]) -> None:
    document = markdown_to_adf(example["markdown"])

    assert_sound(document)
    assert_whole(document, ExpectedHtml(example["markdown"], example["html"]))


@pytest.mark.parametrize("example", EXTENSIONS, ids=lambda e: str(e["example"]))
def test_gfm_extension_example_is_valid_and_whole(example: dict[str, Any]) -> None:
    document = markdown_to_adf(example["markdown"])

    assert_sound(document)
    assert_whole(document, ExpectedHtml(example["markdown"], example["html"]))


def test_comment_that_python_misreads_is_whole() -> None:
    document = markdown_to_adf("foo <!--> bar -->\n\nfoo <!---> baz -->\n")

    assert [text for text in texts_of(document) if text] == [
        "foo <!--> bar -->",
        "foo <!---> baz -->",
    ]


MARKUP = [
    *("*", "**", "_", "__", "~~", "~", "`", "``", "```", "```\n", "~~~\n", "\\", "![", "[", "]"),
    *("](", ")", "(", "<", ">", "</", "<!--", "-->", "<b>", "</b>", "<div>", "<br>", '"', "'"),
    *("&amp;", "&#0;", "&", "> ", ">", "- ", "* ", "+ ", "1. ", "7) ", "- [ ] ", "- [x] ", "# "),
    *("### ", "===", "---", "***", "|", "|-|", "|-|-|\n", ":-:", "\t", " ", "  ", "    ", "@"),
    *("https://", "www.", "mailto@", ".", ",", "!", "\n", "\n\n", "  \n", "\r\n", "\u00a0"),
    *("\ufeff", "\u2028", "\x0b", "é", "ß", "漢", "\U0001f600"),
]
DEFINITIONS = ["[a]", "[a]: /a 'A'", "[^a]", "[^a]: ", "\n[a]: ", "\n[^b]: ", "[^b]", ":", "a", "b"]


@st.composite
def markdown_with_numbered_words(draw: st.DrawFn) -> str:
    """Markdown without definitions, in which no word occurs twice."""
    fragments = draw(st.lists(st.sampled_from([*MARKUP, "", "", ""]), max_size=40))
    return "".join(text or f" w{n}x" for n, text in enumerate(fragments))


def everything_said(document: dict[str, Any]) -> set[str]:
    said = texts_of(document)
    for link in links_of(document):
        said += [link["href"], link.get("title", "")]
    said += [node.get("attrs", {}).get("language", "") for node in nodes_of(document)]
    return set(words(said))


@given(markdown_with_numbered_words())
def test_every_word_of_the_source_is_kept(source: str) -> None:
    document = markdown_to_adf(source)

    assert_sound(document)
    wanted = set(re.findall(r"w\d+x", source))
    assert wanted <= set(re.findall(r"w\d+x", " ".join(everything_said(document))))


@given(markdown_with_numbered_words(), st.sampled_from([None, 1, 2, 3]))
def test_every_word_of_the_source_is_kept_in_some_section(source: str, level: int | None) -> None:
    said: set[str] = set()
    for section in split_sections(source, level):
        assert_sound(section.document)
        said |= everything_said(section.document) | set(words([section.title or ""]))
        assert section.title is None or section.title == " ".join(section.title.split()) != ""

    wanted = set(re.findall(r"w\d+x", source))
    assert wanted <= set(re.findall(r"w\d+x", " ".join(said)))


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


def unchanged_parser() -> MarkdownIt:
    """markdown-it-py as it comes, with the same extensions."""
    parser = MarkdownIt(
        "commonmark", {"maxNesting": 20, "strikethrough_single_tilde": True}
    ).enable(["table", "strikethrough"])
    parser.use(footnote_plugin, inline=False, move_to_end=False)
    parser.block.ruler.at(
        "table", block_parser.table_with_surplus_cells, {"alt": ["paragraph", "reference"]}
    )
    parser.validateLink = lambda url: commonmark._UNSAFE_LINK.match(url) is None
    parser.core.ruler.enableOnly(["normalize", "block"])
    return parser


UNCHANGED = unchanged_parser()


def shape(tokens: list[Token]) -> list[tuple[Any, ...]]:
    """The tokens with adjacent texts joined, as only the builder joins them.

    Inline levels are left out: markdown-it-py counts them anew where it joins texts, and nothing
    here reads them.
    """
    shapes: list[tuple[Any, ...]] = []
    for token in tokens:
        if token.type in ("text", "text_special"):
            if not token.content:
                continue
            if shapes and shapes[-1][0] == "text":
                shapes[-1] = ("text", shapes[-1][1] + token.content)
            else:
                shapes.append(("text", token.content))
        elif token.type == "footnote_ref":
            shapes.append(("footnote_ref",))
        else:
            children = shape(token.children or [])
            shapes.append(
                (
                    *(token.type, token.tag, token.attrs, token.map, token.content),
                    *(token.level if token.block else 0, token.markup, token.info, token.meta),
                    children,
                )
            )
    return shapes


without_bare_addresses = st.lists(
    st.one_of(
        st.sampled_from(
            [text for text in MARKUP + DEFINITIONS if text not in ("https://", "www.")]
        ),
        st.text(max_size=2),
    )
).map("".join)


@given(without_bare_addresses)
def test_choosing_rules_by_character_changes_nothing(source: str) -> None:
    """Our parser against markdown-it-py's own, token by token."""
    source = source.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")
    environment: dict[str, Any] = {}
    expected = UNCHANGED.parse(source, environment)
    try:
        tokens, our_environment = commonmark.parse_blocks(source, 20)
    except DocumentError:
        return

    assert shape(tokens) == shape(expected)
    assert our_environment.get("references") == environment.get("references")
    for token in tokens:
        if token.type == "inline":
            ours = commonmark.parse_inline(token.content, our_environment)
            theirs = UNCHANGED.inline.parse(token.content, UNCHANGED, environment, [])
            assert shape(ours) == shape(theirs)
