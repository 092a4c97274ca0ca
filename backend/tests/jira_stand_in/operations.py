"""The operations of the contract, carried out on a site."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.jira_stand_in.jql import UnreadableJql, read_jql
from tests.jira_stand_in.site import RIGHTS, Account, Issue, IssueType, Project, Site

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.jira_stand_in.fields import Field

    Arguments = dict[str, str]
    Handler = Callable[[Site, Account, Arguments, dict[str, str], Any], "Response"]

MOST_ISSUES_IN_BULK = 50
MOST_ISSUES_FETCHED = 100
MOST_PROPERTIES = 5
ISSUES_PER_PAGE = 100


@dataclass
class Response:
    """A response: its status, and its body as JSON or, with `content`, as bytes of a page."""

    status: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes | None = None

    def encoded(self) -> bytes:
        """Return the body's bytes."""
        if self.content is not None:
            return self.content
        return b"" if self.body is None else json.dumps(self.body).encode()


def create_issues(
    site: Site, account: Account, given: Any, refused: frozenset[int] = frozenset()
) -> Response:
    """Create up to 50 issues, each on its own; those at the positions `refused` are refused."""
    updates = given.get("issueUpdates") or []
    if not 1 <= len(updates) <= MOST_ISSUES_IN_BULK:
        problem = f"You can create 1 to {MOST_ISSUES_IN_BULK} issues at a time."
        return Response(400, {"issues": [], "errors": [_element(0, {}, [problem])]})
    created, errors = [], []
    for position, update in enumerate(updates):
        made = (
            {"summary": "Something went wrong on our side."}
            if position in refused
            else site.create(account, update)
        )
        if isinstance(made, Issue):
            created.append(_reference(site, made))
        else:
            errors.append(_element(position, made, []))
    return Response(201 if created else 400, {"issues": created, "errors": errors})


def _create_issue(site: Site, account: Account, _at: Arguments, _q: Any, given: Any) -> Response:
    made = site.create(account, given)
    if isinstance(made, Issue):
        return Response(201, _reference(site, made))
    return Response(400, {"errorMessages": [], "errors": made})


def _get_issue(site: Site, account: Account, at: Arguments, query: Any, _body: Any) -> Response:
    issue = _visible(site, account, at["issueIdOrKey"])
    if issue is None:
        return _not_found("Issue does not exist or you do not have permission to see it.")
    names = query.get("fields", "*all").split(",")
    properties = [name for name in query.get("properties", "").split(",") if name]
    return Response(200, _resource(site, issue, names, properties))


def _delete_issue(site: Site, account: Account, at: Arguments, _q: Any, _body: Any) -> Response:
    issue = _visible(site, account, at["issueIdOrKey"])
    if issue is None:
        return _not_found("Issue does not exist or you do not have permission to see it.")
    if "DELETE_ISSUES" not in account.permissions_in(issue.project):
        return Response(403, None)
    with site.lock:
        del site.issues[issue.key]
    return Response(204, None)


def _bulk_fetch(site: Site, account: Account, _at: Arguments, _q: Any, given: Any) -> Response:
    wanted = given["issueIdsOrKeys"]
    properties = given.get("properties", [])
    if not 1 <= len(wanted) <= MOST_ISSUES_FETCHED or len(properties) > MOST_PROPERTIES:
        return Response(400, None)
    found = {each.id: each for name in wanted if (each := _visible(site, account, name))}
    names = given.get("fields", ["*navigable"])
    issues = [_resource(site, found[id_], names, properties) for id_ in sorted(found, key=int)]
    return Response(200, {"issues": issues, "issueErrors": []})


def _search(site: Site, account: Account, _at: Arguments, query: Any, given: Any) -> Response:
    asked = given or {
        "jql": query.get("jql", ""),
        "maxResults": int(query.get("maxResults", 50)),
        "nextPageToken": query.get("nextPageToken"),
        "fields": query.get("fields", "id").split(","),
        "properties": [name for name in query.get("properties", "").split(",") if name],
    }
    try:
        read = read_jql(asked.get("jql", ""), account, time.time())
    except UnreadableJql:
        return Response(400, None)
    properties = asked.get("properties") or []
    if len(properties) > MOST_PROPERTIES:
        return Response(400, None)
    with site.lock:
        found = [
            issue
            for issue in site.issues.values()
            if site.is_indexed(issue)
            and "BROWSE_PROJECTS" in account.permissions_in(issue.project)
            and read.matches(issue)
        ]
    if read.is_descending:
        found.reverse()
    start = int(asked.get("nextPageToken") or 0)
    end = start + min(asked.get("maxResults", 50), ISSUES_PER_PAGE)
    names = asked.get("fields") or ["id"]
    page = {
        "issues": [_resource(site, each, names, properties) for each in found[start:end]],
        "isLast": end >= len(found),
    }
    return Response(200, page | ({} if page["isLast"] else {"nextPageToken": str(end)}))


