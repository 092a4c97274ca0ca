"""What each piece of Markdown becomes, and what ADF does not let in as it is."""

from __future__ import annotations

from typing import Any

import pytest

from app.tasks.adf.markdown import markdown_to_adf, split_sections

Node = dict[str, Any]


def content(source: str) -> list[Node]:
    blocks: list[Node] = markdown_to_adf(source)["content"]
    return blocks


def text(value: str, *marks: Node) -> Node:
    return {"type": "text", "text": value, "marks": list(marks)} if marks else _plain(value)


def _plain(value: str) -> Node:
    return {"type": "text", "text": value}


def paragraph(*nodes: Node | str) -> Node:
    return {
        "type": "paragraph",
        "content": [_plain(node) if isinstance(node, str) else node for node in nodes],
    }


def item(*blocks: Node) -> Node:
    return {"type": "listItem", "content": list(blocks)}


def bullets(*items: Node) -> Node:
    return {"type": "bulletList", "content": list(items)}


def code_block(value: str, language: str = "") -> Node:
    node: Node = {"type": "codeBlock", "content": [_plain(value)]}
    return {**node, "attrs": {"language": language}} if language else node


def link(href: str, title: str = "") -> Node:
    return {"type": "link", "attrs": {"href": href, "title": title} if title else {"href": href}}


STRONG = {"type": "strong"}
EMPHASIS = {"type": "em"}
CODE = {"type": "code"}
SUPERSCRIPT = {"type": "subsup", "attrs": {"type": "sup"}}
HARD_BREAK = {"type": "hardBreak"}
RULE = {"type": "rule"}


@pytest.mark.parametrize(
    ("source", "nodes"),
    [
        ("a **b** c", ["a ", text("b", STRONG), " c"]),
        ("***b***", [text("b", STRONG, EMPHASIS)]),
        ("**a **b** c**", [text("a b", STRONG), text(" c", STRONG)]),
        ("~~a~~ and ~b~", [text("a", {"type": "strike"}), " and ", text("b", {"type": "strike"})]),
        ("**`a`**", [text("a", CODE)]),
        ("[`a`](/b)", [text("a", CODE, link("/b"))]),
        ("[a](/b 'c')", [text("a", link("/b", "c"))]),
        ("**[a](/b)**", [text("a", STRONG, link("/b"))]),
        ("&copy; &#0; a\\*b", ["© � a*b"]),
        ("a\nb", ["a b"]),
        ("a  \nb\\\nc", ["a", HARD_BREAK, "b", HARD_BREAK, "c"]),
        ("a<br>\nb", ["a", HARD_BREAK, "b"]),
        ("H<sub>2</sub>O", ["H<sub>2</sub>O"]),
    ],
)
def test_inline_markup_becomes_marks(source: str, nodes: list[Node | str]) -> None:
    if source.startswith("**a **b"):
        # Adjacent texts with equal marks may be one node or two: only what they say counts.
        assert "".join(node["text"] for node in content(source)[0]["content"]) == "a b c"
    else:
        assert content(source) == [paragraph(*nodes)]


@pytest.mark.parametrize(
    ("source", "nodes"),
    [
        ("![alt](/i.png)", [text("alt", link("/i.png"))]),
        ("![](/i.png)", [text("/i.png", link("/i.png"))]),
        ("![a](/i.png 't')", [text("a", link("/i.png", "t"))]),
        ("![a]()", ["a"]),
        ("![a](<> 't')", ["a (t)"]),
        (
            "[![a](/i.png)](/b)",
            [text("a (", link("/b")), text("/i.png", link("/i.png")), text(")", link("/b"))],
        ),
        ("[](/b)", [text("/b", link("/b"))]),
        ("[a]()", ["a"]),
        ("[a](<> 't')", ["(t) a"]),
    ],
)
def test_what_a_link_cannot_carry_is_written_out(source: str, nodes: list[Node | str]) -> None:
    assert content(source) == [paragraph(*nodes)]


