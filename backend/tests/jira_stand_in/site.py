"""A Jira site in memory: accounts and their rights, projects and their screens, issues."""

from __future__ import annotations

import datetime as dt
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from tests.jira_stand_in.fields import Field, FieldProblem, accepted, custom_field, system_field

RIGHTS = frozenset((
    "BROWSE_PROJECTS", "CREATE_ISSUES", "ASSIGN_ISSUES", "ASSIGNABLE_USER", "MODIFY_REPORTER",
    "SCHEDULE_ISSUES", "DELETE_ISSUES", "EDIT_ISSUES", "USER_PICKER",
))  # fmt: skip

PRIORITIES = ("Highest", "High", "Medium", "Low", "Lowest")
FIRST_ID = 10_000

Errors = dict[str, str]


@dataclass(eq=False)
class Account:
    """A user of the site, and the token that its programs sign in with."""

    account_id: str
    display_name: str
    email: str
    token: str = ""
    permissions: frozenset[str] = RIGHTS
    is_active: bool = True
    by_project: dict[str, frozenset[str]] = field(default_factory=dict)

    def permissions_in(self, project: Project) -> frozenset[str]:
        """Return the rights that it has in a project."""
        return self.by_project.get(project.key, self.permissions)

    def resource(self, url: str) -> dict[str, Any]:
        """Return it as Jira shows it."""
        return {
            "self": f"{url}/rest/api/3/user?accountId={self.account_id}",
            "accountId": self.account_id,
            "accountType": "atlassian",
            "emailAddress": self.email,
            "displayName": self.display_name,
            "active": self.is_active,
            "timeZone": "Europe/Berlin",
        }


@dataclass(eq=False)
class IssueType:
    """An issue type of a project, with its create screen."""

    id: str
    name: str
    level: int = 0
    screen: dict[str, Field] = field(default_factory=dict)

    @property
    def is_subtask(self) -> bool:
        """Whether its issues need a parent of level 0."""
        return self.level < 0


@dataclass(eq=False)
class Project:
    """A project; its issues are numbered without gaps."""

    id: str
    key: str
    name: str
    issue_types: list[IssueType]
    components: list[dict[str, Any]] = field(default_factory=list)
    versions: list[dict[str, Any]] = field(default_factory=list)
    last_number: int = 0

    def issue_type(self, name: str) -> IssueType:
        """Return the issue type of this name."""
        return next(each for each in self.issue_types if each.name == name)


@dataclass(eq=False)
class Issue:
    """An issue; `fields` are as a read request shows them."""

    id: str
    key: str
    project: Project
    issue_type: IssueType
    creator: Account
    created_at: float
    fields: dict[str, Any]
    properties: dict[str, Any]


