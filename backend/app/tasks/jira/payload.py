"""A ticket's fields as the `fields` of an issue, by names: what Jira takes of any program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.tasks.jira.values import (
    DEFAULT_PRIORITIES,
    OTHER_ISSUE_TYPES,
    OTHER_PRIORITIES,
    read_number,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_CUSTOM = "customfield_"


def named_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields as a request has them; those that need a site are left out.

    `issuetype` is left out, too: every issue has one, whether its ticket says so or not.
    """
    made: dict[str, Any] = {}
    for name, value in fields.items():
        if name in _CONVERTERS:
            field, convert = _CONVERTERS[name]
            made[field] = convert(value)
        elif name.startswith(_CUSTOM):
            made[name] = _untyped(value)
    return made


def default_priority(name: str) -> str:
    """Return the name that Jira's default priorities have for a priority; else itself."""
    by_case = {each.casefold(): each for each in DEFAULT_PRIORITIES}
    folded = name.casefold()
    return by_case.get(folded) or OTHER_PRIORITIES.get(folded, name)


def default_issue_type(name: str) -> str:
    """Return the name that Jira's default issue types have for a type; else itself."""
    return OTHER_ISSUE_TYPES.get(name.casefold(), name)


def text_document(text: str) -> dict[str, Any]:
    """Return plain text as an ADF document: a paragraph a line; blank ones go."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return {
        "type": "doc",
        "version": 1,
        "content": [
            {"type": "paragraph", "content": [{"type": "text", "text": line}]} for line in lines
        ],
    }


def as_text(value: Any) -> str:
    """Return a field's value as one text: several columns are several lines."""
    return "\n".join(map(str, value)) if isinstance(value, list) else str(value)


def _untyped(value: Any) -> Any:
    """Return a custom field's value as its looks suggest: only a site can tell its type."""
    if isinstance(value, list):
        return value
    number = read_number(str(value))
    return str(value) if number is None else number


def _names(value: list[str]) -> list[dict[str, str]]:
    return [{"name": each} for each in value]


_CONVERTERS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "priority": ("priority", lambda value: {"name": default_priority(value)}),
    "labels": ("labels", list),
    "components": ("components", _names),
    "fixVersions": ("fixVersions", _names),
    "versions": ("versions", _names),
    "duedate": ("duedate", str),
    "originalEstimate": ("timetracking", lambda value: {"originalEstimate": value}),
    "environment": ("environment", lambda value: text_document(as_text(value))),
    "parent": ("parent", lambda value: {"key": value}),
}
"""Where each of a ticket's fields goes in a request, and how it is written there."""
