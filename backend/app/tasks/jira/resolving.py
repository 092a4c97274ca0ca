"""A ticket's fields as one site takes them, and everything in which the two do not agree.

Nothing is sent before every ticket of the session was resolved: all mismatches are found at once.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from app.tasks.jira.payload import as_text, default_issue_type, default_priority, text_document
from app.tasks.jira.project import REQUESTS_AT_ONCE, RIGHTS, ScreenField, SiteIssueType, SiteProject
from app.tasks.jira.spellings import field_named
from app.tasks.jira.values import read_date, read_number, read_person, split_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from app.tasks.jira.client import JiraClient

LONGEST_LINE = 255
LONGEST_TEXT = 32_767
NAMES_SHOWN = 12
MOST_USERS = 1_000
"""Different people that one session may name; each is a request."""

_PLACES = {"originalEstimate": "timetracking"}
_BY_NAME = {
    "storypoints": ("story points", "story point estimate"),
    "startdate": ("start date",),
}
_RIGHTS = {
    "assignee": "ASSIGN_ISSUES",
    "reporter": "MODIFY_REPORTER",
    "duedate": "SCHEDULE_ISSUES",
}
_SPRINT = "gh-sprint"
_SET_BY_US = frozenset(("project", "issuetype", "summary", "description"))


class Mismatch(Exception):  # noqa: N818 - what does not agree
    """A value that the site would not take.

    Attributes:
        field: what it is about, as people call it.
        field_id: its id in a request; "" until the resolver adds it.
        reason: what is wrong, and what would be right.

    """

    def __init__(self, field: str, reason: str, field_id: str = "") -> None:
        super().__init__(reason)
        self.field = field
        self.field_id = field_id
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ResolvedTicket:
    """The fields of a request, but for project, summary and description; or why there are none."""

    fields: dict[str, Any]
    issue_type: SiteIssueType | None
    mismatches: tuple[Mismatch, ...]


class Resolver:
    """Resolves tickets against a project whose screens were read.

    `prepare` looks up the people and the parents that tickets name, a request each; after that,
    `resolve` asks nothing.
    """

    def __init__(self, client: JiraClient, project: SiteProject, *, default_type: str) -> None:
        self._client = client
        self._project = project
        self._default_type = default_type
        self._accounts: dict[str, str | Mismatch] = {}
        self._parents: dict[str, int | None] = {}

    def issue_type_of(self, fields: Mapping[str, Any]) -> SiteIssueType | None:
        """Return the issue type that a ticket gets."""
        name = str(fields.get("issuetype") or self._default_type)
        return self._project.issue_type(name) or self._project.issue_type(default_issue_type(name))

    def prepare(self, people: Iterable[str], parents: Iterable[str]) -> None:
        """Look up assignees and reporters by their names, and parents by their keys."""
        wanted = [each for each in dict.fromkeys(people) if each not in self._accounts][:MOST_USERS]
        keys = [each for each in dict.fromkeys(parents) if each not in self._parents]
        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            for text, account in zip(wanted, pool.map(self._account, wanted), strict=True):
                self._accounts[text] = account
            batches = [keys[start : start + 100] for start in range(0, len(keys), 100)]
            for batch, found in zip(batches, pool.map(self._levels, batches), strict=True):
                self._parents |= {key: found.get(key) for key in batch}

    def resolve(
        self,
        fields: Mapping[str, Any],
        *,
        parent_type: SiteIssueType | None = None,
        has_parent: bool = False,
    ) -> ResolvedTicket:
        """Return what Jira takes for a ticket.

        `has_parent`: its parent is in the same session, where nobody knows the key yet; it is of
        `parent_type`, unless that is unknown. A ticket of an unknown issue type has its values
        checked against the screens of all types.
        """
        issue_type = self.issue_type_of(fields)
        if issue_type is None:
            name = fields.get("issuetype") or self._default_type
            known = [each.name for each in self._project.issue_types]
            reason = f"{self._project.key} has no issue type “{name}”: choose {_listed(known)}"
            unknown = Mismatch("Issue type", reason, "issuetype")
            _, mismatches = self._values(fields, None)
            return ResolvedTicket({}, None, (unknown, *mismatches))
        made, mismatches = self._values(fields, issue_type)
        made["issuetype"] = {"id": issue_type.id}
        has_parent = has_parent or "parent" in fields
        mismatches += _missing(issue_type, made, has_parent=has_parent)
        if parent_type is not None:
            mismatches += _unfit_parent(issue_type, parent_type.level, parent_type.name)
        return ResolvedTicket(made, issue_type, tuple(mismatches))

    # -- fields -----------------------------------------------------------------------------------

    @cached_property
    def _any_issue_type(self) -> SiteIssueType:
        """Return a type that has the fields of all screens that were read."""
        screens = [each.screen for each in self._project.issue_types]
        fields = {place.id: place for screen in screens for place in screen.values()}
        return SiteIssueType("", "any issue type", 0, fields)

    def _values(
        self, fields: Mapping[str, Any], issue_type: SiteIssueType | None
    ) -> tuple[dict[str, Any], list[Mismatch]]:
        """Return the values as Jira takes them, by field id, and those that it does not take."""
        made: dict[str, Any] = {}
        mismatches: list[Mismatch] = []
        screen_type = issue_type or self._any_issue_type
        for name, value in fields.items():
            if name == "issuetype":
                continue
            field_id = _PLACES.get(name, name)
            try:
                if name == "parent":
                    made["parent"] = self._parent(value, issue_type)
                else:
                    place = self._place(name, screen_type)
                    field_id = place.id
                    made[place.id] = self._value(name, place, value)
            except Mismatch as mismatch:
                mismatch.field_id = field_id
                mismatches.append(mismatch)
        return made, mismatches

    def _place(self, name: str, issue_type: SiteIssueType) -> ScreenField:
        """Return the field of the screen that a ticket's field goes to."""
        wanted = _PLACES.get(name, name)
        labels = _BY_NAME.get(name, ())
        for each in issue_type.screen.values():
            if each.id == wanted or each.name.casefold() in labels:
                return each
            if name == "sprint" and each.custom == _SPRINT:
                return each
        known = field_named(name)
        raise Mismatch(
            known.label if known else name,
            f"it is not on the create screen of {issue_type.name} in {self._project.key}: have it "
            "added there, or leave its column out",
        )

    def _value(self, name: str, place: ScreenField, value: Any) -> Any:
        right = _RIGHTS.get(place.id)
        if right and not self._project.rights.get(right):
            raise Mismatch(place.name, f"the account has no right to {RIGHTS[right]}")
        if name == "originalEstimate":
            return {"originalEstimate": value}
        if place.is_document:
            return _document(place, value)
        if place.kind == "array":
            return self._array(place, value)
        text = as_text(value)
        if place.kind == "user":
            return {"id": self._account_id(place, text)}
        read = _SCALARS.get(place.kind)
        if place.allowed is not None or read is None:
            return self._chosen(place, (text, default_priority(text)))
        return read(place, text)

    def _array(self, place: ScreenField, value: Any) -> Any:
        texts = value if isinstance(value, list) else split_names(str(value))
        if place.custom == _SPRINT:
            return int(as_text(value))
        if place.items == "string":
            return ["-".join(text.split()) for text in texts]
        if place.items == "user":
            return [{"id": self._account_id(place, text)} for text in texts]
        known = {"component": self._project.components, "version": self._project.versions}
        if place.allowed is None and place.items in known:
            names = {name.casefold(): name for name in known[place.items]}
            return [{"name": _known(place, names, text)} for text in texts]
        return [self._chosen(place, [text]) for text in texts]

    def _chosen(self, place: ScreenField, names: Sequence[str]) -> dict[str, Any]:
        for name in names:
            value = place.value_named(name)
            if value is not None and "id" in value:
                return {"id": str(value["id"])}
        raise Mismatch(
            place.name, f"“{names[0]}” is not there: choose {_listed(place.allowed_names)}"
        )

    # -- people and parents -----------------------------------------------------------------------

    def _account_id(self, place: ScreenField, text: str) -> str:
        found = self._accounts.get(text)
        if found is None:
            found = Mismatch(place.name, f"“{text}” was not looked up: there are too many people")
        if isinstance(found, Mismatch):
            raise Mismatch(place.name, found.reason)
        return found

    def _account(self, text: str) -> str | Mismatch:
        person = read_person(text)
        if person.account_id:
            users = self._client.assignable_users(self._project.key, accountId=person.account_id)
        else:
            users = self._client.assignable_users(
                self._project.key, query=person.email or person.name
            )
        exact = [
            user
            for user in users
            if person.account_id
            or str(user.get("emailAddress", "")).casefold() == person.email.casefold() != ""
            or str(user.get("displayName", "")).casefold() == person.name.casefold() != ""
        ]
        fit = exact or (users if person.email else [])  # addresses can be hidden
        if len(fit) == 1:
            return str(fit[0]["accountId"])
        if fit:
            return Mismatch("", f"“{text}” is the name of {len(fit)} people: give an address")
        return Mismatch(
            "", f"issues of {self._project.key} cannot be assigned to “{text}”: no such account"
        )

    def _levels(self, keys: list[str]) -> dict[str, int]:
        """Return the hierarchy levels of the issues of these keys that can be seen."""
        levels = {}
        for issue in self._client.fetch(keys, fields=["issuetype"], properties=[]):
            described = (issue.get("fields") or {}).get("issuetype") or {}
            level = described.get("hierarchyLevel", -1 if described.get("subtask") else 0)
            levels[str(issue.get("key"))] = int(level)
        return levels

    def _parent(self, key: str, issue_type: SiteIssueType | None) -> dict[str, str]:
        level = self._parents.get(key)
        if level is None:
            raise Mismatch("Parent", f"{key} is no issue that the account can see")
        if issue_type is not None:
            for mismatch in _unfit_parent(issue_type, level, key):
                raise mismatch
        return {"key": key}


