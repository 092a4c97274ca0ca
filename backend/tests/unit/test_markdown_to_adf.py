"""The ADF of each Markdown element, and of those that ADF does not allow unchanged.

One file of more than 450 lines: a table of cases for each element.
"""

from __future__ import annotations

from typing import Any

import pytest

from app.tasks.adf.markdown import markdown_to_adf, split_sections
from app.tasks.adf.validation import find_violations

Node = dict[str, Any]


BASE = "https://base.example/docs/"


def content(source: str, base_url: str | None = BASE) -> list[Node]:
    blocks: list[Node] = markdown_to_adf(source, base_url=base_url)["content"]
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
    href = f"https://base.example{href}" if href.startswith("/") else href
    return {"type": "link", "attrs": {"href": href, "title": title} if title else {"href": href}}


def cell(kind: str, *nodes: Node | str) -> Node:
    return {"type": kind, "content": [paragraph(*nodes)]}


def task(number: int, state: str, *nodes: Node) -> Node:
    attributes = {"localId": f"task-{number}", "state": state}
    return {"type": "taskItem", "attrs": attributes, "content": list(nodes)}


STRONG = {"type": "strong"}
EMPHASIS = {"type": "em"}
CODE = {"type": "code"}
SUPERSCRIPT = {"type": "subsup", "attrs": {"type": "sup"}}
SUBSCRIPT = {"type": "subsup", "attrs": {"type": "sub"}}
UNDERLINE = {"type": "underline"}
SMILE = {"type": "emoji", "attrs": {"shortName": ":smile:", "text": "😄"}}
HARD_BREAK = {"type": "hardBreak"}
RULE = {"type": "rule"}


def colour(value: str) -> Node:
    return {"type": "textColor", "attrs": {"color": value}}


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
        ("H<sub>2</sub>O", ["H", text("2", SUBSCRIPT), "O"]),
        ("x<sup>2</sup>", ["x", text("2", SUPERSCRIPT)]),
        ("<u>a</u> <INS>b</INS>", [text("a", UNDERLINE), " ", text("b", UNDERLINE)]),
        ("<kbd>Ctrl</kbd> <samp>x</samp>", [text("Ctrl", CODE), " ", text("x", CODE)]),
        (
            "<b>a</b> <i>b</i> <s>c</s>",
            [text("a", STRONG), " ", text("b", EMPHASIS), " ", text("c", {"type": "strike"})],
        ),
        ('<font color="red">a</font>', [text("a", colour("#ff0000"))]),
        ("<span style='color: #0a0'>a</span>", [text("a", colour("#00aa00"))]),
        ("a <!-- b --> c", ["a c"]),
        (":smile: `:smile:` 10:30:45", [SMILE, " ", text(":smile:", CODE), " 10:30:45"]),
        ("Vec<T> and Map<Object, B>", ["Vec<T> and Map<Object, B>"]),
    ],
)
def test_inline_markup_becomes_marks(source: str, nodes: list[Node | str]) -> None:
    if source.startswith("**a **b"):
        # Adjacent texts with equal marks may be one node or two: only the text counts.
        assert "".join(node["text"] for node in content(source)[0]["content"]) == "a b c"
    else:
        assert content(source) == [paragraph(*nodes)]


@pytest.mark.parametrize(
    ("source", "nodes"),
    [
        ("[](/b)", [text("https://base.example/b", link("/b"))]),
        ("[a]()", ["a"]),
        ("![a]()", ["a"]),
    ],
)
def test_what_a_link_cannot_carry_is_written_out(source: str, nodes: list[Node | str]) -> None:
    if source.startswith("[]"):
        assert content(source) == [paragraph(card("https://base.example/b"))]
    else:
        assert content(source) == [paragraph(*nodes)]


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert",
        "JavaScript:alert",
        "vbscript:x",
        "data:text/html,x",
        "file:///etc/passwd",
    ],
)
def test_unsafe_address_is_no_link(address: str) -> None:
    assert content(f"[a]({address})") == [paragraph("a")]
    assert content(f"<a href='{address}'>a</a>") == [paragraph("a")]
    assert content(f"![a]({address})") == [paragraph("a")]


@pytest.mark.parametrize("source", ["[a](./b.md)", "[a](#b)", "[a](/b)", "![a](b.png)"])
def test_what_leads_nowhere_without_a_base_is_text(source: str) -> None:
    assert content(source, None) == [paragraph("a")]


