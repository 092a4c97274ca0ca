"""Pages of Confluence, in its storage format and as HTML, and of other tools; their Markdown."""

from __future__ import annotations

import time
from typing import Any

import pytest

from app.tasks.adf.html_to_adf import html_to_adf, split_html
from app.tasks.adf.markdown import markdown_to_adf
from app.tasks.adf.storage_format import storage_to_html
from app.tasks.adf.validation import find_violations
from app.tasks.documents.body_format import body_reader
from app.values.options import BodyFormat


def outline(node: dict[str, Any]) -> Any:
    """Return the node in short: its type and what tells, then text or content."""
    told = [
        str(value)
        for name, value in node.get("attrs", {}).items()
        if name not in {"localId", "layout", "widthType", "type"}
    ]
    name = " ".join([node["type"], *told])
    content = node.get("content", [])
    if all(child["type"] in {"text", "emoji", "status"} for child in content):
        return f"{name}: {''.join(map(inline, content))}" if content else name
    return {name: [outline(child) for child in content]}


def inline(node: dict[str, Any]) -> str:
    """Return the text of an inline node with its marks."""
    if node["type"] != "text":
        return f"<{' '.join(node['attrs'].values())}>"
    marks = [
        next((str(value) for value in mark.get("attrs", {}).values()), mark["type"])
        for mark in node.get("marks", ())
    ]
    return f"{node['text']}[{', '.join(marks)}]" if marks else node["text"]


def outlines(document: dict[str, Any]) -> list[Any]:
    """Return the outlines of the document's blocks."""
    assert find_violations(document) == []
    return [outline(block) for block in document["content"]]


def macro(name: str, body: str = "", /, **parameters: str) -> str:
    """Return a macro of the storage format."""
    said = "".join(
        f'<ac:parameter ac:name="{key}">{value}</ac:parameter>' for key, value in parameters.items()
    )
    return (
        f'<ac:structured-macro ac:name="{name}" ac:schema-version="1">{said}{body}'
        "</ac:structured-macro>"
    )


def rich(html: str) -> str:
    """Return a macro's body of markup."""
    return f"<ac:rich-text-body>{html}</ac:rich-text-body>"


def code(text: str) -> str:
    """Return a macro's body of text."""
    return f"<ac:plain-text-body><![CDATA[{text}]]></ac:plain-text-body>"


TASK = (
    "<ac:task><ac:task-id>1</ac:task-id><ac:task-uuid>9-a</ac:task-uuid>"
    "<ac:task-status>%s</ac:task-status><ac:task-body>%s</ac:task-body></ac:task>"
)
ADF_PANEL = (
    '<ac:adf-extension><ac:adf-node type="panel"><ac:adf-attribute key="panel-type">note'
    "</ac:adf-attribute><ac:adf-content><p>a</p></ac:adf-content></ac:adf-node>"
    '<ac:adf-fallback><div class="panel"><p>a</p></div></ac:adf-fallback></ac:adf-extension>'
)