@pytest.mark.parametrize(
    "source",
    [
        "[a](javascript:alert)",
        "[a](JavaScript:alert)",
        "[a](vbscript:x)",
        "[a](data:text/html,x)",
        "![a](data:image/png;base64,AAAA)",
        "[a](file:///etc/passwd)",
        "<javascript:alert>",
        "[a]: javascript:alert",
    ],
)
def test_unsafe_address_stays_as_text(source: str) -> None:
    assert content(source) == [paragraph(source)]


@pytest.mark.parametrize(
    ("source", "shown", "href"),
    [
        ("https://a.example/b_c_d", None, "https://a.example/b_c_d"),
        ("http://localhost:8000/x", None, "http://localhost:8000/x"),
        ("www.a.example", None, "http://www.a.example"),
        ("me@a.example", None, "mailto:me@a.example"),
        ("first_last@a.example", None, "mailto:first_last@a.example"),
        ("mailto:me@a.example", None, "mailto:me@a.example"),
        ("<https://a.example>", "https://a.example", "https://a.example"),
        ("https://a.example/_x_/", None, "https://a.example/_x_/"),
        ("https://a.example/?q=(x)", None, "https://a.example/?q=(x)"),
        ("https://bücher.example/ü", None, "https://xn--bcher-kva.example/%C3%BC"),
    ],
)
def test_bare_address_is_a_link(source: str, shown: str | None, href: str) -> None:
    assert content(source) == [paragraph(text(shown or source, link(href)))]


@pytest.mark.parametrize(
    ("source", "address"),
    [
        ("see https://a.example/b.", "https://a.example/b"),
        ("(https://a.example/b)", "https://a.example/b"),
        ('"https://a.example/b",', "https://a.example/b"),
        ("https://a.example/b&amp;", "https://a.example/b"),
        ("https://a.example/b;", "https://a.example/b"),
        ("[https://a.example/b][none]", "https://a.example/b"),
        ("**https://a.example/b**", "https://a.example/b"),
    ],
)
def test_bare_address_ends_where_the_sentence_goes_on(source: str, address: str) -> None:
    linked = [
        node["text"]
        for node in content(source)[0]["content"]
        if link(address) in node.get("marks", ())
    ]
    assert linked == [address]


@pytest.mark.parametrize(
    "source",
    [
        "readme.md",
        "a.example",
        "xhttps://a",
        "https://",
        "www.",
        "www.a_b.c_d",
        "a@b",
        "a@b.c-",
        "@x",
    ],
)
def test_what_only_resembles_an_address_is_text(source: str) -> None:
    assert content(source) == [paragraph(source)]


def test_address_in_a_link_or_in_code_is_no_second_link() -> None:
    assert content("[me@a.example www.b.example](/c) `www.d.example`") == [
        paragraph(text("me@a.example www.b.example", link("/c")), " ", text("www.d.example", CODE))
    ]


def test_code_keeps_its_language_and_its_whole_info_string() -> None:
    assert content('```python title="a b.py"\nx = 1\n\n```') == [
        paragraph('title="a b.py"'),
        code_block("x = 1\n", "python"),
    ]
    assert content("    x\n") == [code_block("x")]
    assert content("```\n```") == [{"type": "codeBlock", "content": []}]


def test_block_of_html_becomes_code() -> None:
    assert content("<details>\n<b>x</b>\n</details>") == [
        code_block("<details>\n<b>x</b>\n</details>", "html")
    ]


def test_lists_keep_nesting_and_first_number() -> None:
    assert content("3. a\n   - b\n4. c") == [
        {
            "type": "orderedList",
            "content": [item(paragraph("a"), bullets(item(paragraph("b")))), item(paragraph("c"))],
            "attrs": {"order": 3},
        }
    ]


def test_item_that_starts_with_a_list_or_is_empty_gets_a_paragraph_first() -> None:
    assert content("- - a\n-") == [
        bullets(item(paragraph(), bullets(item(paragraph("a")))), item(paragraph()))
    ]