def test_base_makes_relative_addresses_absolute() -> None:
    assert content("[a](./b.md) [c](#d) ![e](f.png)") == [
        paragraph(
            *(text("a", link(f"{BASE}b.md")), " ", text("c", link(f"{BASE}#d"))),
        ),
        picture(f"{BASE}f.png", "e"),
    ]


def card(url: str) -> Node:
    return {"type": "inlineCard", "attrs": {"url": url}}


def picture(url: str, alternative: str = "", marks: list[Node] | None = None) -> Node:
    attributes = {"type": "external", "url": url}
    media: Node = {"type": "media", "attrs": attributes}
    if alternative:
        attributes["alt"] = alternative
    if marks:
        media["marks"] = marks
    return {"type": "mediaSingle", "attrs": {"layout": "align-start"}, "content": [media]}


@pytest.mark.parametrize(
    ("source", "blocks"),
    [
        ("![alt](/i.png)", [picture("https://base.example/i.png", "alt")]),
        ("![](/i.png)", [picture("https://base.example/i.png")]),
        ("<IMG SRC=/i.png ALT=a>", [picture("https://base.example/i.png", "a")]),
        (
            "see ![a](/i.png), then",
            [paragraph("see"), picture("https://base.example/i.png", "a"), paragraph(", then")],
        ),
        (
            "[![a](/i.png)](/b)",
            [picture("https://base.example/i.png", "a", [link("/b")])],
        ),
        ("[![build](/b.svg)](/b)", [paragraph(text("build", link("/b")))]),
        (
            "![a](/badge/a) ![b](/badge/b)",
            [paragraph(text("a", link("/badge/a")), " ", text("b", link("/badge/b")))],
        ),
        (
            "![a](/a.png) ![b](/b.png)",
            [picture(f"https://base.example/{x}.png", x) for x in "ab"],
        ),
        (
            "<picture><source srcset='/d.png'><img src='/i.png' alt='a'></picture>",
            [picture("https://base.example/i.png", "a")],
        ),
        ("- [ ] a ![b](/i.png)", [
            {"type": "taskList", "attrs": {"localId": "task-1"}, "content": [
                {"type": "taskItem", "attrs": {"localId": "task-2", "state": "TODO"},
                 "content": [_plain("a "), text("b", link("/i.png"))]},
            ]},
        ]),
    ],
)  # fmt: skip
def test_picture_is_a_block_and_badge_a_link(source: str, blocks: list[Node]) -> None:
    assert content(source) == blocks


def test_width_caption_and_alignment_of_a_picture_are_kept() -> None:
    source = '<p align="center"><img src="/i.png" width="200" title="t" alt="a"></p>'
    (block,) = content(source)
    assert block["attrs"] == {"layout": "center", "width": 200, "widthType": "pixel"}
    assert block["content"][1] == {"type": "caption", "content": [_plain("t")]}
    figure = "<figure><img src='/i.png'><figcaption>a <b>b</b></figcaption></figure>"
    assert content(figure)[0]["content"][1] == {
        "type": "caption",
        "content": [_plain("a "), text("b", STRONG)],
    }


@pytest.mark.parametrize(
    ("source", "href"),
    [
        ("https://a.example/b_c_d", "https://a.example/b_c_d"),
        ("http://localhost:8000/x", "http://localhost:8000/x"),
        ("www.a.example", "http://www.a.example"),
        ("<https://a.example>", "https://a.example"),
        ("https://a.example/_x_/", "https://a.example/_x_/"),
        ("https://a.example/?q=(x)", "https://a.example/?q=(x)"),
    ],
)
def test_address_alone_in_its_paragraph_is_a_card(source: str, href: str) -> None:
    assert content(source) == [paragraph(card(href))]
    shown = source.strip("<>")
    assert content(f"see {source}") == [paragraph("see ", text(shown, link(href)))]


@pytest.mark.parametrize(
    ("source", "href"),
    [
        ("me@a.example", "mailto:me@a.example"),
        ("first_last@a.example", "mailto:first_last@a.example"),
        ("mailto:me@a.example", "mailto:me@a.example"),
        ("https://bücher.example/ü", "https://xn--bcher-kva.example/%C3%BC"),
    ],
)
def test_bare_address_is_a_link(source: str, href: str) -> None:
    assert content(source) == [paragraph(text(source, link(href)))]