CARD = {"paragraph": ["inlineCard https://e.org/a"]}
JAVA = ["codeBlock java: int a"]
CODE_CELL = {"tableCell": ["codeBlock: x"]}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            macro("code", code('\nif a < b:\n    "x & <b>"'), language="py", title="a.py"),
            ["paragraph: a.py[strong]", 'codeBlock python: if a < b:\n    "x & <b>"'],
        ),
        (macro("noformat", code("a]]]]><![CDATA[>b")), ["codeBlock: a]]>b"]),
        (
            macro("info", rich("<p>a</p>"), title="T &amp; U"),
            [{"panel info": ["paragraph: T & U[strong]", "paragraph: a"]}],
        ),
        (macro("note", rich("<p>a</p>")), [{"panel warning": ["paragraph: a"]}]),
        (macro("tip", rich("<p>a</p>")), [{"panel success": ["paragraph: a"]}]),
        (macro("warning", rich("<p>a</p>")), [{"panel error": ["paragraph: a"]}]),
        (macro("panel", rich("a"), bgColor="#E3FCEF"), [{"panel success": ["paragraph: a"]}]),
        (ADF_PANEL, [{"panel note": ["paragraph: a"]}]),
        (macro("expand", rich("<p>a</p>"), title="T"), [{"expand T": ["paragraph: a"]}]),
        (
            f"<p>a {macro('status', colour='Green', title='DONE')} b</p>",
            ["paragraph: a <DONE green> b"],
        ),
        (f"<p>a</p>{macro('toc', maxLevel='2')}<p>b</p>", ["paragraph: a", "paragraph: b"]),
        (f"<p>a {macro('jira', server='J', key='AB-1')} b</p>", ["paragraph: a AB-1 b"]),
        (f"<p>{macro('anchor', key='')}a</p>", ["paragraph: a"]),
        (macro("my-own", rich("<p>a</p>")), ["paragraph: a"]),
        (
            macro("view-file", name='<ri:attachment ri:filename="a.pdf"/>', height="9"),
            ["paragraph: a.pdf"],
        ),
        (
            '<p>a <ac:link><ri:page ri:content-title="P &quot;Q&quot;"/></ac:link> b</p>',
            ['paragraph: a P "Q" b'],
        ),
        (
            (
                '<p><ac:link><ri:attachment ri:filename="x"/><ac:plain-text-link-body>'
                "<![CDATA[the <file>]]></ac:plain-text-link-body></ac:link> b</p>"
            ),
            ["paragraph: the <file> b"],
        ),
        (
            '<p>a <ac:link><ri:user ri:username="jo"/></ac:link>, b</p><p>c</p>',
            ["paragraph: a @jo, b", "paragraph: c"],
        ),
        (
            '<ac:image ac:alt="alt" ac:width="90"><ri:url ri:value="https://e.org/a.png"/></ac:image>',
            [{"mediaSingle 90": ["media https://e.org/a.png alt"]}],
        ),
        (
            (
                '<p>a <ac:image><ri:attachment ri:filename="a.png"><ri:page ri:content-title="P"/>'
                "</ri:attachment></ac:image> b</p>"
            ),
            ["paragraph: a a.png b"],
        ),
        ('<p>a <ac:emoticon ac:name="tick" /> b</p>', ["paragraph: a <:white_check_mark: ✅> b"]),
        ('<p><ac:emoticon ac:name="x" ac:emoji-fallback="✨"/>b</p>', ["paragraph: ✨b"]),
        (
            (
                f"<ac:task-list>{TASK % ('complete', '<span>a</span>')}{TASK % ('incomplete', 'b')}"
                "</ac:task-list>"
            ),
            [{"taskList": ["taskItem DONE: a", "taskItem TODO: b"]}],
        ),
        ('<p>by <time datetime="2026-03-01" /> or so</p>', ["paragraph: by 2026-03-01 or so"]),
        (
            (
                '<ac:layout><ac:layout-section ac:type="x"><ac:layout-cell>a</ac:layout-cell>'
                "<ac:layout-cell>b</ac:layout-cell></ac:layout-section></ac:layout>"
            ),
            ["paragraph: a", "paragraph: b"],
        ),
        ("<p><strong/>a<ac:x/></p><p />", ["paragraph: a"]),
        (
            f"<table><tbody><tr><td /><td>{macro('code', code('x'))}</td></tr></tbody></table>",
            [{"table": [{"tableRow": [{"tableCell": ["paragraph"]}, CODE_CELL]}]}],
        ),
    ],
)
def test_the_storage_format_of_confluence_is_read(source: str, expected: list[Any]) -> None:
    assert outlines(html_to_adf(f"{source}<ac:inline-comment-marker/>")) == expected
    assert outlines(split_html(f"<ac:x/>{source}", None)[0].document) == expected


@pytest.mark.parametrize(
    "piece", ["<ac:link><ri:page/>", '<ac:a b="', "<![CDATA[", "<ac:link></ac:image>", "<!--"]
)
def test_a_hostile_page_takes_linear_time(piece: str) -> None:
    def seconds(count: int) -> float:
        start = time.process_time()
        storage_to_html(piece * count)
        return time.process_time() - start

    assert seconds(40_000) < 12 * max(seconds(10_000), 0.02)


