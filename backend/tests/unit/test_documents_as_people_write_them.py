"""The many spellings in which authors mean one thing: each line is a kind that went wrong.

The outline of a document names its nodes; texts stand in it as they are, under their marks.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from app.core.errors import DocumentError
from app.tasks.adf.html_to_adf import html_to_adf
from app.tasks.adf.jira_markup import jira_markup_to_adf
from app.tasks.adf.markdown import markdown_to_adf
from app.tasks.adf.validation import find_violations
from app.tasks.documents.tickets import TicketOptions, tickets_from
from app.values.options import BodyFormat

Node = dict[str, Any]

BASE = "https://base.example/"
OPTIONS = TicketOptions(max_rows=100, max_columns=100, max_nesting=100)
NAMES = {
    "paragraph": "p", "heading": "h", "bulletList": "ul", "orderedList": "ol", "listItem": "li",
    "tableRow": "tr", "tableCell": "td", "tableHeader": "th", "blockquote": "quote",
    "codeBlock": "pre", "hardBreak": "br", "mediaSingle": "picture", "nestedExpand": "expand",
    "taskList": "tasks", "inlineCard": "card",
}  # fmt: skip
SHOWN = ("title", "panelType", "state", "language", "url", "shortName", "background", "order")


def outline(node: Node) -> str:
    """Return the node as `name=attribute(content)`, a text as `text` or `text/mark/mark`."""
    marks = [mark.get("attrs", {}).get("align", mark["type"]) for mark in node.get("marks", ())]
    if node["type"] == "text":
        return "/".join([node["text"], *marks])
    attributes = node.get("attrs", {})
    name = "=".join(
        [
            NAMES.get(node["type"], node["type"]),
            *(str(attributes[key]) for key in SHOWN if key in attributes),
        ]
    )
    content = "|".join(map(outline, node.get("content", ())))
    return "/".join([f"{name}({content})" if content else name, *marks])


def shown(document: Node) -> str:
    assert find_violations(document) == []
    return " ".join(map(outline, document["content"]))


def ticket(name: str, content: str) -> tuple[str, str]:
    (draft,) = tickets_from(name, content.encode(), OPTIONS)
    return draft.title, shown(json.loads(draft.description))


@pytest.mark.parametrize(
    ("source", "title"),
    [
        ("---\nTitle: A\n---\nx", "A"),
        ("\n---\ntitle: A\n---\nx", "A"),
        ("<!-- licence\n -->\n---\ntitle: A\n---\nx", "A"),
        ("---yaml\ntitle: A\n---\nx", "A"),
        ('---json\n{"title": "A"}\n---\nx', "A"),
        ('---toml\ntitle = "A"\n---\nx', "A"),
        ("---\n---\n# A\nx", "A"),
        ("# ![logo](l.png) A\nx", "A"),
        ("# ![logo](l.png)A ![b](b.svg)\nx", "A"),
    ],
)
def test_title_and_front_matter(source: str, title: str) -> None:
    found, document = ticket("f.md", source)
    assert found == title
    assert document.endswith("p(x)")
    assert "title" not in document


@pytest.mark.parametrize(
    ("source", "fields"),
    [
        ("title: yes\nfixVersions: [1.10]", {"fixVersions": ["1.10"]}),
        ("title: yes\nlabels: [on, 0x1F]\npriority: null", {"labels": ["on", "0x1F"]}),
    ],
)
def test_front_matter_is_read_as_it_is_written(source: str, fields: dict[str, Any]) -> None:
    (draft,) = tickets_from("f.md", f"---\n{source}\n---\nx".encode(), OPTIONS)
    assert (draft.title, json.loads(draft.fields)) == ("yes", fields)


def test_picture_beside_a_title_is_shown_once() -> None:
    picture = "picture(media=https://a.example/l.png)"
    source = "# ![logo](https://a.example/l.png) A\nx\n\n## ![l](https://a.example/l.png) B\ny"
    assert ticket("f.md", source) == ("A", f"{picture} p(x) h(B) {picture} p(y)")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        # Alerts and admonitions
        ("> [!FAQ]- A **b** `c`\n> d", "panel=info(p(A /strong|b/strong| /strong|c/code|br|d))"),
        ("> [!WARNING]\n> > q", "panel=warning(p(Warning/strong)) quote(p(q))"),
        ("> [!TIP]\n> | a |\n> |--|", "panel=success(p(Tip/strong)) table(tr(th(p(a))))"),
        ("/// note | A\nb\n///\nc", "panel=info(p(A/strong)|p(b)) p(c)"),
        ("```{warning} A\n:class: x\nb\n```\nc", "panel=warning(p(A/strong)|p(b)) p(c)"),
        ("````{note}\n```py\nx\n```\n````", "panel=info(pre=python(x))"),
        ("```{python}\nx\n```", "pre=python(x)"),
        ('{% hint style="danger" %}\na\n{% endhint %}', "panel=error(p(a))"),
        ('::: {.callout-tip title="A"}\nb\n:::', "panel=success(p(A/strong)|p(b))"),
        ("::: kettle.core\n\nx", "p(::: kettle.core) p(x)"),
        ("::: columns\na\n:::\nb", "p(::: columns a ::: b)"),
        ("??? tip\n    a", "expand=Tip(p(a))"),
        ("<aside>\n💡 a\n\n</aside>\n\nb", "panel=info(p(💡 a)) p(b)"),
        ("<aside>a</aside>", "p(a)"),
        # Templates
        ("{{< note >}}\na\n{{< /note >}}\nb", "panel=info(p(a)) p(b)"),
        ("{{% alert title='A' color='warning' %}}\nb\n{{% /alert %}}",
         "panel=warning(p(A/strong)|p(b))"),
        ("{{< hint danger >}}\na\n{{< /hint >}}", "panel=error(p(a))"),
        ('{{< details "A" >}}\nb\n{{< /details >}}', "expand=A(p(b))"),
        ("{% highlight ruby %}\n*a*\n{% endhighlight %}\nb", "pre=ruby(*a*) p(b)"),
        ('{% tabs %}\n{% tab title="A" %}\nb\n{% endtab %}\n{% endtabs %}', "p(A/strong) p(b)"),
        ('{% code title="a.py" %}\n```py\nb\n```\n{% endcode %}', "p(a.py/strong) pre=python(b)"),
        ('{{< figure src="/a.png" alt="b" >}}', "picture(media=https://base.example/a.png)"),
        ("{% if a %}\nb\n{% endif %}", "p({% if a %} b {% endif %})"),
        ("```\n{{< note >}}\n```", "pre({{< note >}})"),
        ("# A {: .b }\n\nc{: .d}\n\n{: .e }\nf {: g", "h(A) p(c) p(f {: g)"),
        ("[[toc]]\n\na", "p(a)"),
        # Obsidian, and TeX
        ("[[A b]] [[c#D|e]] [[#F]] `[[g]]`", "p(A b/link| |e/link| |F/link| |[[g]]/code)"),
        ("[[1]](/a) [[1, 2]] [[ -f x ]]", "p([1]/link| [[1, 2]] [[ -f x ]])"),
        ("|a|\n|-|\n|[[b\\|c]]|", "table(tr(th(p(a)))|tr(td(p(c/link))))"),
        ("![[a b.png|300]]", "picture(media=https://base.example/a%20b.png)"),
        ("![[a.pdf]] ![[b]]", "p(a.pdf/link| |b/link)"),
        ("==a **b**== `==c==`", "p(a /backgroundColor|b/strong/backgroundColor| |==c==/code)"),
        ("a == b == c, x==1, a==b==c, ====", "p(a == b == c, x==1, a==b==c, ====)"),
        ("a %%b **c**%% d 5%% %%i in %%j `%%k%%`", "p(a d 5%% %%i in %%j |%%k%%/code)"),
        ("%%\n# a\n\n- b\n%%\nc", "p(c)"),
        ("%%\n\na\n\n```\n%%\n```", "p(%%) p(a) pre(%%)"),
        ("> [!tip]- A [[B]]\n> c", "panel=success(p(A /strong|B/strong/link|br|c))"),
        ("$\\mathbf{a}_i + *b*c_j$", "p($\\mathbf{a}_i + *b*c_j$)"),
        ("US$5 **or** US$6", "p(US$5 |or/strong| US$6)"),
        ("$$\na \\\\\n- b_1\n\nc\n$$", "pre=latex(a \\\\\n- b_1\n\nc)"),
        ("$$ a_1 *b* c_1 $$\n\n$`a*b*`$", "pre=latex(a_1 *b* c_1) p(a*b*/code)"),
        ("![a](/b_c_d.png =500x)", "picture(media=https://base.example/b_c_d.png)"),
        ('a ![b](/c.png "d" =x90) `![e](f =1x)`',
         "p(a) picture(media=https://base.example/c.png|caption(d)) p(![e](f =1x)/code)"),
        # Words that only look like markup
        ("x\n:smile: a", "p(x |emoji=:smile:| a)"),
        ("x\n:b c", "p(x :b c)"),
        ("x\n: b", "ul(li(p(x/strong)|p(b)))"),
        ("10:30 a:b:c x:key:y", "p(10:30 a:b:c x:key:y)"),
        ("tool <output> <time>", "p(tool <output> <time>)"),
        ("Map<P> and Box<LI>", "p(Map<P> and Box<LI>)"),
        # Addresses
        ("[a](C:\\b)", "p(a)"),
        ("[a](https://[b)", "p(a)"),
        ("see https://a.example\u2026", "p(see |https://a.example/link|\u2026)"),
        ("(\uff08https://a.example/b\uff09\u3002", "p((\uff08|https://a.example/b/link|\uff09\u3002)"),
        # HTML
        (
            "<TABLE BORDER=1><TR><TH>A<TD>1<TR><TD>2<TD>3</TABLE>",
            "table(tr(th(p(A))|td(p(1)))|tr(td(p(2))|td(p(3))))",
        ),
        ("<P>a\n<P>b", "p(a) p(b)"),
        ("<math><mi>x</mi><mo>=</mo></math>", "p(x=)"),
        ("<time>now</time> <textarea>b</textarea>", "p(now b)"),
        ("<p hidden>a</p>b<span style='display: none'>c</span>", "p(b)"),
        ("<b style='font-weight:normal'>a <b>b</b></b> c", "p(a |b/strong| c)"),
        ("<i style='font-style:normal'>a</i>", "p(a)"),
        (
            "<table><tr align=right><td>a<td align=left>b</tr></table>",
            "table(tr(td(p(a)/end)|td(p(b))))",
        ),
        (
            "<table><tr><td style='background-color:#EEE'>a</td></tr></table>",
            "table(tr(td=#eeeeee(p(a))))",
        ),
        (
            "<ul><li><input type=checkbox> a<li><label><input type=checkbox checked>b</label></ul>",
            "tasks(taskItem=TODO(a)|taskItem=DONE(b))",
        ),
        ("a![logo](data:image/png,x)b", "p(a| |logo| |b)"),
        ("[![A](/a.svg)](/b)[![B](/b.svg)](/c)", "p(A/link| |B/link)"),
        ("[<img src=/a.svg width=200>](/b)", "picture(media=https://base.example/a.svg/link)"),
        ("[![A](/logo.svg)](/b)", "picture(media=https://base.example/logo.svg/link)"),
        ("[<img src=/a.svg width=20 title=A>](/b) c", "p(A/link| c)"),
        ("[![A](https://circleci.com/a.png)](/b)", "p(A/link)"),
        ('[a](#b) [c](# "")', "p(a/link| |c/link)"),
        ("<code>a.<a href='/b'>c</a>()</code>", "p(a./code|c/code/link|()/code)"),
    ],
)  # fmt: skip
def test_markdown_and_its_dialects(source: str, expected: str) -> None:
    assert shown(markdown_to_adf(source, base_url=BASE)) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("_*b*_ *_b_*", "p(b/strong/em| |b/strong/em)"),
        ("{*}a{*}b {-}c{-} {_}d{_}", "p(a/strong|b |c/strike| |d/em)"),
        ("*https://a.example*", "p(https://a.example/strong/link)"),
        ("h2.T and bq.q", "p(h2.T and bq.q)"),
        ("{{{}a{}}} {{b{c}}}", "p(a/code| |b{c}/code)"),
        ("[^a.pdf] [#b] [c|#d]", "p(a.pdf b c)"),
        ("!https://a.example/b.png|alt=c!", "picture(media=https://a.example/b.png)"),
        ("!b.png|thumbnail! Wow!b.png| c!", "p(b.png| Wow!b.png| c!)"),
        ("(/) f(x) (x)", "p(emoji=:white_check_mark:| f(x) |emoji=:x:)"),
        ("|a\nb|c|", "table(tr(td(p(a|br|b))|td(p(c))))"),
        ("|* a\n* b|c|", "table(tr(td(ul(li(p(a))|li(p(b))))|td(p(c))))"),
        ("|{code}a|b{code}|c|", "table(tr(td(pre(a|b))|td(p(c))))"),
        (
            "# a\n{code:java}\nx\n{code}\n# b\n{noformat}y{noformat}",
            "ol(li(p(a)|pre=java(x))|li(p(b)|pre(y)))",
        ),
        ("a\n{code}\n  x\n\n y\n{code}\nb", "p(a) pre(  x\n\n y) p(b)"),
        ("\\{code} *a*", "p({code} |a/strong)"),
        ("{panel:bgColor=#fffae6}\na\n{panel}", "panel=warning(p(a))"),
        ("{quote}\n{code}\nx\n{code}\n{quote}", "quote(pre(x))"),
        ("|a\n\nb", "table(tr(td(p(a)))) p(b)"),
        ("- a\n-- b\n- c", "ul(li(p(a)|ul(li(p(b))))|li(p(c)))"),
        ("a\n-- b", "p(a|br|-- b)"),
        (('{adf:display=block}\n{"type":"expand","attrs":{"title":"A"},"content":[{"type":"paragraph",'
         '"content":[{"type":"text","text":"b"}]}]}\n{adf}\nc'), "expand=A(p(b)) p(c)"),
        ('a {adf:display=inline}{"type":"emoji","attrs":{"shortName":":b:"}}{adf} c',
         "p(a |emoji=:b:| c)"),
        ('{adf}{"type":"x","content":[{"content":[{"text":"a"}]}]}{adf}{adf}b{adf}', "p(a) p(b)"),
        ("{section}\n{column:width=1}\na\n{column}\n{section}\nb {column}", "p(a) p(b {column})"),
        ("a&nbsp;b &lt;i&gt; &x &amp;amp;", "p(a\xa0b <i> &x &amp;)"),
    ],
)  # fmt: skip
def test_markup_of_jira(source: str, expected: str) -> None:
    assert shown(jira_markup_to_adf(source)) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('h2. A\n\n"b":https://a.example. @c@ *d*',
         "h(A) p(b/link|. |c/code| |d/strong)"),
        ('<pre><code class="ruby">"a":https://b @c@</code></pre>',
         'pre=ruby("a":https://b @c@)'),
        ("|_. A |_. B |\n|=. 1 | 2 |", "table(tr(th(p(A))|th(p(B)))|tr(td(p(1))|td(p(2))))"),
        ("{{collapse(A)\nb\n}}", "expand=A(p(b))"),
        ("p=. a\n\n> b\n\nbc. c\nd", "p(a) quote(p(b)) pre(c\nd)"),
        ('"a":https://b.example @@ d @@ ann@x.example @bob and @cy',
         "p(a/link| @@ d @@ |ann@x.example/link| @bob and @cy)"),
    ],
)  # fmt: skip
def test_textile_of_redmine(source: str, expected: str) -> None:
    assert shown(jira_markup_to_adf(source)) == expected


def test_alternative_text_of_jira_markup_is_kept() -> None:
    document = jira_markup_to_adf('!https://a.example/b.png|width=20, alt="c, d"!')
    assert document["content"][0]["content"][0]["attrs"]["alt"] == "c, d"


PANEL = """<div class="panel"><div class="panelHeader"><b>A</b></div>
<div class="panelContent"><p>b</p></div></div>"""
CODE = """<div class="code panel"><div class="codeContent panelContent">
<pre>x</pre></div></div>"""
FORMULA = """<span class="katex"><math><mi>x</mi></math>
<span class="katex-html" aria-hidden="true">x</span></span>"""


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (PANEL, "panel=info(p(A/strong)|p(b))"),
        (CODE, "pre(x)"),
        (FORMULA, "p(x)"),
        ('<pre class="sourceCode py"><code class="sourceCode py">x</code></pre>', "pre=python(x)"),
        ('<pre><code class="hljs ruby">x</code></pre>', "pre=ruby(x)"),
        ('<p>a<a href="#b" class="footnote-back">↩︎</a></p>', "p(a)"),
        ('<p>a <img class="emoticon" data-emoji-fallback="✅" src="c.svg"></p>', "p(a ✅)"),
    ],
)
def test_pages_of_other_tools(source: str, expected: str) -> None:
    assert ticket("page.html", source) == ("page", expected)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import A from 'b';\nimport {\n  C,\n} from 'd';\n\nexport const e = 1\n\na", "p(a)"),
        ("a {/* b\n\nc */} d `{/* e */}`", "p(a) p(d |{/* e */}/code)"),
        ("<Tabs>\n  <Tab title='A'>\n    ```sh\n    <B>\n    ```\n\n    c **d**\n  </Tab>\n</Tabs>",
         "h(A) pre=shell(<B>) p(c |d/strong)"),
        ("<Note>\n  a `<B>`\n</Note>\nb", "panel=info(p(a |<B>/code)) p(b)"),
        ('<Callout type="warning" title="A">b **c**</Callout>',
         "panel=warning(p(A/strong)|p(b |c/strong))"),
        ('<AccordionGroup>\n<Accordion title="A">\nb\n</Accordion>\n</AccordionGroup>',
         "expand=A(p(b))"),
        ('<Card\n  title="A"\n  href="https://a.example"\n>\n  b\n</Card>', "h(A/link) p(b)"),
        ("a <Icon name='b' /> <Link to='https://a.example'>c</Link>{' '}d", "p(a |c/link| d)"),
        ('<img src={require("https://a.example/b.png")} style={{ width: 1 }} />',
         "picture(media=https://a.example/b.png)"),
        ("Map<String, A> List<B> a < b", "p(Map<String, A> List<B> a < b)"),
    ],
)  # fmt: skip
def test_components_of_mdx(source: str, expected: str) -> None:
    assert ticket("f.mdx", f"# T\n\n{source}") == ("T", expected)


def test_markdown_that_imports_components_is_mdx_whose_lines_are_those_of_the_file() -> None:
    source = "---\ntitle: A\n---\nimport B from 'c'\n\n<Note>a</Note>\n\n# T\n\n"
    source += "```js\nimport d from 'e'\n```"
    options = replace(OPTIONS, split_level=1)
    before, draft = tickets_from("f.md", source.encode(), options)
    assert shown(json.loads(before.description)) == "panel=info(p(a))"
    assert (draft.title, draft.source_row) == ("T", 8)
    assert shown(json.loads(draft.description)) == "pre=javascript(import d from 'e')"


ITEM = '<li data-list="{}" class="ql-indent-{}"><span class="ql-ui"></span>{}</li>'
STEPS = """<steps id="0"><step id="2"><parameterizedString isformatted="true">&lt;P&gt;a&lt;/P&gt;
</parameterizedString><parameterizedString>b</parameterizedString><description/></step></steps>"""


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (PANEL, "panel=info(p(A/strong)|p(b))"),
        (CODE, "pre(x)"),
        ('<ul class="inline-task-list"><li class="checked">a<li>b</ul>',
         "tasks(taskItem=DONE(a)|taskItem=TODO(b))"),
        ('<ol class="lst-kix_a-0"><li>a</ol><ul class="lst-kix_a-1"><li>b</ul>',
         "ol(li(p(a)|ul(li(p(b)))))"),
        ('<a href="https://www.google.com/url?q=https://a.example/&amp;sa=D">a</a>', "p(a/link)"),
        ('<p>a <img class="emoticon" src="/images/smile.png" alt=""></p>',
         "p(a |emoji=:slightly_smiling_face:)"),
        ('<div id="footer">a</div>', "p(a)"),
        # Quill
        ((f"<ol>{ITEM.format('bullet', 0, 'a')}{ITEM.format('bullet', 1, 'b')}"
         f"{ITEM.format('ordered', 1, 'c')}{ITEM.format('ordered', 0, 'd')}</ol>"),
         "ul(li(p(a)|ul(li(p(b)))|ol(li(p(c))))) ol(li(p(d)))"),
        (f"<ol>{ITEM.format('checked', 0, 'a')}{ITEM.format('unchecked', 0, 'b')}</ol>",
         "tasks(taskItem=DONE(a)|taskItem=TODO(b))"),
        ('<ul><li>a</li><li class="ql-indent-1">b</li></ul>', "ul(li(p(a)|ul(li(p(b)))))"),
        ('<ul data-checked="true"><li>a</li></ul>', "tasks(taskItem=DONE(a))"),
        (('<div class="ql-code-block-container"><div class="ql-code-block">a</div>'
         '<div class="ql-code-block">b</div></div>'), "pre(a\nb)"),
        # TipTap, TinyMCE, Atlassian's editor
        ('<ul data-type="taskList"><li data-checked="true"><p>a</p></li></ul>',
         "tasks(taskItem=DONE(a))"),
        ('<ul class="tox-checklist"><li class="tox-checklist--checked">a<li>b</ul>',
         "tasks(taskItem=DONE(a)|taskItem=TODO(b))"),
        ('<div data-panel-type="note"><p>a</p></div>', "panel=note(p(a))"),
        ('<div data-node-type="expand" data-title="A"><p>b</p></div>', "expand=A(p(b))"),
        ('<div data-node-type="actionList"><div data-task-state="DONE">a</div></div>',
         "tasks(taskItem=DONE(a))"),
        # Azure DevOps
        (STEPS, "ol(li(p(a)|p(Expected: b)))"),
    ],
)  # fmt: skip
def test_cells_of_other_tools(source: str, expected: str) -> None:
    quoted = source.replace('"', '""')
    assert ticket("a.csv", f'Summary,Description\nA,"{quoted}"\n') == ("A", expected)


def test_the_underline_of_the_title_of_a_plain_text_is_left_out() -> None:
    assert ticket("a.txt", "A\n=====\n\nb\n===\n") == ("A", "p(b|br|===)")


def test_backgrounds_of_cells_are_those_of_confluence() -> None:
    source = "<table><tr><td data-highlight-colour=green>a</td></tr></table>"
    assert shown(html_to_adf(source)) == "table(tr(td=#e3fcef(p(a))))"


def coloured(node: Node) -> str:
    """Return the outline with the marks' colours."""
    marks = [
        f"/{'/'.join([m['type'], *m.get('attrs', {}).values()])}" for m in node.get("marks", ())
    ]
    content = "|".join(map(coloured, node.get("content", ())))
    return f"{node['text']}{''.join(marks)}" if "text" in node else content


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("<b style='color:red'>a</b>", "a/strong/textColor/#ff0000"),
        ("<ul style='color:red'><li>a<li style='color:blue'>b<p>c</ul>d",
         "a/textColor/#ff0000|b/textColor/#0000ff|c/textColor/#0000ff d"),
        ("<table><tr style='color:red'><td><p>a</p><ul><li>b</ul></table>c",
         "a/textColor/#ff0000|b/textColor/#ff0000 c"),
        ("<blockquote style='color:rgb(100%,0%,0%)'>a</blockquote>", "a/textColor/#ff0000"),
        ("<details style='color:#f00a'><summary>x</summary>a</details>", "a/textColor/#ff0000"),
        ("<dl style='color:hsl(0, 100%, 50%)'><dt>a<dd>b</dl>",
         "a/strong/textColor/#ff0000|b/textColor/#ff0000"),
        ("<span style='color:red'>a<em style='color:black'>b</em></span>",
         "a/textColor/#ff0000|b/em"),
        ("<font color=00FF00>a</font>", "a/textColor/#00ff00"),
        ("<p style='color:rebeccapurple'>a <a href='/b'>c</a></p>",
         "a /textColor/#663399|c/link/https://base.example/b"),
        ("<p style='color:red'>https://a.example <a style='color:lime' href='/b'>c</a></p>",
         ("https://a.example/link/https://a.example| /textColor/#ff0000"
          "|c/textColor/#00ff00/link/https://base.example/b")),
        ("<p style='background:yellow'>a</p>", "a/backgroundColor/#ffff00"),
        ("<div style='background:#222;color:white'>a</div>", "a"),
        ("<p style='background:#222222;color:white'>a</p>",
         "a/backgroundColor/#222222/textColor/#ffffff"),
        ("<table><tr bgcolor=#222222><td><b style='color:white'>a</b></table>",
         "a/strong/textColor/#ffffff"),
        ("<li style='font-weight:700;font-style:italic'>a", "a/strong/em"),
        ("<b>a<i style='font-weight:normal'>b</i></b>", "a/strong|b/em"),
        ("<pre style='color:red'>a<b style='color:red'>b</b></pre>c", "ab c"),
        ("<p style='color:red'>a<br>b</p>c", "a/textColor/#ff0000||b/textColor/#ff0000 c"),
    ],
)  # fmt: skip
def test_styles_reach_the_text_that_css_would_have_them_reach(source: str, expected: str) -> None:
    document = html_to_adf(source, base_url=BASE)
    assert find_violations(document) == []
    assert " ".join(map(coloured, document["content"])) == expected