class Site:
    """The state of a site; safe to use from many threads.

    Attributes:
        index_delay_seconds: how long a search does not know what was created.
        issues: by key, in the order of their creation.

    """

    def __init__(self, url: str = "") -> None:
        self.url = url
        self.lock = threading.RLock()
        self.index_delay_seconds = 0.0
        self.accounts: list[Account] = []
        self.projects: list[Project] = []
        self.issues: dict[str, Issue] = {}
        self._last_id = FIRST_ID

    # -- what it consists of ----------------------------------------------------------------------

    def next_id(self) -> str:
        """Return a number that nothing else on the site has."""
        with self.lock:
            self._last_id += 1
            return str(self._last_id)

    def add_account(self, name: str, *, token: str = "", **more: Any) -> Account:
        """Add a user; its address is made of the name."""
        email = name.lower().replace(" ", ".") + "@example.com"
        account = Account(f"5b10{self.next_id()}", name, email, token, **more)
        self.accounts.append(account)
        return account

    def add_project(
        self, key: str, *, components: tuple[str, ...] = (), versions: tuple[str, ...] = ()
    ) -> Project:
        """Add a project with Epic, Story, Task, Bug and Sub-task, all on one screen of fields."""
        names = (("Epic", 1), ("Story", 0), ("Task", 0), ("Bug", 0), ("Sub-task", -1))
        types = [IssueType(self.next_id(), name, level) for name, level in names]
        project = Project(self.next_id(), key, key.title(), types)
        for name in components:
            project.components.append({"id": self.next_id(), "name": name})
        for name in versions:
            project.versions.append({"id": self.next_id(), "name": name, "released": False})
        priorities = tuple({"id": str(at), "name": name} for at, name in enumerate(PRIORITIES, 1))
        for issue_type in types:
            issue_type.screen = {each.id: each for each in standard_screen(project, priorities)}
        self.projects.append(project)
        return project

    def project(self, key_or_id: str) -> Project | None:
        """Return the project of this key or id."""
        return next((each for each in self.projects if key_or_id in {each.key, each.id}), None)

    def issue(self, key_or_id: str) -> Issue | None:
        """Return the issue of this key or id."""
        with self.lock:
            if key_or_id in self.issues:
                return self.issues[key_or_id]
            return next((each for each in self.issues.values() if each.id == key_or_id), None)

    def is_indexed(self, issue: Issue) -> bool:
        """Whether a search finds it by now."""
        return time.time() >= issue.created_at + self.index_delay_seconds

    # -- creating ---------------------------------------------------------------------------------

    def create(self, account: Account, update: dict[str, Any]) -> Issue | Errors:
        """Create an issue, or return the reasons, by field, why it cannot be."""
        with self.lock:
            given = dict(update.get("fields") or {})
            project = self._project_of(given.pop("project", None), account)
            if project is None:
                return {"project": "valid project is required"}
            if "CREATE_ISSUES" not in account.permissions_in(project):
                return {"project": "You do not have permission to create issues in this project."}
            issue_type = _issue_type_of(project, given.pop("issuetype", None))
            if issue_type is None:
                return {"issuetype": "Specify a valid issue type"}
            errors, kept = self._kept(account, project, issue_type, given)
            properties = update.get("properties") or []
            for entry in properties:
                if not entry.get("key") or "value" not in entry:
                    errors["properties"] = "Each property needs a key and a value."
            if errors:
                return errors
            return self._add(account, project, issue_type, kept, properties)

    def _kept(
        self, account: Account, project: Project, issue_type: IssueType, given: dict[str, Any]
    ) -> tuple[Errors, dict[str, Any]]:
        errors: Errors = {}
        kept: dict[str, Any] = {}
        for name, value in given.items():
            on_screen = issue_type.screen.get(name)
            if on_screen is None:
                errors[name] = (
                    f"Field '{name}' cannot be set. It is not on the appropriate screen, "
                    "or unknown."
                )
                continue
            if value is None:
                continue
            try:
                if on_screen.schema["type"] == "issuelink":
                    kept[name] = self._parent_of(value, issue_type)
                else:
                    kept[name] = accepted(self, project, account, on_screen, value)
            except FieldProblem as problem:
                errors[name] = str(problem)
        for each in issue_type.screen.values():
            is_missing = each.is_required and not each.has_default and each.id not in kept
            if is_missing and each.id not in errors:
                errors[each.id] = (
                    "You must specify a summary of the issue."
                    if each.id == "summary"
                    else f"{each.name} is required."
                )
        if issue_type.is_subtask and "parent" not in kept:
            errors.setdefault("parent", "Issue type is a sub-task but parent issue key or id not "
                                        "specified.")  # fmt: skip
        return errors, kept

    def _add(
        self,
        account: Account,
        project: Project,
        issue_type: IssueType,
        kept: dict[str, Any],
        properties: list[dict[str, Any]],
    ) -> Issue:
        project.last_number += 1
        now = time.time()
        key = f"{project.key}-{project.last_number}"
        nothing: dict[str, Any] = {name: [] if each.schema["type"] == "array" else None
                   for name, each in issue_type.screen.items()}  # fmt: skip
        defaults = {
            "project": {"id": project.id, "key": project.key, "name": project.name},
            "issuetype": {
                "id": issue_type.id,
                "name": issue_type.name,
                "subtask": issue_type.is_subtask,
                "hierarchyLevel": issue_type.level,
            },
            "priority": {"id": "3", "name": "Medium"},
            "status": {"id": "1", "name": "To Do"},
            "creator": account.resource(self.url),
            "reporter": account.resource(self.url),
            "created": dt.datetime.fromtimestamp(now, dt.UTC).strftime(
                "%Y-%m-%dT%H:%M:%S.000+0000"
            ),
        }
        issue = Issue(
            self.next_id(), key, project, issue_type, account, now,
            nothing | defaults | kept, {each["key"]: each["value"] for each in properties},
        )  # fmt: skip
        self.issues[key] = issue
        return issue

    def _project_of(self, value: Any, account: Account) -> Project | None:
        wanted = value.get("key", value.get("id")) if isinstance(value, dict) else None
        project = self.project(wanted) if isinstance(wanted, str) else None
        if project is None or "BROWSE_PROJECTS" not in account.permissions_in(project):
            return None
        return project

    def _parent_of(self, value: Any, issue_type: IssueType) -> dict[str, Any]:
        wanted = value.get("key", value.get("id")) if isinstance(value, dict) else None
        parent = self.issue(wanted) if isinstance(wanted, str) else None
        if parent is None:
            raise FieldProblem("Could not find issue by id or key.")
        if parent.issue_type.level != issue_type.level + 1:
            raise FieldProblem("Given parent issue does not belong to appropriate hierarchy.")
        return {
            "id": parent.id,
            "key": parent.key,
            "fields": {"summary": parent.fields["summary"]},
        }


