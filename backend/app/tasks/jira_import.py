"""Tickets as the bodies of Jira Cloud's `POST /rest/api/3/issue/bulk`: pure text in, text out.

A body is `{"issueUpdates": [{"fields": {"project": {"key"}, "issuetype": {"name"}, "summary",
"description", ...}}, ...]}` with at most 50 issues, Jira's own limit. Descriptions are JSON
already, so they are copied into it as they are; only where a title must be cut is one parsed.
"""

from __future__ import annotations

import json
import re
import unicodedata
from bisect import bisect_right
from typing import TYPE_CHECKING, Any

from app.core.errors import ConfigurationError, ContentViolation, ErrorCategory
from app.tasks.jira.payload import default_issue_type, named_fields
from app.values.results import NO_FIELDS, ExportBody

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from app.core.config import Settings
    from app.values.options import SessionOptions
    from app.values.results import TicketDraft

MAXIMUM_ISSUES_PER_BODY = 50
"""Issues that Jira takes in one bulk request."""

MAXIMUM_SUMMARY_LENGTH = 255
"""Characters that Jira takes in a summary; kept in UTF-16 code units, which are never fewer."""

NO_TITLE = "(no title)"

_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

_ABOUT_PROJECT_KEYS = (
    "Give the key that Jira shows before each issue's number, like ABC in ABC-123: a capital "
    "letter, then capital letters, digits or underscores, two characters or more."
)
_ABOUT_ISSUE_TYPES = "Give the name of an issue type of the project, such as Task, Story or Bug."
_PROJECT_KEY = re.compile(r"[A-Z][A-Z0-9_]+")
_ELLIPSIS = "…"
_FARTHEST_WORD_BOUNDARY = 40
_LONGEST_CLUSTER = 32
_JOINER = "\u200d"
_EXTENDING = re.compile("[\ufe00-\ufe0f\U0001f3fb-\U0001f3ff\U000e0100-\U000e01ef]")
"""Variation selectors and skin tones, which change the character before them."""


def build_bodies(
    tickets: Iterable[TicketDraft],
    *,
    project_key: str,
    issue_type: str,
    issues_per_body: int = MAXIMUM_ISSUES_PER_BODY,
) -> Iterator[ExportBody]:
    """Return the bulk bodies for `tickets`; fields that only a site can resolve are left out.

    `issue_type` is that of tickets whose document names none.

    Every ticket stands in exactly one body, in order; no more than one body is held at a time, and
    `tickets` is read no faster than the bodies are asked for. A title becomes the summary: one
    line, no control characters, never empty, at most 255 characters; where it had to be cut, the
    whole title stands in the description, as its first paragraph.

    A parent that is another ticket stands in an earlier body, and its key is written as its place:
    `import-001.json#3` is the third issue of the first body. Jira knows no key for it before that
    body is sent, and cannot name an issue of the same request; the sender puts the key there. A
    parent that stands behind its child is left out.

    Raises ConfigurationError at once, before a ticket is read, for a project key, an issue type or
    a size that Jira cannot take; ContentViolation while the bodies are read, for a description
    that is no ADF document.
    """
    check_project_key(project_key)
    check_issue_type(issue_type)
    if not 1 <= issues_per_body <= MAXIMUM_ISSUES_PER_BODY:
        message = f"A Jira bulk request cannot hold {issues_per_body} issues."
        raise _unusable(message, f"Choose a size from 1 to {MAXIMUM_ISSUES_PER_BODY}.")
    return _bodies(tickets, project_key, issue_type.strip(), issues_per_body)


def project_of(options: SessionOptions, settings: Settings) -> str:
    """Return the key of the project that a session's issues are for.

    Raises:
        ConfigurationError: none is named, or Jira could not have it (`user_fixable`).

    """
    key = options.project_key or settings.jira_project
    if not key:
        raise _unusable(
            "No Jira project is named",
            "Name the project by its key, as in KEY-123; SESSION_TASKS_JIRA_PROJECT sets one for "
            "all sessions that name none.",
            "project_key",
        )
    check_project_key(key)
    return key


def check_project_key(key: str) -> None:
    """Return if Jira could have a project of this key.

    Raises:
        ConfigurationError: it could not; what the key may have meant is offered (`user_fixable`).

    """
    if _PROJECT_KEY.fullmatch(key):
        return
    offered = offered_key(key)
    step = f"Write it as {offered}." if offered else _ABOUT_PROJECT_KEYS
    raise _unusable(f"{key!r} is no Jira project key", step, "project_key")


def offered_key(key: str) -> str:
    """Return the project key that this one may have meant: `SHOP` for `shop`; "" for none."""
    offered = key.strip().upper()
    return offered if _PROJECT_KEY.fullmatch(offered) else ""


def check_issue_type(name: str) -> None:
    """Return if Jira could have an issue type of this name.

    Raises:
        ConfigurationError: it could not (`user_fixable`).

    """
    if not name.strip() or not name.isprintable():
        raise _unusable(f"{name!r} is no Jira issue type", _ABOUT_ISSUE_TYPES, "issue_type")