@pytest.mark.parametrize(
    ("source", "address"),
    [
        ("see https://a.example/b.", "https://a.example/b"),
        ("(https://a.example/b)", "https://a.example/b"),
        ('"https://a.example/b",', "https://a.example/b"),
        ("x https://a.example/b&amp;", "https://a.example/b"),
        ("https://a.example/b;", "https://a.example/b"),
        ("[https://a.example/b][none]", "https://a.example/b"),
        ("**https://a.example/b**", "https://a.example/b"),
        ("*see https://a.example/b_c*", "https://a.example/b_c"),
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


def test_code_keeps_its_language() -> None:
    assert content('```python title="a b.py"\nx = 1\n\n```') == [code_block("x = 1\n", "python")]
    assert content("    x\n") == [code_block("x")]
    assert content("```\n```") == [{"type": "codeBlock", "content": []}]


@pytest.mark.parametrize(
    ("info", "language"),
    [
        ("{.python .numberLines}", "python"),
        ("py", "python"),
        ("Python", "python"),
        ("js{1,3}", "javascript"),
        ("rust,ignore", "rust"),
        ("c++", "cpp"),
        ("mermaid", "mermaid"),
        ("diff", "diff"),
    ],
)
def test_language_is_named_as_jira_names_it(info: str, language: str) -> None:
    assert content(f"~~~ {info}\nx\n~~~") == [code_block("x", language)]


def expand(title: str, *blocks: Node, kind: str = "expand") -> Node:
    return {"type": kind, "content": list(blocks), "attrs": {"title": title}}


def panel(kind: str, *blocks: Node) -> Node:
    return {"type": "panel", "content": list(blocks), "attrs": {"panelType": kind}}


def test_details_are_expands() -> None:
    assert content("<details>\n<summary>More <b>x</b></summary>\n\n**a**\n\n</details>") == [
        expand("More x", paragraph(text("a", STRONG)))
    ]
    assert content("<DETAILS open>a</DETAILS>") == [expand("Details", paragraph("a"))]
    nested = "<details><summary>1</summary><details><summary>2</summary>a</details></details>"
    assert content(nested) == [expand("1", expand("2", paragraph("a"), kind="nestedExpand"))]
    in_item = "- a\n  <details><summary>b</summary>\n\n  c\n\n  </details>\n- d"
    assert content(in_item) == [
        bullets(item(paragraph("a"))),
        expand("b", paragraph("c")),
        bullets(item(paragraph("d"))),
    ]


def test_link_in_a_summary_is_kept_below_it() -> None:
    assert content('<details><summary>a <a href="/b">c</a></summary>d</details>') == [
        expand("a c", paragraph("a ", text("c", link("/b"))), paragraph("d"))
    ]


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("> [!NOTE]\n> a", "info"),
        ("> [!tip]\n> a", "success"),
        ("> [!IMPORTANT]\n> a", "note"),
        ("> [!WARNING]\n>\n> a", "warning"),
        ("> [!CAUTION]\n> a", "error"),
        ("> [!INFO]-\n> a", "info"),
        (":::note\na\n:::", "info"),
        ("::: warning\na\n:::", "warning"),
        ("!!! danger\n    a", "error"),
        ("<div class='admonition tip'>a</div>", "success"),
    ],
)
def test_alert_is_a_panel(source: str, kind: str) -> None:
    assert content(source) == [panel(kind, paragraph("a"))]
    assert content(f"before\n\n{source}\n\nafter") == [
        *(paragraph("before"), panel(kind, paragraph("a")), paragraph("after"))
    ]


def test_elements_in_code_are_code() -> None:
    source = "<pre><div>a</div><div>b <pre>c</pre> <ul><li>d</ul></div></pre>"
    (block,) = content(source)
    assert block["content"][0]["text"].split() == ["a", "b", "c", "d"]
    assert content('<pre>a <a href="/b">c</a></pre>') == [
        code_block("a c"),
        paragraph(text("c", link("/b"))),
    ]


def test_alert_keeps_its_own_title() -> None:
    for source in ("> [!NOTE] b\n> a", '!!! note "b"\n    a', ":::note[b]\na\n:::"):
        (found,) = content(source)
        assert found["type"] == "panel"
        assert text("b", STRONG) in found["content"][0]["content"]
    (old,) = content("> **Note**\n> a")
    assert old == panel("info", paragraph(text("Note", STRONG), " a"))


def test_admonition_in_code_and_unknown_alert_are_text() -> None:
    assert content("```\n:::note\n!!! tip\n```") == [code_block(":::note\n!!! tip")]
    assert content("> [!OTHER]\n> a") == [
        {"type": "blockquote", "content": [paragraph("[!OTHER] a")]}
    ]


