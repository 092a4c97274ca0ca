"""The options and documents that can be changed together with a retry.

Only those that still have an effect are offered: after processing, it is too late for other
documents; after export, for another project.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.core.errors import DocumentError
from app.tasks.documents.decoding import DocumentKind, kind_of
from app.tasks.jira.sites import configured_targets
from app.values.states import TaskStatus, TaskType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from app.core.config import Settings
    from app.repositories.session_snapshot import SessionSnapshot

LABELS = {
    "title_column": "Column of the titles",
    "body_column": "Column of the descriptions",
    "delimiter": "Delimiter",
    "split_level": "Tickets of a Markdown file",
    "body_format": "Markup of the descriptions",
    "sheet": "Sheet of a workbook",
    "base_url": "Address that links are relative to",
    "too_long": "Descriptions too long for Jira",
    "to": "Create the issues in",
    "project_key": "Jira project",
    "issue_type": "Issue type",
    "parent_type": "Issue type of parents",
    "day_first": "Dates such as 03/04/2026",
    "map": "Columns",
}
"""The label of each option on pages."""

SPLIT_LEVELS = (
    ("", "One per file"),
    ("1", "One per heading of level 1"),
    ("2", "One per heading down to level 2"),
    ("3", "One per heading down to level 3"),
)
CHOICES = {
    "split_level": SPLIT_LEVELS,
    "body_format": (
        ("", "Detected"),
        ("markdown", "Markdown"),
        ("text", "Plain text"),
        ("jira", "Jira markup"),
        ("html", "HTML"),
    ),
    "day_first": (
        ("", "Detected"),
        ("true", "Day first: 3 April"),
        ("false", "Month first: 4 March"),
    ),
    "too_long": (
        ("", "Refused"),
        ("split", "Split into several tickets"),
        ("cut", "Cut"),
    ),
}
"""The values of options that are chosen from a list; "" is the default."""


def target_choices(settings: Settings) -> tuple[tuple[str, str], ...]:
    """Return the sites where a session's issues can be created, and “import files only”."""
    return (
        ("", "Import files only"),
        *((target, _target_label(settings, target)) for target in configured_targets(settings)),
    )


def _target_label(settings: Settings, target: str) -> str:
    name = target.partition(":")[2]
    url = settings.jira_sites[name].url if name else settings.jira_url
    return f"{url} ({name})" if name else str(url)


_OF_TABLES = ("title_column", "body_column", "body_format")
_OF_KINDS = {
    DocumentKind.CSV: (*_OF_TABLES, "delimiter"),
    DocumentKind.WORKBOOK: (*_OF_TABLES, "sheet"),
    DocumentKind.MARKDOWN: ("split_level",),
    DocumentKind.HTML: ("split_level",),
    DocumentKind.WORD: ("split_level",),
    DocumentKind.TEXT: (),
}
_OF_ALL = ("map", "day_first", "parent_type", "base_url", "too_long")
_OF_EXPORT = ("to", "project_key", "issue_type")


@dataclass(frozen=True, slots=True)
class EditableOption:
    """An option that may be changed.

    Attributes:
        value: the present choice; empty for none.
        chosen: what the form shows: that, or what was sent and refused.

    """

    name: str
    label: str
    value: str
    chosen: str


def editable_options(
    session: SessionSnapshot, document_names: Iterable[str]
) -> list[EditableOption]:
    """Return the options that would change a retry of the session's task."""
    if session.status not in {TaskStatus.FAILED, TaskStatus.CANCELLED}:
        return []
    names: tuple[str, ...] = ()
    if session.task_type is TaskType.PROCESSING:
        kinds = {kind for name in document_names if (kind := _kind(name)) is not None}
        of_kinds = [name for kind in _OF_KINDS if kind in kinds for name in _OF_KINDS[kind]]
        names += (*dict.fromkeys(of_kinds), *_OF_ALL)
    if session.task_type in {TaskType.PROCESSING, TaskType.EXPORT}:
        names += _OF_EXPORT
    present = session.options
    values = {name: _text(present.get(name)) for name in names}
    return [EditableOption(name, LABELS[name], value, value) for name, value in values.items()]


def takes_documents(session: SessionSnapshot) -> bool:
    """Return whether documents may still be replaced."""
    return session.task_type is TaskType.PROCESSING and session.can_be_restarted


def changes(offered: Sequence[EditableOption], given: Mapping[str, str]) -> dict[str, Any]:
    """Return the options of a form that were changed; one that was emptied is None: not chosen."""
    changed: dict[str, Any] = {}
    for option in offered:
        said = given.get(option.name)
        if said is None:
            continue
        value = "\n".join(filter(None, map(str.strip, said.splitlines())))
        if value == option.value:
            continue
        changed[option.name] = value.splitlines() if option.name == "map" else value or None
    return changed


def options_text(
    options: Mapping[str, object], choices: Mapping[str, Sequence[tuple[str, str]]]
) -> list[tuple[str, str]]:
    """Return the options as the forms word them: (label, value)."""
    return [
        (LABELS.get(name, name), dict(choices.get(name, ())).get(_text(value), _text(value)))
        for name, value in options.items()
    ]


def offered_label(settings: Settings) -> Callable[[str], str]:
    """Return `option_label`, with "" for `to` where the form has no choice of sites."""
    has_site = any(configured_targets(settings))
    return lambda name: option_label(name) if has_site or name != "to" else ""


def option_label(name: str) -> str:
    """Return the label of a session option on pages: `“Column of the titles”`."""
    return f"“{LABELS[name]}”" if name in LABELS else name


def _kind(name: str) -> DocumentKind | None:
    try:
        return kind_of(name)
    except DocumentError:
        return None


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return "\n".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
