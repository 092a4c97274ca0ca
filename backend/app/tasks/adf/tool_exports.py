"""Pages as other tools export them, whose own elements are exchanged for HTML's."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import turbohtml

Root = turbohtml.Document | turbohtml.Element

_FRAME = (
    "#breadcrumb-section,#footer,.expand-control-icon,.aui-icon,.confluence-embedded-chrome,"
    'img.bookmark-icon,img[src$="icons/bullet_blue.gif"]'
)
_TASKS = ".inline-task-list > li,.to-do-list > li,.en-todolist > li"
_DONE_TASKS = '.inline-task-list > li.checked,.en-todolist > li[style*="checked:true"]'
_TAGS = {
    ".expand-container": "details",
    ".expand-control": "summary",
    'mark[class*="highlight-"]': "span",  # of Notion, which its class alone colours
    'div[style*="-en-codeblock"]': "pre",
    "body.doc-content p.title,p.MsoTitle": "h1",  # of Google Docs and Word
}
_TITLES = (
    ".confluence-information-macro > .title,.panelHeader,.admonition-title,.markdown-alert-title"
)
_GOOGLE = "https://www.google.com/url?q="
_LEVEL = re.compile(r"lst-kix_(\w+)-([0-8])(?!\S)")
_LEVEL_OF_WORD = re.compile(r"mso-list:\s*l(\d+) level([1-9])")
_NUMBER = re.compile(r"\s*\(?(\d{1,4}|[a-zA-Z]{1,4})[.)]")


def make_plain(page: turbohtml.Document) -> None:
    """Make the page HTML that says in its own elements what it shows.

    What frames a page of Confluence (breadcrumbs, footer) is left out.
    """
    _strip_space_name(page)
    page.remove(_FRAME)
    for selector, tag in _TAGS.items():
        for element in page.select(selector):
            element.tag = tag
    _mark_tasks(page)
    for title in page.select(_TITLES):
        title.attrs["style"] = f"font-weight:bold;{title.attrs.get('style') or ''}"
    for content in page.select(".panel > .panelContent:not(.codeContent,.preformattedContent)"):
        if isinstance(macro := content.parent, turbohtml.Element):
            macro.attrs["class"] = "admonition info"
    for picture in page.select("img.emoticon[data-emoji-fallback]"):
        picture.replace_with(turbohtml.Text(str(picture.attrs["data-emoji-fallback"])))
    for link in page.select(f'a[href^="{_GOOGLE}"]'):
        target = parse_qs(urlsplit(str(link.attrs["href"])).query).get("q")
        link.attrs["href"] = target[0] if target else link.attrs["href"]
    list_items_of_word(page)


def _mark_tasks(page: turbohtml.Document) -> None:
    for item in page.select(_TASKS):
        item.attrs["data-task"] = "open"
    for item in page.select(_DONE_TASKS):
        item.attrs["data-task"] = "done"
    for box in page.select(".to-do-list > li > .checkbox-on"):
        if isinstance(box.parent, turbohtml.Element):
            box.parent.attrs["data-task"] = "done"
    for listing in page.select(".inline-task-list,.to-do-list,.en-todolist"):
        listing.attrs["data-tasks"] = ""
    for paragraph in page.select('[data-tag*="to-do"]'):  # OneNote's
        is_done = "completed" in str(paragraph.attrs["data-tag"])
        paragraph.insert(0, turbohtml.Text("☑ " if is_done else "☐ "))


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
        elif nesting and nesting[-1].level < here.level:
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


def _strip_space_name(page: turbohtml.Document) -> None:
    """Take the name of the space from before the title of a page of Confluence."""
    title, space = page.select_one("#title-text"), page.select_one("#breadcrumbs .first")
    if title is not None and space is not None:
        words = " ".join(title.text.split())
        title.text = words.removeprefix(f"{' '.join(space.text.split())} : ")