def test_html_means_what_it_means() -> None:
    source = (
        "<h2 align=center>a</h2><ol start=3><li>b<li>c</ol><blockquote>d</blockquote>"
        "<pre lang=python>e  f</pre><hr><center>g</center><dl><dt>h<dd>i</dl>"
    )
    centred = [{"type": "alignment", "attrs": {"align": "center"}}]
    assert content(source) == [
        {
            "type": "heading",
            "content": [_plain("a")],
            "attrs": {"level": 2},
            "marks": centred,
        },
        {
            "type": "orderedList",
            "content": [item(paragraph("b")), item(paragraph("c"))],
            "attrs": {"order": 3},
        },
        {"type": "blockquote", "content": [paragraph("d")]},
        code_block("e  f", "python"),
        RULE,
        {**paragraph("g"), "marks": centred},
        bullets(item(paragraph(text("h", STRONG)), paragraph("i"))),
    ]


@pytest.mark.parametrize(
    "source",
    [
        "<Tabs>a</Tabs>",
        "use <my-file> here",
        "a <script> tag",
        "<textarea>a",
        "<video src=x> and more",
        "<title>a</title>",
    ],
)
def test_tag_that_is_no_html_here_is_text(source: str) -> None:
    assert content(source) == [paragraph(source)]


@pytest.mark.parametrize(
    "source",
    ["<!-- a -->", "<script>\na < b\n</script>", "<style>\na { }\n</style>", "[a]: /b", "<?a b?>"],
)
def test_what_no_browser_shows_is_left_out(source: str) -> None:
    assert content(f"{source}\n\nb") == [paragraph("b")]


def test_unclosed_comment_hides_nothing() -> None:
    assert content("a <!-- b\n\nc") == [paragraph("a <!-- b"), paragraph("c")]
    assert content("<!-- a\n\nb")[0]["content"][0]["text"].startswith("<!-- a")


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


def test_table_and_quote_in_an_item_stand_between_the_halves_of_the_list() -> None:
    source = "- # a `b`\n  ***\n  > c\n\n  | e |\n  |---|\n  | g |\n\n  h\n- i\n"
    assert content(source) == [
        bullets(item(paragraph(text("a ", STRONG), text("b", CODE)), paragraph("———"))),
        {"type": "blockquote", "content": [paragraph("c")]},
        {
            "type": "table",
            "content": [
                {"type": "tableRow", "content": [cell("tableHeader", "e")]},
                {"type": "tableRow", "content": [cell("tableCell", "g")]},
            ],
        },
        paragraph("h"),
        bullets(item(paragraph("i"))),
    ]


def test_split_list_keeps_its_numbers() -> None:
    assert content("1. a\n   > b\n2. c\n3. d") == [
        {"type": "orderedList", "content": [item(paragraph("a"))]},
        {"type": "blockquote", "content": [paragraph("b")]},
        {
            "type": "orderedList",
            "content": [item(paragraph("c")), item(paragraph("d"))],
            "attrs": {"order": 2},
        },
    ]


def test_quote_in_a_quote_follows_it_and_a_task_in_one_stays_a_task() -> None:
    quote, inner, tasks = content("> # a\n>\n> > b\n>\n> - [x] c")
    assert quote == {"type": "blockquote", "content": [paragraph(text("a", STRONG))]}
    assert inner == {"type": "blockquote", "content": [paragraph("b")]}
    ((listed,),) = (node["content"] for node in tasks["content"])
    assert listed["content"][1]["content"] == [task(2, "DONE", _plain("c"))]


def test_empty_quote_holds_an_empty_paragraph() -> None:
    assert content(">") == [{"type": "blockquote", "content": [paragraph()]}]


def task_list(number: int, *items: Node) -> Node:
    return {"type": "taskList", "attrs": {"localId": f"task-{number}"}, "content": list(items)}


def test_task_list_with_a_task_list_below_an_item() -> None:
    assert content("- [x] a **b**\n  - [ ] c\n- [X] d") == [
        task_list(
            1,
            task(2, "DONE", _plain("a "), text("b", STRONG)),
            task_list(3, task(4, "TODO", _plain("c"))),
            task(5, "DONE", _plain("d")),
        )
    ]