def _myself(site: Site, account: Account, _at: Arguments, _q: Any, _body: Any) -> Response:
    return Response(200, account.resource(site.url))


def _permissions(site: Site, account: Account, _at: Arguments, query: Any, _body: Any) -> Response:
    asked = [name for name in query.get("permissions", "").split(",") if name]
    if not asked or not set(asked) <= RIGHTS:
        return _errors(400, "Unrecognized permission")
    held = account.permissions
    if "projectKey" in query:
        project = site.project(query["projectKey"])
        if project is None or "BROWSE_PROJECTS" not in account.permissions_in(project):
            return _errors(404, f"No project could be found with key '{query['projectKey']}'.")
        held = account.permissions_in(project)
    return Response(
        200,
        {
            "permissions": {
                name: {
                    "id": name, "key": name, "name": name.replace("_", " ").title(),
                    "type": "PROJECT", "description": "", "havePermission": name in held,
                }
                for name in asked
            }
        },
    )  # fmt: skip


def _server_info(site: Site, _account: Account, _at: Arguments, _q: Any, _body: Any) -> Response:
    return Response(
        200,
        {
            "baseUrl": site.url,
            "version": "1001.0.0-SNAPSHOT",
            "deploymentType": "Cloud",
            "serverTitle": "Jira",
        },
    )


def _fields(site: Site, _account: Account, _at: Arguments, _q: Any, _body: Any) -> Response:
    known: dict[str, Field] = {}
    for project in site.projects:
        for issue_type in project.issue_types:
            known |= issue_type.screen
    return Response(
        200,
        [
            {
                "id": each.id, "key": each.id, "name": each.name, "custom": "custom" in each.schema,
                "orderable": True, "navigable": True, "searchable": True, "schema": each.schema,
                "clauseNames": [each.id],
            }
            for each in known.values()
        ],
    )  # fmt: skip


def _priorities(site: Site, _account: Account, _at: Arguments, _q: Any, _body: Any) -> Response:
    field_ = site.projects[0].issue_types[0].screen.get("priority") if site.projects else None
    values = list(field_.allowed or ()) if field_ else []
    page = {"startAt": 0, "maxResults": 50, "total": len(values), "isLast": True, "values": values}
    return Response(200, page)


def _issue_types(site: Site, account: Account, at: Arguments, query: Any, _body: Any) -> Response:
    project = _creatable(site, account, at["projectIdOrKey"])
    if project is None:
        return _errors(400, f"No project could be found with key '{at['projectIdOrKey']}'.")
    types = [
        {
            "self": f"{site.url}/rest/api/3/issuetype/{each.id}", "id": each.id,
            "name": each.name, "description": "", "subtask": each.is_subtask,
            "hierarchyLevel": each.level,
        }
        for each in project.issue_types
    ]  # fmt: skip
    return _page("issueTypes", types, query)


def _screen(site: Site, account: Account, at: Arguments, query: Any, _body: Any) -> Response:
    project = _creatable(site, account, at["projectIdOrKey"])
    types = project.issue_types if project else []
    found: IssueType | None = next((each for each in types if each.id == at["issueTypeId"]), None)
    if found is None:
        return _errors(400, "No such project or issue type.")
    fields = []
    for each in found.screen.values():
        shown: dict[str, Any] = {
            "fieldId": each.id, "key": each.id, "name": each.name, "required": each.is_required,
            "hasDefaultValue": each.has_default, "operations": ["set"], "schema": each.schema,
        }  # fmt: skip
        if each.allowed is not None:
            shown["allowedValues"] = list(each.allowed)
        fields.append(shown)
    return _page("fields", fields, query)


def _page(name: str, items: list[Any], query: dict[str, str]) -> Response:
    start, size = int(query.get("startAt", 0)), int(query.get("maxResults", 50))
    page = {"startAt": start, "maxResults": size, "total": len(items)}
    return Response(200, page | {name: items[start : start + size]})


