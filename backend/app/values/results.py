"""Results of handlers, as frozen values, which only the repository writes.

Each is checked when it is created: the traceback of a handler's mistake then ends in the
handler, not in the database long after its return. `TypeError` says which field has a value of
the wrong type, `ValueError` which number or text the database cannot store.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

Item = TypeVar("Item")

NO_FIELDS = "{}"

_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
"""NUL, and halves of surrogate pairs, which have no UTF-8."""

LARGEST_NUMBER = 2**31 - 1
"""Numbers are stored as PostgreSQL's `integer`."""


class CheckedItems(Sequence[Item]):
    """Items that were checked as part of other results, and are not checked again."""


def _check_texts(value: object, *names: str) -> None:
    for name in names:
        if not isinstance(given := getattr(value, name), str):
            raise _wrong(value, name, given, "str")
        if found := _UNSTORABLE.search(given):
            where = f"{type(value).__name__}.{name}"
            raise ValueError(f"{where} contains {found[0]!a}, which PostgreSQL cannot store")


def _check_numbers(value: object, *names: str) -> None:
    for name in names:
        given = getattr(value, name)
        if not isinstance(given, int) or isinstance(given, bool):
            raise _wrong(value, name, given, "int")
        if not 0 <= given <= LARGEST_NUMBER:
            raise ValueError(
                f"{type(value).__name__}.{name} is {given}; it takes 0 to {LARGEST_NUMBER}"
            )


def _wrong(value: object, name: str, given: object, wanted: str) -> TypeError:
    return TypeError(
        f"{type(value).__name__}.{name} takes {wanted}, and was given {type(given).__name__}"
    )


@dataclass(frozen=True, slots=True)
class TicketDraft:
    """One ticket made from a document.

    Attributes:
        title: never empty, one line, of any length (the export cuts it to Jira's 255).
        description: the ADF document, as compact JSON text.
        source_name: the document's name.
        source_row: the CSV's data row (first is 1) or the Markdown's line (first is 1).
        fields: the issue's other fields, from its document, as compact JSON text: an
            object by the names of `app.tasks.jira.spellings`.
        parent: the number of its parent among the session's tickets (first is 1), if it has one.

    """

    title: str
    description: str
    source_name: str
    source_row: int
    fields: str = NO_FIELDS
    parent: int | None = None

    def __post_init__(self) -> None:
        _check_texts(self, "title", "description", "source_name", "fields")
        _check_numbers(self, "source_row")
        if self.parent is not None:
            _check_numbers(self, "parent")


@dataclass(frozen=True, slots=True)
class ExportBody:
    """One body of `POST /rest/api/3/issue/bulk`, as compact JSON text, and its number of issues.

    The issues are in the order of the tickets: the first issue of the first body is ticket 1.
    """

    body: str
    issue_count: int

    def __post_init__(self) -> None:
        _check_texts(self, "body")
        _check_numbers(self, "issue_count")


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason why Jira would refuse a ticket.

    Attributes:
        ticket: the ticket's number (first is 1).
        title: the ticket's title.
        source_name: the document it came from.
        source_row: the row or line in that document.
        path: JSON Pointer (RFC 6901) into the description; of another field `field_path`.
        rule: the name of the rule that was broken, for grouping: `schema`, `text_length`, ...
        reason: what is wrong and what to do, as text.

    """

    ticket: int
    title: str
    source_name: str
    source_row: int
    path: str
    rule: str
    reason: str

    def __post_init__(self) -> None:
        _check_texts(self, "title", "source_name", "path", "rule", "reason")
        _check_numbers(self, "ticket", "source_row")


MISFIT, REFUSED = "does not fit the site", "refused by Jira"
DIFFERS, MISSING, DOUBLED = "differs in Jira", "not in Jira", "doubled in Jira"
RULES_OF_SITES = frozenset((MISFIT, REFUSED, DIFFERS, MISSING, DOUBLED))
"""Rules of findings about a Jira site, named as people read them."""

FIELDS_PATH = "/fields/"


def field_path(field_id: str) -> str:
    """Return the pointer to a field in the request for an issue; "" where no field is named."""
    return FIELDS_PATH + field_id.replace("~", "~0").replace("/", "~1") if field_id else ""


@dataclass(frozen=True, slots=True)
class JiraIssue:
    """An issue that was created in Jira for a ticket.

    Attributes:
        ticket: the ticket's number (first is 1).
        issue_id: Jira's number for it.
        url: its address in a browser.

    """

    ticket: int
    issue_id: str
    key: str
    url: str

    def __post_init__(self) -> None:
        _check_texts(self, "issue_id", "key", "url")
        _check_numbers(self, "ticket")


@dataclass(frozen=True, slots=True)
class Write:
    """A function of your own, called in the transaction that completes the task.

    It is called as `function(db, session_id, payload)`: `db` is the SQLAlchemy session of that
    transaction. Its writes are committed with the completion, once, or not at all. It is
    imported where the transaction is, in the worker's own process.

    Attributes:
        function: its importable name, as `package.module:function`.
        payload: JSON values, sent from the handler's process.

    Raises:
        TypeError: the payload is not made of JSON values.
        ValueError: the name is not a valid function name, or a number is not finite.

    """

    function: str
    payload: Any = None

    def __post_init__(self) -> None:
        _check_texts(self, "function")
        if not _FUNCTION.fullmatch(self.function):
            raise ValueError(f"Write.function takes package.module:function, not {self.function!r}")
        try:
            payload = json.loads(json.dumps(self.payload, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise type(error)(f"Write.payload takes JSON values: {error}") from error
        object.__setattr__(self, "payload", payload)


@dataclass(frozen=True, slots=True)
class Note:
    """Information for the user that is not a failure: a guessed encoding, for example.

    Attributes:
        options: names of the session options that would change it. They are named where it is
            shown, as its reader knows them; `text` names none.

    """

    text: str
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_texts(self, "text")

    @classmethod
    def of(cls, note: str | Note) -> Note:
        """Return a note; of a text one that names no options."""
        return cls(note) if isinstance(note, str) else note


@dataclass(frozen=True, slots=True)
class TaskResults:
    """The results of a run; empty for a run that produced nothing.

    `notes` are texts for the user that are no failures, or `Note`s that name options.
    `writes` are called in order when the run completes; those of a failure are not.

    Raises:
        TypeError: a field is not a sequence (a list or a tuple, not a generator or a text), or has
            items of another type.

    """

    tickets: Sequence[TicketDraft] = field(default=())
    exports: Sequence[ExportBody] = field(default=())
    findings: Sequence[Finding] = field(default=())
    notes: Sequence[str | Note] = field(default=())
    issues: Sequence[JiraIssue] = field(default=())
    writes: Sequence[Write] = field(default=())

    def __post_init__(self) -> None:
        for name, kinds in _ITEMS.items():
            given = getattr(self, name)
            if isinstance(given, CheckedItems):
                continue
            wanted = " or ".join(kind.__name__ for kind in kinds)
            if not isinstance(given, Sequence) or isinstance(given, str | bytes | bytearray):
                raise _wrong(self, name, given, f"a list or tuple of {wanted}")
            for number, item in enumerate(given):
                if not isinstance(item, kinds):
                    raise _wrong(self, f"{name}[{number}]", item, wanted)


_ITEMS: Mapping[str, tuple[type, ...]] = {
    "tickets": (TicketDraft,),
    "exports": (ExportBody,),
    "findings": (Finding,),
    "notes": (str, Note),
    "writes": (Write,),
    "issues": (JiraIssue,),
}
