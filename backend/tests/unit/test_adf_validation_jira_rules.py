"""Rules of Jira or PostgreSQL that Atlassian's schema does not check."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.tasks.adf.table_shape import MAXIMUM_SPANNED_COLUMNS
from app.tasks.adf.validation import find_violations, is_valid_adf


def document(*nodes: object) -> dict[str, Any]:
    return {"version": 1, "type": "doc", "content": list(nodes)}


def paragraph(text: str, *marks: object) -> dict[str, Any]:
    node: dict[str, Any] = {"type": "text", "text": text}
    if marks:
        node["marks"] = list(marks)
    return {"type": "paragraph", "content": [node]}


def link(href: str) -> dict[str, Any]:
    return {"type": "link", "attrs": {"href": href}}


def table(*rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "table", "content": [{"type": "tableRow", "content": row} for row in rows]}


def cell(**attributes: Any) -> dict[str, Any]:
    node: dict[str, Any] = {"type": "tableCell", "content": [{"type": "paragraph"}]}
    if attributes:
        node["attrs"] = attributes
    return node


def rules_and_paths(value: object, **options: Any) -> list[tuple[str, str]]:
    return [(found.rule, found.path) for found in find_violations(value, **options)]


# Text length


@pytest.mark.parametrize(
    ("text", "units"),
    [("a" * 100, 100), ("ä" * 100, 100), ("😄" * 50, 100), ("e\u0301" * 50, 100)],
)
def test_text_counts_in_utf_16_code_units_and_structure_at_four(text: str, units: int) -> None:
    value = document(paragraph(text))
    length = units + 3 * 4  # doc, paragraph and text
    assert find_violations(value, max_characters=length) == []
    assert rules_and_paths(value, max_characters=length - 1) == [("text_length", "")]


def test_marks_and_addresses_count_as_well() -> None:
    value = document(paragraph("a", link("https://example.org")))
    length = 1 + len("https://example.org") + 4 * 4
    assert find_violations(value, max_characters=length) == []
    assert rules_and_paths(value, max_characters=length - 1) == [("text_length", "")]


def test_text_over_the_limit_of_jira_is_too_long_by_default() -> None:
    assert find_violations(document(paragraph("a" * 31_900))) == []
    [violation] = find_violations(document(paragraph("a" * 32_768)))
    assert violation.rule == "text_length"
    assert "32,780" in violation.reason
    assert "32,767" in violation.reason


# Links


SCRIPTS = [
    "javascript:alert(1)",
    "JavaScript:alert(1)",
    "java\tscript:alert(1)",
    "java\nscript:alert(1)",
    "\x01\x1f javascript:alert(1)",
    "javascript\r\n:alert(1)",
    "java\u200bscript:alert(1)",
    "\ufeffjavascript:alert(1)",
    "\u00a0javascript\u2060:alert(1)",
    "vbscript:x",
    "DATA:text/html,<script>alert(1)</script>",
    "livescript:x",
]
EMPTY = ["", " ", "\t\r\n", "\u00a0", "\u200b", "\x07"]
HARMLESS = [
    "https://example.org/javascript:alert(1)",
    "mailto:javascript@example.org",
    "#javascript:",
    "?data:",
    "./data:x",
    "javascript",
    "javascripts:x",
    "not-javascript:x",
    "docs/read me.md",
    "tel:+49",
    "http:",
]


@pytest.mark.parametrize("href", SCRIPTS + EMPTY)
def test_scripting_and_empty_links_are_refused(href: str) -> None:
    value = document(paragraph("a", {"type": "strong"}, link(href)))
    assert is_valid_adf(value)
    expected = "/content/0/content/0/marks/1/attrs/href"
    assert ("link", expected) in rules_and_paths(value)


@pytest.mark.parametrize("href", HARMLESS)
def test_links_that_only_look_alike_are_accepted(href: str) -> None:
    assert find_violations(document(paragraph("a", link(href)))) == []


@given(
    noise=st.lists(
        st.sampled_from("\t\n\r\x00\x01\x1f \u200b\u200d\ufeff"), min_size=11, max_size=11
    ),
    upper=st.lists(st.booleans(), min_size=10, max_size=10),
)
def test_no_disguise_hides_a_script(noise: list[str], upper: list[bool]) -> None:
    letters = [
        letter.upper() if up else letter for letter, up in zip("javascript", upper, strict=True)
    ]
    href = "".join(a + b for a, b in zip(noise, [*letters, ":"], strict=True)) + "alert(1)"
    assert "link" in {found.rule for found in find_violations(document(paragraph("a", link(href))))}


@pytest.mark.parametrize(
    ("node", "path"),
    [
        ({"type": "blockCard", "attrs": {"url": "javascript:x"}}, "/content/0/attrs/url"),
        ({"type": "blockCard", "attrs": {"url": "docs/kettle.md"}}, "/content/0/attrs/url"),
        (
            {"type": "embedCard", "attrs": {"url": "", "layout": "wide"}},
            "/content/0/attrs/url",
        ),
        (
            {"type": "paragraph", "content": [{"type": "inlineCard", "attrs": {"url": "data:x"}}]},
            "/content/0/content/0/attrs/url",
        ),
        (
            {
                "type": "mediaSingle",
                "attrs": {"layout": "center"},
                "content": [{"type": "media", "attrs": {"type": "external", "url": "blob:x"}}],
            },
            "/content/0/content/0/attrs/url",
        ),
    ],
)
def test_addresses_of_cards_and_media_are_links_too(node: object, path: str) -> None:
    assert rules_and_paths(document(node)) == [("link", path)]


# Tables


@pytest.mark.parametrize(
    "rows",
    [
        [[cell(), cell()], [cell(), cell()]],
        [[cell(colspan=2)], [cell(), cell()]],
        [[cell(rowspan=2), cell()], [cell()]],
        [[cell(rowspan=2), cell(rowspan=2)], []],
        [[cell(), cell(rowspan=2), cell()], [cell(), cell()]],
        [[cell(rowspan=2, colspan=2), cell()], [cell()], [cell(colspan=3)]],
        [[cell(colspan=1, rowspan=1)]],
        [[cell(colwidth=[100])]],
    ],
)
def test_rectangular_tables_are_accepted(rows: list[list[dict[str, Any]]]) -> None:
    assert find_violations(document(table(*rows))) == []


@pytest.mark.parametrize(
    ("rows", "path"),
    [
        ([[cell(), cell()], [cell()]], "/content/0/content/1"),
        ([[cell()], [cell(), cell()]], "/content/0/content/0"),
        ([[cell(colspan=2)], [cell()]], "/content/0/content/1"),
        ([[cell(rowspan=2), cell()], [cell(), cell()]], "/content/0/content/0"),
        ([[cell(rowspan=3)], []], "/content/0/content/0/content/0/attrs/rowspan"),
        ([[cell(), cell(rowspan=2)], [cell(colspan=2)]], "/content/0/content/1/content/0"),
        ([[cell(colspan=0)]], "/content/0/content/0/content/0/attrs/colspan"),
        ([[cell(colspan=1.5)]], "/content/0/content/0/content/0/attrs/colspan"),
        ([[cell(rowspan=-1)]], "/content/0/content/0/content/0/attrs/rowspan"),
        ([[]], "/content/0"),
        ([[cell(colspan=10**12)]], "/content/0/content/0/content/0"),
        (
            [[cell(colspan=MAXIMUM_SPANNED_COLUMNS), cell()]],
            "/content/0/content/0/content/1",
        ),
        ([[cell(rowspan=10**12)]], "/content/0/content/0/content/0/attrs/rowspan"),
    ],
)
def test_ragged_tables_are_refused(rows: list[list[dict[str, Any]]], path: str) -> None:
    value = document(table(*rows))
    assert is_valid_adf(value)
    assert ("ragged_table", path) in rules_and_paths(value)
    assert {found.rule for found in find_violations(value)} == {"ragged_table"}


@st.composite
def tilings(draw: st.DrawFn) -> list[list[dict[str, Any]]]:
    """Cut a rectangle into cells at random: a table that is valid by construction."""
    height, width = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    taken = [[False] * width for _ in range(height)]
    rows: list[list[dict[str, Any]]] = [[] for _ in range(height)]
    for y in range(height):
        for x in range(width):
            if taken[y][x]:
                continue
            free = next((i for i in range(x, width) if taken[y][i]), width) - x
            columns, reach = draw(st.integers(1, free)), draw(st.integers(1, height - y))
            for row in taken[y : y + reach]:
                row[x : x + columns] = [True] * columns
            rows[y].append(cell(colspan=columns, rowspan=reach))
    return rows


@given(rows=tilings(), data=st.data())
def test_every_way_to_cut_a_rectangle_is_accepted_until_a_cell_is_too_many(
    rows: list[list[dict[str, Any]]], data: st.DataObject
) -> None:
    assert find_violations(document(table(*rows))) == []
    data.draw(st.sampled_from(rows)).append(cell())
    still_whole = len(rows) == 1
    assert (rules_and_paths(document(table(*rows))) == []) == still_whole


# Marks


def test_mark_that_stands_twice_is_refused() -> None:
    value = document(paragraph("a", {"type": "strong"}, {"type": "em"}, {"type": "strong"}))
    assert is_valid_adf(value)
    assert rules_and_paths(value) == [("duplicate_mark", "/content/0/content/0/marks/2")]


def test_two_links_on_one_text_are_refused_even_if_they_differ() -> None:
    value = document(paragraph("a", link("https://a.example"), link("https://b.example")))
    assert rules_and_paths(value) == [("duplicate_mark", "/content/0/content/0/marks/1")]


def test_only_the_same_annotation_twice_is_a_duplicate() -> None:
    first, second = (
        {"type": "annotation", "attrs": {"id": name, "annotationType": "inlineComment"}}
        for name in "ab"
    )
    assert find_violations(document(paragraph("a", first, second))) == []
    value = document(paragraph("a", first, second, dict(first)))
    assert rules_and_paths(value) == [("duplicate_mark", "/content/0/content/0/marks/2")]


# Characters


UNSAFE = ["\x00", "\x01", "\x0b", "\ufdd0", "\ufffe", "\uffff", "\U0010fffe"]


@pytest.mark.parametrize("character", [*UNSAFE, chr(0xD800), chr(0xDFFF), chr(0xD83D)])
def test_unsafe_characters_are_found_in_text_attributes_and_free_form_json(character: str) -> None:
    value = document(
        paragraph("fine"),
        paragraph(f"a{character}b"),
        {"type": "codeBlock", "attrs": {"language": character}},
        {
            "type": "extension",
            "attrs": {"extensionKey": "k", "extensionType": "t", "parameters": [{"a": character}]},
        },
    )
    assert rules_and_paths(value) == [
        ("unsafe_character", "/content/2/attrs/language"),
        ("unsafe_character", "/content/1/content/0/text"),
        ("unsafe_character", "/content/3/attrs/parameters/0/a"),
    ]


@pytest.mark.parametrize("character", ["\x00", chr(0xD800)])
def test_unsafe_characters_in_keys_and_types_are_found_and_not_repeated(character: str) -> None:
    parameters = {"fine": {f"a{character}": {"b": f"{character}"}}}
    attributes = {"extensionKey": "k", "extensionType": "t", "parameters": parameters}
    value = document({"type": "extension", "attrs": attributes}, {"type": character})
    violations = find_violations(value)
    found = {(violation.rule, violation.path) for violation in violations}
    assert ("unsafe_character", "/content/0/attrs/parameters/fine") in found
    assert ("unsafe_character", "/content/1/type") in found
    assert ("schema", "/content/1") in found
    for violation in violations:
        assert character not in (violation.path + violation.reason)
        (violation.path + violation.reason).encode("utf-8")


def test_pair_of_surrogates_that_json_wrote_as_escapes_is_a_character() -> None:
    assert find_violations(document(paragraph("\U0001f604"))) == []


# Headings


@pytest.mark.parametrize("level", [1.0, 2.5])
def test_heading_level_that_is_no_whole_number_is_refused(level: object) -> None:
    value = document({"type": "heading", "attrs": {"level": level}})
    assert ("heading_level", "/content/0/attrs/level") in rules_and_paths(value)


# All together


@pytest.mark.parametrize("level", ["2", True, 9])
def test_what_the_schema_refuses_is_told_once(level: object) -> None:
    value = document({"type": "heading", "attrs": {"level": level}})
    assert rules_and_paths(value) == [("schema", "/content/0/attrs/level")]


def test_what_an_extension_keeps_for_itself_is_not_judged_as_nodes() -> None:
    parameters = {
        "body": [
            {"type": "heading", "attrs": {"level": 1.5}},
            {"type": "link", "attrs": {"href": "javascript:x"}, "marks": [{"type": "a"}] * 2},
        ]
    }
    attributes = {"extensionKey": "k", "extensionType": "t", "parameters": parameters}
    assert find_violations(document({"type": "extension", "attrs": attributes})) == []
    views = [{"type": "table", "properties": parameters}]
    source = {"datasource": {"id": "d", "parameters": parameters, "views": views}}
    card = {"type": "blockCard", "attrs": source | {"url": "https://example.org"}}
    assert find_violations(document(card)) == []


def test_violations_of_schema_and_rules_come_together_schema_first() -> None:
    value = document(table([cell()], []), {"type": "nonsense"}, paragraph("a", link("")))
    assert [found.rule for found in find_violations(value)] == ["schema", "ragged_table", "link"]


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("\ud800"),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["type", "content", "marks", "attrs", "text", "href", "level", "colspan"]
            ),
            inner
            | st.sampled_from(
                ["doc", "paragraph", "text", "table", "tableRow", "heading", "link", "media"]
            ),
            max_size=5,
        )
    ),
    max_leaves=25,
)


@given(value=JSON_VALUES)
def test_nothing_that_json_can_hold_makes_validation_fail(value: object) -> None:
    for candidate in (value, document(value), {**document(), "attrs": value}):
        violations = find_violations(candidate)
        assert any(found.rule == "schema" for found in violations) != is_valid_adf(candidate)
        for found in violations:
            (found.path + found.reason).encode("utf-8")