def _assignable(site: Site, account: Account, _at: Arguments, query: Any, _body: Any) -> Response:
    project = site.project(query.get("project", ""))
    if project is None or "BROWSE_PROJECTS" not in account.permissions_in(project):
        return Response(404, None)
    if ("query" in query) == ("accountId" in query):
        return Response(400, None)
    wanted = query.get("query", "").lower()
    found = [
        user.resource(site.url)
        for user in site.accounts
        if user.is_active
        and "ASSIGNABLE_USER" in user.permissions_in(project)
        and (
            user.account_id == query.get("accountId")
            if "accountId" in query
            else user.display_name.lower().startswith(wanted)
            or user.email.lower().startswith(wanted)
        )
    ]
    return Response(200, found[: int(query.get("maxResults", 50))])


def _project(site: Site, account: Account, at: Arguments, _q: Any, _body: Any) -> Response:
    project = _browsable(site, account, at["projectIdOrKey"])
    if project is None:
        return Response(404, None)
    return Response(
        200, {"id": project.id, "key": project.key, "name": project.name, "style": "classic"}
    )


def _components(site: Site, account: Account, at: Arguments, _q: Any, _body: Any) -> Response:
    project = _browsable(site, account, at["projectIdOrKey"])
    return Response(404, None) if project is None else Response(200, project.components)


def _versions(site: Site, account: Account, at: Arguments, _q: Any, _body: Any) -> Response:
    project = _browsable(site, account, at["projectIdOrKey"])
    return Response(404, None) if project is None else Response(200, project.versions)


def _get_property(site: Site, account: Account, at: Arguments, _q: Any, _body: Any) -> Response:
    issue = _visible(site, account, at["issueIdOrKey"])
    if issue is None or at["propertyKey"] not in issue.properties:
        return Response(404, None)
    value = issue.properties[at["propertyKey"]]
    return Response(200, {"key": at["propertyKey"], "value": value})


def _visible(site: Site, account: Account, name: str) -> Issue | None:
    issue = site.issue(name)
    if issue is None or "BROWSE_PROJECTS" not in account.permissions_in(issue.project):
        return None
    return issue


def _browsable(site: Site, account: Account, name: str) -> Project | None:
    project = site.project(name)
    if project is None or "BROWSE_PROJECTS" not in account.permissions_in(project):
        return None
    return project


def _creatable(site: Site, account: Account, name: str) -> Project | None:
    project = _browsable(site, account, name)
    if project is None or "CREATE_ISSUES" not in account.permissions_in(project):
        return None
    return project


def _resource(site: Site, issue: Issue, names: list[str], properties: list[str]) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": issue.id,
        "key": issue.key,
        "self": f"{site.url}/rest/api/3/issue/{issue.id}",
    }
    if names == ["id"]:
        return {"id": issue.id} | _shown_properties(issue, properties)
    wants_all = not {"*all", "*navigable"}.isdisjoint(names)
    shown["fields"] = {
        name: value for name, value in issue.fields.items() if wants_all or name in names
    }
    return shown | _shown_properties(issue, properties)


def _shown_properties(issue: Issue, names: list[str]) -> dict[str, Any]:
    if not names:
        return {}
    return {"properties": {name: issue.properties[name] for name in names
                           if name in issue.properties}}  # fmt: skip


def _reference(site: Site, issue: Issue) -> dict[str, str]:
    return {
        "id": issue.id,
        "key": issue.key,
        "self": f"{site.url}/rest/api/3/issue/{issue.id}",
    }


def _element(position: int, errors: dict[str, str], messages: list[str]) -> dict[str, Any]:
    return {
        "status": 400,
        "elementErrors": {"errorMessages": messages, "errors": errors},
        "failedElementNumber": position,
    }


def _errors(status: int, message: str) -> Response:
    return Response(status, {"errorMessages": [message], "errors": {}})


def _not_found(message: str) -> Response:
    return _errors(404, message)


OPERATIONS: dict[str, Handler] = {
    "createIssue": _create_issue,
    "getIssue": _get_issue,
    "deleteIssue": _delete_issue,
    "bulkFetchIssues": _bulk_fetch,
    "searchAndReconsileIssuesUsingJql": _search,
    "searchAndReconsileIssuesUsingJqlPost": _search,
    "getCurrentUser": _myself,
    "getMyPermissions": _permissions,
    "getServerInfo": _server_info,
    "getFields": _fields,
    "searchPriorities": _priorities,
    "getCreateIssueMetaIssueTypes": _issue_types,
    "getCreateIssueMetaIssueTypeId": _screen,
    "findAssignableUsers": _assignable,
    "getProject": _project,
    "getProjectComponents": _components,
    "getProjectVersions": _versions,
    "getIssueProperty": _get_property,
}