def make_summary(title: str) -> tuple[str, str]:
    """Return the summary for `title`, and the whole title on one line: the same unless it was cut.

    Cut between words where one ends near, and never inside a character as people see it.
    """
    whole = _one_line(title)
    if not any(character.isprintable() for character in whole.replace(" ", "")):
        whole = NO_TITLE
    if _utf16_length(whole) <= MAXIMUM_SUMMARY_LENGTH:
        return whole, whole
    return _cut(whole, MAXIMUM_SUMMARY_LENGTH - len(_ELLIPSIS)) + _ELLIPSIS, whole


def _bodies(
    tickets: Iterable[TicketDraft], project_key: str, issue_type: str, issues_per_body: int
) -> Iterator[ExportBody]:
    starts = [1]
    """The number of each body's first ticket."""
    batch: list[str] = []
    for number, ticket in enumerate(tickets, start=1):
        parent = ticket.parent if ticket.parent is not None and ticket.parent < number else None
        if parent is not None and parent >= starts[-1]:
            yield bulk_body(batch)
            batch = []
            starts.append(number)
        batch.append(_issue(number, ticket, project_key, issue_type, _reference(parent, starts)))
        if len(batch) == issues_per_body:
            yield bulk_body(batch)
            batch = []
            starts.append(number + 1)
    if batch:
        yield bulk_body(batch)


def bulk_body(issues: Sequence[str]) -> ExportBody:
    """Return the body of one bulk request, of issues as JSON text."""
    return ExportBody('{"issueUpdates":[' + ",".join(issues) + "]}", len(issues))


def _issue(
    number: int, ticket: TicketDraft, project_key: str, issue_type: str, parent: dict[str, Any]
) -> str:
    given = json.loads(ticket.fields) if ticket.fields != NO_FIELDS else {}
    kind = default_issue_type(given["issuetype"]) if "issuetype" in given else issue_type
    opening = {"project": {"key": project_key}, "issuetype": {"name": kind}}
    return f'{{"fields":{issue_fields(number, ticket, opening, named_fields(given) | parent)}}}'


def _reference(parent: int | None, starts: Sequence[int]) -> dict[str, Any]:
    """Return the field that names a parent by its place in the import."""
    if parent is None:
        return {}
    body = bisect_right(starts, parent)
    return {"parent": {"key": f"{import_name(body)}#{parent - starts[body - 1] + 1}"}}


def import_name(number: int) -> str:
    """Return the name of the file of a body: `import-001.json` for the first."""
    return f"import-{number:03}.json"


def issue_fields(
    number: int, ticket: TicketDraft, before: Mapping[str, Any], after: Mapping[str, Any]
) -> str:
    """Return the `fields` of ticket number `number` as JSON text.

    Summary and description come from the ticket, and stand between the two mappings.

    Raises:
        ContentViolation: the description is no ADF document.

    """
    description = ticket.description
    if not (description.startswith("{") and description.endswith("}")):
        raise _no_document(number, ticket.title)
    summary, whole = make_summary(ticket.title)
    if summary != whole:
        description = _with_title(number, whole, description)
    opening = _compact({**before, "summary": summary}).removesuffix("}")
    closing = _compact(after).removeprefix("{")
    return f'{opening},"description":{description}{"," if after else ""}{closing}'


def _with_title(number: int, title: str, description: str) -> str:
    try:
        document: Any = json.loads(description)
    except (ValueError, RecursionError) as error:
        raise _no_document(number, title) from error
    if not isinstance(document.get("content"), list):
        raise _no_document(number, title)
    paragraph = {"type": "paragraph", "content": [{"type": "text", "text": title}]}
    document["content"].insert(0, paragraph)
    return _compact(document)


def _unusable(message: str, next_step: str, *options: str) -> ConfigurationError:
    return ConfigurationError(
        message, ErrorCategory.USER_FIXABLE, next_step=next_step, options=options
    )


def _no_document(number: int, title: str) -> ContentViolation:
    return ContentViolation(
        f"The description of ticket {number} ({make_summary(title)[0]}) is no ADF document",
        next_step="Run the processing of this session again.",
    )


def _one_line(title: str) -> str:
    """Return `title` with whitespace and control characters as single spaces, and all of it UTF-8.

    `str.split` knows every space and line end of Unicode; the other control characters it does not.
    """
    if not title.isprintable():
        title = "".join(map(_in_a_line, title))
    return " ".join(title.split())


def _in_a_line(character: str) -> str:
    category = unicodedata.category(character)
    return " " if category == "Cc" else "\ufffd" if category == "Cs" else character


def _cut(text: str, length: int) -> str:
    """Return how `text` begins, at most `length` UTF-16 code units, without half a character."""
    end = len(text.encode("utf-16-le")[: length * 2].decode("utf-16-le", "ignore"))
    space = text.rfind(" ", max(0, end - _FARTHEST_WORD_BOUNDARY), end + 1)
    if space > 0:
        return text[:space].rstrip()
    for start in range(end, max(0, end - _LONGEST_CLUSTER), -1):
        if not _continues(text, start):
            return text[:start].rstrip()
    return text[:end]


def _continues(text: str, index: int) -> bool:
    """Say whether the character at `index` belongs to the one before it, as people see it."""
    character = text[index]
    return (
        unicodedata.category(character).startswith("M")
        or character == _JOINER
        or text[index - 1] == _JOINER
        or _EXTENDING.match(character) is not None
    )


def _utf16_length(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2