def _unfit_parent(issue_type: SiteIssueType, level: int, name: str) -> list[Mismatch]:
    if level == issue_type.level + 1:
        return []
    reason = (
        f"{name} cannot be the parent of {_a(issue_type.name)}: a parent is one level above its "
        "children (epics above stories and tasks, these above sub-tasks)"
    )
    return [Mismatch("Parent", reason, "parent")]


def _missing(
    issue_type: SiteIssueType, made: Mapping[str, Any], *, has_parent: bool
) -> list[Mismatch]:
    reason = f"{_a(issue_type.name)} needs it: add a column, or choose one for it"
    missing = [
        Mismatch(each.name, reason, each.id)
        for each in issue_type.screen.values()
        if each.is_required and each.id not in made and each.id not in _SET_BY_US
        and not (each.id == "parent" and has_parent)
    ]  # fmt: skip
    if issue_type.level < 0 and not has_parent:
        missing.append(Mismatch("Parent", f"{_a(issue_type.name)} needs a parent", "parent"))
    return missing


def _a(name: str) -> str:
    return f"{'an' if name[:1].casefold() in 'aeiou' else 'a'} {name}"


def _known(place: ScreenField, names: Mapping[str, str], text: str) -> str:
    found = names.get(text.casefold())
    if found is None:
        known = _listed(list(names.values()))
        raise Mismatch(place.name, f"“{text}” is not there: choose {known}")
    return found