def test_backgrounds_of_tables_and_rows_are_those_of_their_cells() -> None:
    rows = "<tr bgcolor=red><td>a<td style='background:#fff'>b<tr><td style='background:lime'>c"
    table = f"<table style='background-color:#eee'>{rows}<td>d</table><table><tr><td>e</table>"
    assert shown(html_to_adf(table)) == (
        "table(tr(td=#ff0000(p(a))|td(p(b)))|tr(td=#00ff00(p(c))|td=#eeeeee(p(d))))"
        " table(tr(td(p(e))))"
    )


def test_hidden_elements_of_html_are_left_out() -> None:
    assert shown(html_to_adf("<p hidden>a</p><p style='DISPLAY:NONE'>b</p><p>c</p>")) == "p(c)"


@pytest.mark.parametrize(
    "header",
    [
        *("Titulo,Descripcion", "Titre,Corps", "Tâche,Contenu", "Tarefa,Conteúdo", "Item,Details"),
        *("タイトル,詳細", "件名,本文", "Aufgabe,Notizen", "Issue Summary,Issue Description"),
        *("issue_title,issue_description", "short_description,description"),
    ],
)
def test_columns_are_found_without_accents_and_in_other_languages(header: str) -> None:
    assert ticket("f.csv", f"{header}\nA,b\n") == ("A", "p(b)")


