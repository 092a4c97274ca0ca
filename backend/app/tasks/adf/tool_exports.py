"""Pages as other tools export them, whose own elements are exchanged for HTML's."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import turbohtml

from app.tasks.adf.panels import kind_of_panel

Root = turbohtml.Document | turbohtml.Element

_SIGNS = re.compile(
    r"anel|expand|-list|-task|todo|ecklist|checked=\"|-code|highlight-|mso-list|MsoTitle|data-tag"
    r"|emoticon|lst-kix|google\.com/url|ql-|macro|admonition-|alert-|<steps"
)
_FRAME = (
    "#breadcrumb-section,#footer > .footer-body,.expand-control-icon,.aui-icon,.ql-ui,"
    '.confluence-embedded-chrome,img.bookmark-icon,img[src$="icons/bullet_blue.gif"],'
    ".jira-issue-macro img.icon"
)
_TASK_LISTS = (
    ".inline-task-list,.to-do-list,.en-todolist,.tox-checklist,ul[data-checked],"
    '[data-type="taskList"],[data-node-type="actionList"]'
)
_DONE = (
    ".inline-task-list > .checked,.to-do-list > li:has(> .checkbox-on),"
    '.en-todolist > li[style*="checked:true"],.tox-checklist--checked,ul[data-checked="true"] > li,'
    '[data-type="taskList"] > [data-checked="true"],[data-task-state="DONE"]'
)
_TAGS = {
    ".expand-container": "details",
    ".expand-control": "summary",
    '[data-node-type="expand"],[data-node-type="nestedExpand"]': "details",
    '[data-node-type="actionList"]': "ul",
    "[data-task-state]": "li",
    ".ql-code-block-container": "pre",
    'mark[class*="highlight-"]': "span",  # of Notion, which its class alone colours
    'div[style*="-en-codeblock"]': "pre",
    "body.doc-content p.title,p.MsoTitle": "h1",  # of Google Docs and Word
}
_TITLES = (
    ".confluence-information-macro > .title,.panelHeader,.admonition-title,.markdown-alert-title"
)
_EMOTICONS = {
    "smile": "slightly_smiling_face", "sad": "disappointed", "tongue": "stuck_out_tongue",
    "biggrin": "smiley", "wink": "wink", "thumbs_up": "thumbsup", "thumbs_down": "thumbsdown",
    "information": "information_source", "check": "white_check_mark", "error": "x",
    "warning": "warning", "add": "heavy_plus_sign", "forbidden": "heavy_minus_sign",
    "help_16": "question", "lightbulb_on": "bulb", "lightbulb": "bulb", "star_yellow": "star",
    "star_red": "star", "star_green": "star", "star_blue": "star",
}  # fmt: skip
"""Jira's and Confluence's icons by the names of their files."""

_GOOGLE = "https://www.google.com/url?q="
_LEVEL = re.compile(r"lst-kix_(\w+)-([0-8])(?!\S)")
_LEVEL_OF_WORD = re.compile(r"mso-list:\s*l(\d+) level([1-9])")
_INDENT = re.compile(r"\bql-indent-([0-8])")
_NUMBER = re.compile(r"\s*\(?(\d{1,4}|[a-zA-Z]{1,4})[.)]")


def is_of_tool(html: str) -> bool:
    """Whether there may be elements of another tool's making in a piece of HTML."""
    return _SIGNS.search(html) is not None


def make_plain(page: Root) -> None:
    """Make the page, or piece of one, HTML that says in its own elements what it shows.

    What frames a page of Confluence (breadcrumbs, footer) is left out.
    """
    _strip_space_name(page)
    page.remove(_FRAME)
    _mark_tasks(page)
    for selector, tag in _TAGS.items():
        for element in page.select(selector):
            element.tag = tag
    for title in page.select(_TITLES):
        title.attrs["style"] = f"font-weight:bold;{title.attrs.get('style') or ''}"
    for content in page.select(".panel > .panelContent:not(.codeContent,.preformattedContent)"):
        if isinstance(macro := content.parent, turbohtml.Element):
            macro.attrs["class"] = "admonition info"
    _write_nodes_of_adf(page)
    for steps in page.select("steps"):
        _write_steps(steps)
    for picture in page.select("img.emoticon"):
        _write_emoticon(picture)
    for link in page.select(f'a[href^="{_GOOGLE}"]'):
        target = parse_qs(urlsplit(str(link.attrs["href"])).query).get("q")
        link.attrs["href"] = target[0] if target else link.attrs["href"]
    _list_items_of_quill(page)
    list_items_of_word(page)


def _write_nodes_of_adf(page: Root) -> None:
    """Write what Atlassian's editor copies: panels, expands and statuses."""
    for panel in page.select("[data-panel-type]"):
        panel.attrs["class"] = f"admonition {kind_of_panel(str(panel.attrs['data-panel-type']))}"
    for expand in page.select("details[data-title]"):
        summary = turbohtml.Element("summary", {})
        summary.text = str(expand.attrs["data-title"])
        expand.insert(0, summary)
    for status in page.select('[data-node-type="status"][data-color]'):
        status.attrs["class"] = f"status-macro status-{status.attrs['data-color']}"


def _write_emoticon(picture: turbohtml.Element) -> None:
    said = picture.attrs
    name = PurePosixPath(str(said.get("src") or "")).stem
    emoji = f":{_EMOTICONS[name]}:" if name in _EMOTICONS else said.get("alt")
    if shown := said.get("data-emoji-fallback") or emoji:
        picture.replace_with(turbohtml.Text(str(shown)))