def test_heading_rule_quote_and_table_in_an_item_are_lowered() -> None:
    source = "- # a `b`\n  ***\n  > c\n  >\n  > > d\n\n  | e | f |\n  |---|---|\n  | g | **h** |\n"
    assert content(source) == [
        bullets(
            item(
                paragraph(text("a ", STRONG), text("b", CODE)),
                paragraph("———"),
                paragraph("c"),
                paragraph("d"),
                paragraph(text("e", STRONG), " | ", text("f", STRONG)),
                paragraph("g", " | ", text("h", STRONG)),
            )
        )
    ]


def test_heading_quote_and_task_list_in_a_quote_are_lowered() -> None:
    assert content("> # a\n>\n> > b\n>\n> - [x] c\n> - [ ] d") == [
        {
            "type": "blockquote",
            "content": [
                paragraph(text("a", STRONG)),
                paragraph("b"),
                bullets(item(paragraph("[x] ", "c")), item(paragraph("[ ] ", "d"))),
            ],
        }
    ]


def test_empty_quote_holds_an_empty_paragraph() -> None:
    assert content(">") == [{"type": "blockquote", "content": [paragraph()]}]


def task(number: int, state: str, *nodes: Node) -> Node:
    attributes = {"localId": f"task-{number}", "state": state}
    return {"type": "taskItem", "attrs": attributes, "content": list(nodes)}


def test_task_list_with_a_task_list_below_an_item() -> None:
    assert content("- [x] a **b**\n  - [ ] c\n- [X] d") == [
        {
            "type": "taskList",
            "attrs": {"localId": "task-5"},
            "content": [
                task(3, "DONE", _plain("a "), text("b", STRONG)),
                {
                    "type": "taskList",
                    "attrs": {"localId": "task-2"},
                    "content": [task(1, "TODO", _plain("c"))],
                },
                task(4, "DONE", _plain("d")),
            ],
        }
    ]


@pytest.mark.parametrize(
    "source",
    ["- [x] a\n- b", "- [x] a\n  - b", "- [x] a\n\n  b", "- [x] a\n  ```\n  b\n  ```", "1. [x] a"],
)
def test_list_that_no_task_list_can_hold_keeps_its_check_boxes_as_text(source: str) -> None:
    (whole,) = content(source)
    assert whole["type"] in ("bulletList", "orderedList")
    assert whole["content"][0]["content"][0]["content"][:1] == [_plain("[x] ")]


@pytest.mark.parametrize("source", ["- [ ]", "- [y] a", "- [x]a", "- \\[x] a"])
def test_what_only_resembles_a_check_box_is_text(source: str) -> None:
    shown = source.removeprefix("- ").replace("\\", "")
    assert content(source) == [bullets(item(paragraph(shown)))]


def cell(kind: str, *nodes: Node | str) -> Node:
    return {"type": kind, "content": [paragraph(*nodes)]}


def test_table_is_rectangular_and_keeps_surplus_cells() -> None:
    source = "a | b\n--|:-:\nc\nd | **e** | f | g\n| h | i | j |\nk \\| l | m"
    (table,) = content(source)
    assert table["type"] == "table"
    assert [row["content"] for row in table["content"]] == [
        [cell("tableHeader", "a"), cell("tableHeader", "b")],
        [cell("tableCell", "c"), cell("tableCell")],
        [cell("tableCell", "d"), cell("tableCell", text("e", STRONG), " | f | g")],
        [cell("tableCell", "h"), cell("tableCell", "i | j")],
        [cell("tableCell", "k | l"), cell("tableCell", "m")],
    ]


def test_surplus_cells_are_counted_as_the_parser_counts_them() -> None:
    (table,) = content("a | b\n--|--\n\x1c | c | d |")
    assert table["content"][1]["content"][1] == cell("tableCell", "c | d")


def test_surplus_cells_are_kept_in_a_quote_too() -> None:
    (quote,) = content("> a | b\n> --|--\n> c | d | e")
    assert quote["content"][1] == paragraph("c", " | ", "d | e")