STYLES = """<style>@import url(x.css); /* .c1{color:blue} */
.c1{font-weight:700;color:#FF0000;font-size:11pt} .c2,p.c2{background:rgba(255,0,0,.5)}
p.c3{text-align:center} .c3 b{color:blue} @media print{.c1{color:blue}} td.c4{background:#00ff00}
.c5{text-decoration:line-through}</style>"""


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ('<p><span class="c1 x">a</span>b</p>', ["paragraph: a[strong, #ff0000]b"]),
        ('<p><span class="c1" style="color:#0f0">a</span></p>', ["paragraph: a[strong, #00ff00]"]),
        ('<p class="c3">a <b>b</b></p>', ["paragraph: a b[strong]"]),
        ('<p class="c2">a</p>', ["paragraph: a[#ff8080]"]),
        ('<p class="c4">a</p>', ["paragraph: a"]),
        ('<p><mark class="c5">a</mark></p>', ["paragraph: a[strike, #fff59d]"]),
        (
            '<table><tr><td class="c4">a</td></tr></table>',
            [{"table": [{"tableRow": [{"tableCell #00ff00": ["paragraph: a"]}]}]}],
        ),
    ],
)
def test_rules_for_classes_style_as_attributes_do(html: str, expected: list[Any]) -> None:
    for document in (
        html_to_adf(STYLES + html),
        split_html(f"<html><head>{STYLES}</head><body>{html}</body></html>", None)[0].document,
    ):
        assert outlines(document) == expected
    assert "center" not in str(html_to_adf(html)) + str(html_to_adf(STYLES + '<b class="c3">a</b>'))


def test_titles_of_the_panels_of_an_exported_page_are_strong() -> None:
    page = """<div class="panel"><div class="panelHeader">A</div><div class="panelContent"><p>a</p>
    </div></div><div class="confluence-information-macro confluence-information-macro-note">
    <p class="title">B</p><div class="confluence-information-macro-body"><p>b</p></div></div>
    <div class="code panel"><div class="codeHeader panelHeader"><b>C</b></div>
    <div class="codeContent panelContent"><pre>c</pre></div></div>"""
    assert outlines(split_html(page, None)[0].document) == [
        {"panel info": ["paragraph: A[strong]", "paragraph: a"]},
        {"panel warning": ["paragraph: B[strong]", "paragraph: b"]},
        "paragraph: C[strong]",
        "codeBlock: c",
    ]


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        (
            '<div class="admonition note"><p class="admonition-title">N</p><p>a</p></div>',
            [{"panel info": ["paragraph: N[strong]", "paragraph: a"]}],
        ),
        (
            (
                '<div class="markdown-alert markdown-alert-tip"><p class="markdown-alert-title">T'
                "</p><p>a</p></div>"
            ),
            [{"panel success": ["paragraph: T[strong]", "paragraph: a"]}],
        ),
        (
            (
                '<div class="preformatted panel"><div class="preformattedContent panelContent">'
                "<pre>a</pre></div></div>"
            ),
            ["codeBlock: a"],
        ),
        ('<pre class="code-java"><span class="code-keyword">int</span> a</pre>', JAVA),
        ('<pre class="code-block">a</pre>', ["codeBlock: a"]),
    ],
    ids=["sphinx", "github", "jira's noformat", "jira's code", "no language"],
)
def test_pages_that_were_rendered_are_read(html: str, expected: list[Any]) -> None:
    assert outlines(split_html(html, None)[0].document) == expected


def test_cells_that_confluence_highlights_by_class_are_coloured() -> None:
    row = '<td class="highlight-green confluenceTd">a</td><td class="highlight-#FFEBE6">b</td>'
    assert outlines(html_to_adf(f"<table><tr>{row}</tr></table>")) == [
        {
            "table": [
                {
                    "tableRow": [
                        {"tableCell #e3fcef": ["paragraph: a"]},
                        {"tableCell #ffebe6": ["paragraph: b"]},
                    ]
                }
            ]
        }
    ]


def items(tag: str, level: int, *texts: str) -> str:
    """Return a list as Google Docs exports it."""
    inner = "".join(f'<li class="c1">{text}</li>' for text in texts)
    return f'<{tag} class="c4 lst-kix_ab1-{level} start">{inner}</{tag}>'


def test_lists_of_google_docs_are_nested_as_they_are_shown() -> None:
    page = "".join((
        *(items("ol", 0, "1"), items("ol", 1, "a"), items("ul", 2, "x"), items("ol", 1, "b")),
        *(items("ol", 0, "2"), "<p>p</p>", items("ul", 1, "y"), items("ul", 0, "z")),
    ))  # fmt: skip

    def item(text: str, *content: Any) -> Any:
        return {"listItem": [f"paragraph: {text}", *content]}

    deepest = {"bulletList": [item("x")]}
    assert outlines(split_html(page, None)[0].document) == [
        {
            "orderedList": [
                item("1", {"orderedList": [item("a", deepest), item("b")]}),
                item("2"),
            ]
        },
        "paragraph: p",
        {"bulletList": [item("y")]},
        {"bulletList": [item("z")]},
    ]


