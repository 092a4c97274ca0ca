"""A project as its site describes it: rights, issue types, create screens, allowed values."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from app.core.errors import ConfigurationError, ErrorCategory
from app.tasks.jira.errors import JiraDenied, JiraRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from app.tasks.jira.client import JiraClient

REQUESTS_AT_ONCE = 8
"""Reading requests that are sent side by side: a project is described by some eight."""

RIGHTS = {
    "BROWSE_PROJECTS": "browse the project",
    "CREATE_ISSUES": "create issues",
    "ASSIGN_ISSUES": "assign issues",
    "MODIFY_REPORTER": "set the reporter",
    "SCHEDULE_ISSUES": "set due dates",
}
"""The project permissions that a delivery can need, in words."""

NEEDED_RIGHTS = ("BROWSE_PROJECTS", "CREATE_ISSUES")


@dataclass(frozen=True, slots=True)
class ScreenField:
    """A field of a create screen.

    Attributes:
        kind: the type of its values: `string`, `array`, `option`, `user`, …
        items: the type of an array's items.
        custom: the last part of a custom field's type, such as `textarea`; "" for system fields.
        is_required: whether an issue needs it, and Jira has no default.
        allowed: its values, as Jira lists them; None: any.

    """

    id: str
    name: str
    kind: str
    items: str = ""
    custom: str = ""
    is_required: bool = False
    allowed: tuple[dict[str, Any], ...] | None = None

    @property
    def is_document(self) -> bool:
        """Whether it takes an ADF document."""
        return self.custom == "textarea" or self.id in {"description", "environment"}

    def value_named(self, name: str) -> dict[str, Any] | None:
        """Return the allowed value of this name, in any case."""
        for value in self.allowed or ():
            if str(value.get("name", value.get("value", ""))).casefold() == name.casefold():
                return value
        return None

    @property
    def allowed_names(self) -> list[str]:
        """The names of the allowed values."""
        return [str(value.get("name", value.get("value", ""))) for value in self.allowed or ()]


@dataclass(frozen=True, slots=True)
class SiteIssueType:
    """An issue type of the project.

    Attributes:
        level: in Jira's hierarchy: 1 for epics, 0, and -1 for sub-tasks.
        screen: its create screen, by field id; empty until it was read.

    """

    id: str
    name: str
    level: int
    screen: dict[str, ScreenField] = field(default_factory=dict)


@dataclass(slots=True)
class SiteProject:
    """A project, and the account that signed in, as the site describes them.

    Attributes:
        base_url: address that people open the site by.
        account_id, account_name: of the account that signed in.
        rights: which of `RIGHTS` the account has.
        issue_types: those that it may create.

    """

    key: str
    base_url: str
    account_id: str
    account_name: str
    rights: dict[str, bool]
    issue_types: list[SiteIssueType]
    components: list[str]
    versions: list[str]

    def issue_type(self, name: str) -> SiteIssueType | None:
        """Return the issue type of this name, in any case."""
        wanted = name.casefold()
        return next((each for each in self.issue_types if each.name.casefold() == wanted), None)

    @property
    def missing_rights(self) -> list[str]:
        """The rights that nothing can be delivered without, in words."""
        return [RIGHTS[name] for name in NEEDED_RIGHTS if not self.rights.get(name)]


def read_project(client: JiraClient, key: str) -> SiteProject:
    """Read everything about a project but its screens.

    Raises:
        ConfigurationError: there is no such project, or the account may not see it
            (`user_fixable`).
        JiraDenied, JiraUnavailable: as every request.

    """
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        account = pool.submit(client.myself)
        info = pool.submit(client.server_info)
        rights = pool.submit(client.permissions, key, list(RIGHTS))
        types = pool.submit(_unless_refused, lambda: client.issue_types(key))
        components = pool.submit(_unless_refused, lambda: client.components(key))
        versions = pool.submit(_unless_refused, lambda: client.versions(key))
        me = account.result()
        try:
            held = rights.result()
        except JiraRefused as error:
            raise ConfigurationError(
                f"There is no project {key} on {client.site.url}, or the account may not see it",
                ErrorCategory.USER_FIXABLE,
                next_step="Check the project key: it stands before each issue's number.",
                options=("project_key",),
            ) from error
        return SiteProject(
            key=key,
            base_url=str(info.result().get("baseUrl") or client.site.url).rstrip("/"),
            account_id=str(me.get("accountId", "")),
            account_name=str(me.get("displayName") or me.get("emailAddress") or "?"),
            rights=held,
            issue_types=[_issue_type(each) for each in types.result()],
            components=[str(each.get("name", "")) for each in components.result()],
            versions=[str(each.get("name", "")) for each in versions.result()],
        )


def missing_rights_error(project: SiteProject) -> JiraDenied:
    """Return the error that says which needed rights the account lacks."""
    return JiraDenied(
        f"{project.account_name} may not {' or '.join(project.missing_rights)} in {project.key}",
        next_step="Have a Jira administrator grant it, or sign in as another account.",
    )


def read_screens(client: JiraClient, project: SiteProject, names: Iterable[str]) -> None:
    """Read the create screens of these issue types, each once; unknown names are passed over."""
    unread = (found for name in names if (found := project.issue_type(name)) and not found.screen)
    wanted = list({each.id: each for each in unread}.values())
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        screens = pool.map(lambda each: client.screen(project.key, each.id), wanted)
        for issue_type, fields in zip(wanted, screens, strict=True):
            issue_type.screen.update((each.id, each) for each in map(_screen_field, fields))


def _unless_refused(read: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Read a list that the account may have no right to: the rights tell why it is empty."""
    try:
        return read()
    except JiraRefused:
        return []


def _issue_type(described: dict[str, Any]) -> SiteIssueType:
    level = described.get("hierarchyLevel")
    if level is None:
        level = -1 if described.get("subtask") else 0
    return SiteIssueType(str(described.get("id")), str(described.get("name")), int(level))


def _screen_field(described: dict[str, Any]) -> ScreenField:
    schema = described.get("schema") or {}
    allowed = described.get("allowedValues")
    return ScreenField(
        id=str(described.get("fieldId") or described.get("key")),
        name=str(described.get("name", "")),
        kind=str(schema.get("type", "")),
        items=str(schema.get("items", "")),
        custom=str(schema.get("custom", "")).rpartition(":")[2],
        is_required=bool(described.get("required")) and not described.get("hasDefaultValue"),
        allowed=tuple(allowed) if isinstance(allowed, list) else None,
    )