def _issue_type_of(project: Project, value: Any) -> IssueType | None:
    if not isinstance(value, dict):
        return None
    for each in project.issue_types:
        if ("id" in value and value["id"] == each.id) or (
            "id" not in value and value.get("name") == each.name
        ):
            return each
    return None


def standard_screen(project: Project, priorities: tuple[dict[str, Any], ...]) -> list[Field]:
    """Return the fields of a create screen as a new company-managed project has them."""
    sizes = tuple({"id": str(20_000 + at), "value": size} for at, size in enumerate("SML"))
    return [
        system_field("project", "Project", "project", is_required=True, has_default=True),
        system_field("issuetype", "Issue Type", "issuetype", is_required=True, has_default=True),
        system_field("summary", "Summary", "string", is_required=True),
        system_field("description", "Description", "string"),
        system_field("environment", "Environment", "string"),
        system_field("priority", "Priority", "priority", allowed=priorities),
        system_field("labels", "Labels", "array", "string"),
        system_field(
            "components", "Components", "array", "component", allowed=tuple(project.components)
        ),
        system_field(
            "fixVersions", "Fix versions", "array", "version", allowed=tuple(project.versions)
        ),
        system_field(
            "versions", "Affects versions", "array", "version", allowed=tuple(project.versions)
        ),
        system_field("duedate", "Due date", "date"),
        system_field("assignee", "Assignee", "user"),
        system_field("reporter", "Reporter", "user", is_required=True, has_default=True),
        system_field("parent", "Parent", "issuelink"),
        system_field("timetracking", "Time tracking", "timetracking"),
        custom_field(10_016, "Story point estimate", "number", "float"),
        custom_field(10_015, "Start date", "date", "datepicker"),
        custom_field(10_020, "Sprint", "array", "gh-sprint", "json"),
        custom_field(10_030, "Customer", "string", "textfield"),
        custom_field(10_031, "Size", "option", "select", allowed=sizes),
        custom_field(10_032, "Steps to reproduce", "string", "textarea"),
    ]