@pytest.mark.parametrize(
    ("source", "between"),
    [
        ("- [x] a\n- b\n- [ ] c", [bullets(item(paragraph("b")))]),
        ("- [x] a\n  - b\n- [ ] c", [bullets(item(paragraph("b")))]),
        ("- [x] a\n\n  b\n- [ ] c", [paragraph("b")]),
        ("- [x] a\n  ```\n  b\n  ```\n- [ ] c", [code_block("b")]),
    ],
)
def test_mixed_task_list_is_split(source: str, between: list[Node]) -> None:
    first, *middle, last = content(source)
    assert first["content"] == [task(2, "DONE", _plain("a"))]
    assert middle == between
    assert last["type"] == "taskList"
    assert last["content"][0]["content"] == [_plain("c")]
    assert first["attrs"] != last["attrs"]


def test_numbered_task_keeps_number_and_check_box() -> None:
    assert content("1. [x] a") == [
        {
            "type": "orderedList",
            "content": [item(paragraph(), task_list(1, task(2, "DONE", _plain("a"))))],
        }
    ]


@pytest.mark.parametrize("source", ["- [ ]", "- [y] a", "- [x]a", "- \\[x] a"])
def test_what_only_resembles_a_check_box_is_text(source: str) -> None:
    shown = source.removeprefix("- ").replace("\\", "")
    assert content(source) == [bullets(item(paragraph(shown)))]


def test_table_is_rectangular_and_keeps_surplus_cells() -> None:
    source = "a | b\n--|:-:\nc\nd | **e** | f | g\n| h | i | j |\nk \\| l | m"
    (table,) = content(source)
    assert table["type"] == "table"
    rows = [row["content"] for row in table["content"]]
    for row in rows:
        assert row[1]["content"][0].pop("marks", CENTRED) == CENTRED
    assert rows == [
        [cell("tableHeader", "a"), cell("tableHeader", "b")],
        [cell("tableCell", "c"), cell("tableCell")],
        [cell("tableCell", "d"), cell("tableCell", text("e", STRONG), " | f | g")],
        [cell("tableCell", "h"), cell("tableCell", "i | j")],
        [cell("tableCell", "k | l"), cell("tableCell", "m")],
    ]


CENTRED = [{"type": "alignment", "attrs": {"align": "center"}}]


def test_columns_keep_their_alignment() -> None:
    (table,) = content("|a|b|c|\n|:-:|--:|:--|\n|1|2|3|")
    for row in table["content"]:
        marks = [row_cell["content"][0].get("marks") for row_cell in row["content"]]
        assert marks == [CENTRED, [{"type": "alignment", "attrs": {"align": "end"}}], None]


def test_surplus_cells_are_kept_in_a_quote_too() -> None:
    (table,) = content("> a | b\n> --|--\n> c | d | e")
    assert table["content"][1]["content"][1] == cell("tableCell", "d | e")


def test_pipe_in_code_is_no_end_of_a_cell() -> None:
    (table,) = content("| name | `a|b` |\n|---|---|\n| ids | `int|str` |")
    assert table["content"][0]["content"][1] == cell("tableHeader", text("a|b", CODE))
    assert table["content"][1]["content"][1] == cell("tableCell", text("int|str", CODE))
    fenced = "```\n| a | b |\n|---|---|\n| c | d | e |\n```"
    assert content(fenced) == [code_block(fenced[4:-4])]


def test_html_table_is_made_a_rectangle() -> None:
    source = (
        "<table><caption>t</caption><tr><th colspan=2>a<th>b<tr><td rowspan=9>c<td>d"
        "<tr><td>e<td align=right>f<tr></table>"
    )
    caption, table = content(source)
    assert caption == paragraph("t")
    shapes = [
        [{**found.get("attrs", {}), "said": said(found)} for found in row["content"]]
        for row in table["content"]
    ]
    assert shapes == [
        [{"colspan": 2, "said": "a"}, {"said": "b"}],
        [{"rowspan": 3, "said": "c"}, {"said": "d"}, {"said": ""}],
        [{"said": "e"}, {"said": "f"}],
        [{"colspan": 2, "said": ""}],
    ]
    assert find_violations(markdown_to_adf(source)) == []


def said(node: Node) -> str:
    return "".join([node.get("text", ""), *map(said, node.get("content", []))])