def test_links_of_google_docs_lead_where_they_are_to_lead() -> None:
    href = "https://www.google.com/url?q=https://e.org/a?b%3D1%26c%3D2&amp;sa=D&amp;ust=1"
    document = split_html(f'<p><a href="{href}">a</a></p>', None)[0].document
    assert outlines(document) == ["paragraph: a[https://e.org/a?b=1&c=2]"]


def test_blank_lines_at_the_beginning_of_code_are_not_doubled() -> None:
    assert outlines(html_to_adf("<pre>\n\na</pre>")) == ["codeBlock: \na"]


def word_item(name: str, level: int, mark: str, text: str) -> str:
    """Return an item of a list as Word writes it."""
    return (
        f"<p class=MsoListParagraph style='text-indent:-18.0pt;mso-list:{name} level{level} lfo1'>"
        f"<![if !supportLists]><span style='mso-list:Ignore'>{mark}<span>&nbsp;&nbsp;</span></span>"
        f"<![endif]>{text}<o:p></o:p></p>\n\n"
    )


def test_paragraphs_that_word_has_for_items_of_lists_are_such() -> None:
    page = "".join((
        *(word_item("l0", 1, "·", "a"), word_item("l0", 2, "o", "b"), word_item("l0", 1, "·", "c")),
        *(word_item("l1", 1, "1.", "d"), word_item("l1", 1, "2.", "e"), "<p>p</p>"),
        word_item("l1", 1, "3.", "f"),
    ))  # fmt: skip
    for document in (html_to_adf(page), split_html(page, None)[0].document):
        assert outlines(document) == [
            {
                "bulletList": [
                    {
                        "listItem": [
                            "paragraph: a",
                            {"bulletList": [{"listItem": ["paragraph: b"]}]},
                        ]
                    },
                    {"listItem": ["paragraph: c"]},
                ]
            },
            {"orderedList": [{"listItem": ["paragraph: d"]}, {"listItem": ["paragraph: e"]}]},
            "paragraph: p",
            {"orderedList 3": [{"listItem": ["paragraph: f"]}]},
        ]


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        (
            (
                '<ul class="en-todolist"><li style="--en-checked:true;"><div>a</div></li>'
                '<li style="--en-checked:false;"><div>b</div></li></ul>'
            ),
            [{"taskList": ["taskItem DONE: a", "taskItem TODO: b"]}],
        ),
        (
            '<div style="-en-codeblock: true;"><div>a</div><div>&nbsp; b</div></div>',
            ["codeBlock: a\n\xa0 b"],
        ),
        (
            '<p data-tag="to-do">a</p><p data-tag="to-do:completed">b</p>',
            ["paragraph: ☐ a", "paragraph: ☑ b"],
        ),
        (
            '<style>.highlight-red{color:#f00}</style><p><mark class="highlight-red">a</mark></p>',
            ["paragraph: a[#ff0000]"],
        ),
        (
            (
                '<ul class="to-do-list"><li><div class="checkbox checkbox-off"></div>a'
                '<ul class="to-do-list"><li><div class="checkbox checkbox-on"></div>b</li></ul>'
                "</li></ul>"
            ),
            [{"taskList": ["taskItem TODO: a", {"taskList": ["taskItem DONE: b"]}]}],
        ),
    ],
    ids=["evernote's tasks", "evernote's code", "onenote", "notion's colour", "notion's tasks"],
)
def test_pages_of_note_takers_are_read(html: str, expected: list[Any]) -> None:
    assert outlines(split_html(html, None)[0].document) == expected


@pytest.mark.parametrize(
    ("column", "cell", "expected"),
    [
        ("h2. A\n* b", "<p>a <b>b</b></p>", ["paragraph: a b[strong]"]),
        ("**a**", "<ul><li>a</li></ul>\n", [{"bulletList": [{"listItem": ["paragraph: a"]}]}]),
        ("<p>a</p>", "h2. A", ["heading 2: A"]),
        ("a **b** c", "h2. A", ["heading 2: A"]),
        ("h2. A", "a <b> c </b> d", ["paragraph: a <b> c </b> d"]),
        ("h2. A", "<b> of *this*", ["paragraph: <b> of this[strong]"]),
        ("plain", "a [~b] c", ["paragraph: a [~b] c"]),
        ("h2. A", "a&nbsp;b &lt;c&gt;", ["paragraph: a\xa0b <c>"]),
        ("h2. A", "[https://e.org/a]", [CARD]),
        ("h2. A", "a [b.txt|^b.txt] c", ["paragraph: a b.txt c"]),
        ("h2. A", "a [Jo Doe|~jo] b", ["paragraph: a @Jo Doe b"]),
        ("h2. A", 'a !b.png|width=30,alt="b c"! d', ["paragraph: a b c d"]),
        ("<p>a</p>", macro("code", code("x")), ["codeBlock: x"]),
        (macro("code", code("x")), macro("code", code("y")), ["codeBlock: y"]),
    ],
)
def test_a_description_in_another_markup_than_its_column_is_read_as_its_own(
    column: str, cell: str, expected: list[Any]
) -> None:
    reader = body_reader(
        BodyFormat.AUTO, [column, column], base_url=None, max_nesting=100, max_nodes=1000
    )
    assert outlines(reader.to_adf(cell)) == expected