def _mark_tasks(page: Root) -> None:
    for listing in page.select(_TASK_LISTS):
        listing.attrs["data-tasks"] = ""
        for item in _elements_in(listing):
            item.attrs["data-task"] = "open"
    for item in page.select(_DONE):
        item.attrs["data-task"] = "done"
    for paragraph in page.select('[data-tag*="to-do"]'):  # OneNote's
        is_done = "completed" in str(paragraph.attrs["data-tag"])
        paragraph.insert(0, turbohtml.Text("☑ " if is_done else "☐ "))


def _elements_in(element: turbohtml.Element) -> list[turbohtml.Element]:
    return [child for child in element.children if isinstance(child, turbohtml.Element)]


def _write_steps(steps: turbohtml.Element) -> None:
    """Make a list of the steps of a test case of Azure DevOps: an action, and what is expected."""
    steps.tag = "ol"
    for step in steps.select("step"):
        step.tag = "li"
        for number, text in enumerate(step.select("parameterizedstring")):
            text.tag = "div"
            said = turbohtml.parse_fragment(text.text, positions=False)
            text.clear()
            if number and said.text.strip():
                first = said.select_one("p") or said.select_one("div") or said
                first.insert(0, turbohtml.Text("Expected: "))
            text.extend(list(said.children))


def _list_items_of_quill(page: Root) -> None:
    """Nest the lists of Quill, whose items say in their classes how deep they are.

    It writes lists of every kind as `<ol>`, and the kind in `data-list`.
    """
    listings = {
        id(item.parent): item.parent
        for item in page.select('li[data-list],li[class*="ql-indent-"]')
        if isinstance(item.parent, turbohtml.Element)
    }
    for number, listing in enumerate(listings.values()):
        for item in _elements_in(listing):
            kind = str(item.attrs.get("data-list") or "")
            tag = "ol" if kind == "ordered" else "ul" if kind else listing.tag
            level = _INDENT.search(" ".join(item.attrs.get("class") or ()))
            is_task = kind.endswith("checked")
            name = f"lst-kix_quill{number}{is_task}-{level[1] if level else 0}"
            outer = turbohtml.Element(tag, {"class": [name]})
            if is_task:
                outer.attrs["data-tasks"] = ""
                item.attrs["data-task"] = "done" if kind == "checked" else "open"
            item.wrap(outer)
        listing.unwrap()


def list_items_of_word(root: Root) -> None:
    """Make lists of the paragraphs that Word has for their items, by their `mso-list`."""
    for paragraph in root.select('p[style*="mso-list:"]'):
        found = _LEVEL_OF_WORD.search(str(paragraph.attrs["style"]))
        mark = paragraph.select_one('[style*="mso-list:Ignore" i]')
        if found is None or mark is None:
            continue
        number = _NUMBER.match(mark.text)
        mark.decompose()
        paragraph.tag = "li"
        name = f"lst-kix_{found[1]}-{int(found[2]) - 1}"
        listing = turbohtml.Element("ol" if number else "ul", {"class": [name]})
        if number and number[1].isdigit():
            listing.attrs["start"] = number[1]
        paragraph.wrap(listing)
    _nest_lists(root)


def _nest_lists(root: Root) -> None:
    """Put a list that is said to be deeper into the last item of the list before it.

    Google Docs has all of them side by side, the class of each `lst-kix_NAME-LEVEL`.
    """
    first: turbohtml.Element | None = None
    nesting: list[_List] = []
    for listing in root.select('[class*="lst-kix_"]'):
        found = _LEVEL.search(" ".join(listing.attrs["class"] or ()))
        items = listing.select("li")
        if found is None or not items:
            continue
        here = _List(found[1], int(found[2]), listing, items[-1])
        if first is not _before(listing):
            nesting.clear()
        while nesting and nesting[-1].level > here.level:
            nesting.pop()
        if nesting and nesting[-1].goes_on_with(here):
            outer = nesting.pop().element
            outer.extend(items)
            listing.decompose()
            nesting.append(here._replace(element=outer))
            continue
        if nesting and nesting[-1].level == here.level:
            nesting.pop()
        if nesting:
            nesting[-1].last_item.append(listing)
            nesting.append(here)
        else:
            first, nesting = listing, [here]


class _List(NamedTuple):
    """A list that may go on, or hold a deeper one."""

    name: str
    level: int
    element: turbohtml.Element
    last_item: turbohtml.Element

    def goes_on_with(self, other: _List) -> bool:
        """Whether the other's items are more of this one's."""
        return (self.name, self.level, self.element.tag) == (
            other.name,
            other.level,
            other.element.tag,
        )


def _before(element: turbohtml.Element) -> turbohtml.Node | None:
    """Return what is shown before the element, beside it."""
    before = element.previous_sibling
    while isinstance(before, turbohtml.Comment) or (
        isinstance(before, turbohtml.Text) and not before.text.strip()
    ):
        before = before.previous_sibling
    return before


def _strip_space_name(page: Root) -> None:
    """Take the name of the space from before the title of a page of Confluence."""
    title, space = page.select_one("#title-text"), page.select_one("#breadcrumbs .first")
    if title is not None and space is not None:
        words = " ".join(title.text.split())
        title.text = words.removeprefix(f"{' '.join(space.text.split())} : ")