@pytest.mark.parametrize(
    ("above", "header", "line"),
    [
        ("Report\n", "Summary,Description", 2),
        ("Export of 2024\n\n", "Summary;Description", 3),
        ("# comment\n# more\n", "Title\tBody", 3),
        ("sep=;\nReport\n", "Summary;Description", 3),
    ],
)
def test_lines_above_the_header_are_told_whatever_the_delimiter(
    above: str, header: str, line: int
) -> None:
    with pytest.raises(DocumentError, match=f"seems to be line {line} "):
        ticket("f.csv", f"{above}{header}\na{header[7:8] if header[7] in ',;' else header[5]}b\n")


def test_a_header_with_a_description_is_the_header_whatever_stands_below_it() -> None:
    with pytest.raises(DocumentError, match="no column with a usual name for titles"):
        ticket("f.csv", "TYPE,CONTENT,DESCRIPTION\ntask,Buy milk,soon\n")


def test_blanks_before_quoted_cells_are_no_part_of_them() -> None:
    assert ticket("f.csv", 'Summary, Description\nA, "b, c"\n') == ("A", "p(b, c)")


@pytest.mark.parametrize("cell", ['"b "c", d"', '"b"c"d"', '"say "hi""'])
def test_single_quotes_within_a_quoted_cell_are_refused(cell: str) -> None:
    with pytest.raises(DocumentError, match=r"a quote in row 1 .* stands within a quoted cell"):
        ticket("f.csv", f"Summary,Description,More\nA,{cell}\n")


@pytest.mark.parametrize(("sign", "levels"), [("- ", 100), ("1. ", 100), ("- [ ] ", 60)])
def test_lists_may_nest_as_deeply_as_is_allowed(sign: str, levels: int) -> None:
    indent = 3 if sign == "1. " else 2
    source = "".join(" " * indent * level + f"{sign}a{level}\n" for level in range(levels))
    for name in ("a.md", "a.csv"):
        content = source if name == "a.md" else f'Summary,Description,More\nx,"{source}",y\n'
        options = replace(OPTIONS, body_format=BodyFormat.MARKDOWN)
        (draft,) = tickets_from(name, content.encode(), options)
        document = json.loads(draft.description)
        assert find_violations(document) == []
        assert f"a{levels - 1}" in draft.description