ITEM = {"bulletList": [{"listItem": ["paragraph: i"]}]}
MEDIA = "media https://e.org/a.png a"
PICTURE = "![a](https://e.org/a.png)"


@pytest.mark.parametrize(
    ("markdown", "expected"),
    [
        (
            ">>>\na *b*\n\n- i\n>>>\n\nd",
            [
                {"blockquote": ["paragraph: a b[em]", ITEM]},
                "paragraph: d",
            ],
        ),
        (">>> a", [{"blockquote": ["paragraph: a"]}]),
        ("a\n\n```py\n>>>\nx\n>>>\n```", ["paragraph: a", "codeBlock python: >>>\nx\n>>>"]),
        ("[[_TOC_]]\n\na", ["paragraph: a"]),
        ("[TOC]\n\na", ["paragraph: a"]),
        ("a [TOC] `[[_TOC_]]`", ["paragraph: a [TOC] [[_TOC_]][code]"]),
        ("::: mermaid\ngraph TD;\n\n A-->B;\n:::\n\na", [
            "codeBlock mermaid: graph TD;\n\n A-->B;", "paragraph: a",
        ]),
        ('=== "A"\n\n    a\n\n    - i\n\n=== "B"\n    c\n\nd', [
            "paragraph: A[strong]", "paragraph: a", ITEM, "paragraph: B[strong]",
            "paragraph: c", "paragraph: d",
        ]),
        ("+++ A b\n\n- i\n\n+++\n\nc", [{"expand A b": [ITEM]}, "paragraph: c"]),
        ("+++ b/x.py\na", ["paragraph: +++ b/x.py a"]),
        ("Title\n===\n\na", ["heading 1: Title", "paragraph: a"]),
        (f"{PICTURE}{{width=300 height=9px}}", [{"mediaSingle 300": [MEDIA]}]),
        (f'{PICTURE}{{width="70%"}}', [{"mediaSingle": [MEDIA]}]),
        (f"a `{PICTURE}{{width=1}}`", [f"paragraph: a {PICTURE}{{width=1}}[code]"]),
        (f"{PICTURE}{{x}}", [{"mediaSingle": [MEDIA]}, "paragraph: {x}"]),
    ],
)  # fmt: skip
def test_what_gitlab_azure_linear_and_mkdocs_add_to_markdown_is_read(
    markdown: str, expected: list[Any]
) -> None:
    assert outlines(markdown_to_adf(markdown)) == expected


@pytest.mark.parametrize(
    "page",
    [
        '<body class="c1 doc-content"><p class="c2 title"><span>Plan</span></p><h1>A</h1></body>',
        "<p class=MsoTitle>Plan</p><h1>A</h1>",
    ],
    ids=["google docs", "word"],
)
def test_the_title_of_a_page_is_that_of_its_style(page: str) -> None:
    (section,) = split_html(page, None)
    assert section.title == "Plan"
    assert outlines(section.document) == ["heading 1: A"]


@pytest.mark.parametrize("around", ["<ul><li>%s</li></ul>", "<blockquote>%s</blockquote>"])
def test_a_heading_with_a_picture_by_name_may_stand_in_a_list_or_quote(around: str) -> None:
    document = html_to_adf(around % '<h2>a <img src="b.png" alt="b"></h2>')
    assert "paragraph: a [strong]b[strong]" in str(outlines(document))


def test_the_title_of_an_expand_stays_where_all_that_was_in_it_is_moved_out() -> None:
    inner = "<details><summary>c</summary>d</details>"
    document = html_to_adf(
        f"<details><summary>a</summary><details><summary>b</summary>{inner}</details></details>"
    )
    assert outlines(document) == [
        {"expand a": ["paragraph: b[strong]", {"nestedExpand c": ["paragraph: d"]}]}
    ]