def test_table_in_a_table_is_kept_in_place() -> None:
    inner = "<table><tr><td>c<td>d</table>"
    (table,) = content(f"<table><tr><td>a<td>{inner}<tr><td>e<td>f</table>")
    assert table["content"][0]["content"][1] == cell("tableCell", "c", " | ", "d")
    first, laid_out = content(f"<table><tr><td>a<td>{inner}</table>")
    assert first == paragraph("a")
    assert laid_out["type"] == "table"


def test_blocks_in_a_cell_are_kept() -> None:
    source = (
        "<table><tr><td><ul><li>a</ul><pre>b</pre><details><summary>c</summary>d</details></table>"
    )
    ((row,),) = (table["content"] for table in content(source))
    assert row["content"][0]["content"] == [
        bullets(item(paragraph("a"))),
        code_block("b"),
        expand("c", paragraph("d"), kind="nestedExpand"),
    ]


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
        ("a\x08b", "a�b"),
        ("a\ufdd0b\uffff", "a�b�"),
        ("a\x0bb", "a b"),
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
    (section,) = split_sections("# [A](/b) ![c](/d) e[^1]\n\n[^1]: f", 1, base_url=BASE)
    assert section.title == "A e"
    heading, shown = section.document["content"][:2]
    assert said(heading) == "A e[1]"
    assert heading["content"][0] == text("A", link("/b"))
    assert heading["content"][-1] == text("[1]", SUPERSCRIPT)
    assert shown == picture("https://base.example/d", "c")


@pytest.mark.parametrize(
    ("source", "title"),
    [
        ('<h1 align="center">kettle</h1>\n\n## Installation', "kettle"),
        ("# Kettle [![downloads](https://e.org/d.svg)](https://e.org)", "Kettle"),
        ("# Guide <!-- omit in toc -->", "Guide"),
        ("<!-- a -->\n\n## Change", "Change"),
        ("# :rocket: A `b` <sub>c</sub>", "🚀 A b c"),
        ("# A {#anchor .class}", "A"),
        ("# A {b}", "A {b}"),
        ("<div align=center>\n\n# A\n\n</div>\n\n# B", "A"),
        ("![logo](https://e.org/l.png)\n\n# A", "A"),
    ],
)
def test_title_is_what_the_first_heading_says(source: str, title: str) -> None:
    (section,) = split_sections(source, None)
    assert section.title == title
    assert said(section.document).count(title) == 0


FRONT_MATTER = "---\ntitle: Rotate keys\nlabels: [a, b]\n---\n"


def test_front_matter_is_data() -> None:
    (section,) = split_sections(f"{FRONT_MATTER}\n# Rotate keys\n\na", None)
    assert (section.title, section.line) == ("Rotate keys", 6)
    assert section.document["content"] == [paragraph("a")]
    (section,) = split_sections(f"{FRONT_MATTER}# How\n\na", None)
    assert section.title == "Rotate keys"
    assert [block["type"] for block in section.document["content"]] == ["heading", "paragraph"]
    assert markdown_to_adf(f"\ufeff{FRONT_MATTER.replace(chr(10), chr(13) + chr(10))}a")[
        "content"
    ] == [paragraph("a")]


@pytest.mark.parametrize(
    "source",
    [
        "+++\ntitle = 'A'\n+++\nb",
        "---\ntitle: 'A'\ndate: 2026-01-02\n...\nb",
        "---\ntitle: A\nother: broken: yaml\n---\nb",
    ],
)
def test_front_matter_of_other_kinds(source: str) -> None:
    (section,) = split_sections(source, None)
    assert section.title == "A"
    assert section.document["content"] == [paragraph("b")]


@pytest.mark.parametrize("source", ["---\na\n---\n", "---\n\na\n\n---\n", "---\na: b\n"])
def test_rule_at_the_start_is_no_front_matter(source: str) -> None:
    assert "a" in said(markdown_to_adf(source))


def test_title_is_one_line_of_plain_text() -> None:
    assert titles("A  \nb\t`c`\n&amp; \\* \u2028 ![d](/e)\n===", None) == [("A b c & *", 1)]


@pytest.mark.parametrize("source", ["", "\n \n", "no heading", "> # quoted", "#\n\n##"])
def test_document_without_a_heading_is_one_section_without_a_title(source: str) -> None:
    assert titles(source, None) == [(None, 1)]
    assert len(titles(source, 1)) == 1


def test_links_defined_in_one_section_work_in_another() -> None:
    first, _ = split_sections("# A\n[x]\n\n# B\n[x]: /y", 1, base_url=BASE)
    assert first.document["content"] == [paragraph(text("x", link("/y")))]