def test_footnotes_are_numbered_as_referred_to_and_listed_below_a_rule() -> None:
    source = "[^b]: B[^c]\n\n[^a]: A\n\n    more\n\n[^c]: C\n\n[^d]: D\n\nx[^a] y[^b] z[^a] [^none]"
    paragraph_nodes, rule, footnotes = content(source)
    assert paragraph_nodes == paragraph(
        *("x", text("[1]", SUPERSCRIPT), " y", text("[2]", SUPERSCRIPT)),
        *(" z", text("[1]", SUPERSCRIPT), " [^none]"),
    )
    assert rule == RULE
    assert footnotes == {
        "type": "orderedList",
        "content": [
            item(paragraph("A"), paragraph("more")),
            item(paragraph("B", text("[3]", SUPERSCRIPT))),
            item(paragraph("C")),
            item(paragraph("D")),
        ],
    }


def test_footnote_that_refers_to_itself_ends() -> None:
    assert content("a[^1]\n\n[^1]: b[^1]")[2]["content"] == [
        item(paragraph("b", text("[1]", SUPERSCRIPT)))
    ]


def test_each_section_has_the_footnotes_it_needs_and_none_is_lost() -> None:
    source = "# A\na[^1]\n# B\nb[^2]\n# C\n[^1]: one\n\n[^2]: two\n\n[^3]: three"
    below = {
        section.title: section.document["content"][-1]["content"]
        for section in split_sections(source, 1)
    }
    assert below == {
        "A": [item(paragraph("one"))],
        "B": [item(paragraph("two"))],
        "C": [item(paragraph("three"))],
    }


@pytest.mark.parametrize(
    ("source", "clean"),
    [
        ("a\0b", "a�b"),
        ("a\ud800b", "a�b"),
        ("\ud83d\ude00", "😀"),
        ("\ufeff# a", "a"),
        ("a\rb", "a b"),
    ],
)
def test_characters_that_cannot_be_stored_are_replaced(source: str, clean: str) -> None:
    assert content(source)[0]["content"] == [_plain(clean)]


# Sections


def titles(source: str, level: int | None) -> list[tuple[str | None, int]]:
    return [(section.title, section.line) for section in split_sections(source, level)]


NESTED = "before\n\n# A\na\n\n## B\nb\n\nC\n===\n### D\n> # quoted\n\n- # listed\n"


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (None, [("A", 3)]),
        (1, [(None, 1), ("A", 3), ("C", 9)]),
        (2, [(None, 1), ("A", 3), ("B", 6), ("C", 9)]),
        (3, [(None, 1), ("A", 3), ("B", 6), ("C", 9), ("D", 11)]),
    ],
)
def test_document_is_split_at_headings_of_its_top_level(
    level: int | None, expected: list[tuple[str | None, int]]
) -> None:
    assert titles(NESTED, level) == expected


def test_heading_that_gives_the_title_is_not_repeated() -> None:
    (section,) = split_sections("before\n\n# A *b*\n\nafter\n\n# B", None)
    assert section.title == "A b"
    assert section.document["content"] == [
        paragraph("before"),
        paragraph("after"),
        {"type": "heading", "content": [_plain("B")], "attrs": {"level": 1}},
    ]


def test_heading_that_says_more_than_its_title_stays_as_a_paragraph() -> None:
    (section,) = split_sections("# [A](/b) ![c](/d) e[^1]\n\n[^1]: f", 1)
    assert section.title == "A c e"
    assert section.document["content"][0] == paragraph(
        *(text("A", link("/b")), " ", text("c", link("/d")), " e", text("[1]", SUPERSCRIPT))
    )


def test_title_is_one_line_of_plain_text() -> None:
    assert titles("A  \nb\t`c`\n&amp; \\* \u2028 ![d](/e)\n===", None) == [("A b c & * d", 1)]


@pytest.mark.parametrize("source", ["", "\n \n", "no heading", "> # quoted", "#\n\n##"])
def test_document_without_a_heading_is_one_section_without_a_title(source: str) -> None:
    assert titles(source, None) == [(None, 1)]
    assert len(titles(source, 1)) == 1


def test_links_defined_in_one_section_work_in_another() -> None:
    first, _ = split_sections("# A\n[x]\n\n# B\n[x]: /y", 1)
    assert first.document["content"] == [paragraph(text("x", link("/y")))]