def _listed(names: list[str]) -> str:
    if not names:
        return "nothing, as there are none"
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more:,} more" if more > 0 else "")


# -- values by type ------------------------------------------------------------------------------


def _document(place: ScreenField, value: Any) -> dict[str, Any]:
    text = as_text(value)
    if len(text.encode("utf-16-le")) // 2 > LONGEST_TEXT:
        raise Mismatch(place.name, f"the text has more than {LONGEST_TEXT:,} characters")
    return text_document(text)


def _line(place: ScreenField, text: str) -> str:
    line = " ".join(text.split())
    if len(line) > LONGEST_LINE:
        raise Mismatch(place.name, f"the text has more than {LONGEST_LINE} characters")
    return line


def _number(place: ScreenField, text: str) -> float | int:
    number = read_number(text)
    if number is None:
        raise Mismatch(place.name, f"“{text}” is no number")
    return number


def _day(place: ScreenField, text: str) -> str:
    found = read_date(text)
    if found is None or not hasattr(found, "isoformat"):
        raise Mismatch(place.name, f"“{text}” is no date: write it as 2026-12-24")
    return str(found.isoformat())


def _moment(place: ScreenField, text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Mismatch(
            place.name, f"“{text}” is no moment: write it as 2026-12-24T10:00:00Z"
        ) from None
    if moment.tzinfo is None:
        raise Mismatch(place.name, f"“{text}” names no time zone: write it as 2026-12-24T10:00:00Z")
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000%z")


_SCALARS: dict[str, Callable[[ScreenField, str], Any]] = {
    "string": _line,
    "number": _number,
    "date": _day,
    "datetime": _moment,
}
