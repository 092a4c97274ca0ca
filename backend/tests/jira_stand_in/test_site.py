"""The stand-in takes, keeps and refuses as Jira does."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest

from tests.jira_stand_in.server import JiraStandIn
from tests.jira_stand_in.site import RIGHTS, Account, Project

pytestmark = pytest.mark.usefixtures("project")


def document(text: str = "Text.") -> dict[str, Any]:
    paragraph = {"type": "paragraph", "content": [{"type": "text", "text": text}]}
    return {"type": "doc", "version": 1, "content": [paragraph]}


def update(**fields: Any) -> dict[str, Any]:
    given = {"project": {"key": "SHOP"}, "issuetype": {"name": "Task"}, "summary": "A task"}
    return {"fields": given | fields}


def errors_of(client: httpx.Client, **fields: Any) -> dict[str, str]:
    response = client.post("/issue/bulk", json={"issueUpdates": [update(**fields)]})
    assert response.status_code == 400, response.text
    errors: dict[str, str] = response.json()["errors"][0]["elementErrors"]["errors"]
    return errors


def created(client: httpx.Client, **fields: Any) -> dict[str, Any]:
    response = client.post("/issue/bulk", json={"issueUpdates": [update(**fields)]})
    assert response.status_code == 201, response.text
    key = response.json()["issues"][0]["key"]
    issue: dict[str, Any] = client.get(f"/issue/{key}").json()["fields"]
    return issue


def test_issues_are_numbered_kept_and_read_back(
    jira: JiraStandIn, client: httpx.Client, account: Account
) -> None:
    response = client.post(
        "/issue/bulk", json={"issueUpdates": [update(summary=f"Number {n}") for n in (1, 2)]}
    )
    assert [issue["key"] for issue in response.json()["issues"]] == ["SHOP-1", "SHOP-2"]
    found = client.post(
        "/issue/bulkfetch", json={"issueIdsOrKeys": ["SHOP-2", "SHOP-1"], "fields": ["summary"]}
    ).json()["issues"]
    assert [issue["fields"] for issue in found] == [
        {"summary": "Number 1"},
        {"summary": "Number 2"},
    ]
    assert jira.requests[0][:2] == ("createIssues", account.account_id)
    assert jira.violations == []


@pytest.mark.parametrize(
    ("fields", "field", "reason"),
    [
        ({"summary": "two\nlines"}, "summary", "newline characters"),
        ({"summary": "x" * 256}, "summary", "255"),
        ({"summary": "😀" * 128}, "summary", "255"),
        ({"summary": "   "}, "summary", "must specify"),
        ({"labels": ["a b"]}, "labels", "contains spaces"),
        ({"labels": ["a\tb"]}, "labels", "contains spaces"),
        ({"labels": "a"}, "labels", "not an array"),
        ({"description": "plain text"}, "description", "Atlassian Document"),
        ({"description": {"type": "doc", "content": []}}, "description", "INVALID_INPUT"),
        ({"description": document("x" * 32_768)}, "description", "32,767"),
        ({"duedate": "28/11/2025"}, "duedate", "date string"),
        ({"duedate": "2025-02-30"}, "duedate", "date string"),
        ({"priority": {"name": "Urgent"}}, "priority", "invalid"),
        ({"components": [{"name": "Checkout"}]}, "components", "Checkout"),
        ({"fixVersions": [{"name": "9.9"}]}, "fixVersions", "9.9"),
        ({"assignee": {"name": "ann"}}, "assignee", "valid value"),
        ({"parent": {"key": "SHOP-99"}}, "parent", "Could not find"),
        ({"timetracking": {"originalEstimate": "soon"}}, "timetracking", "soon"),
        ({"customfield_10016": "5"}, "customfield_10016", "number"),
        ({"customfield_10031": {"value": "XL"}}, "customfield_10031", "valid"),
        ({"customfield_99999": 1}, "customfield_99999", "not on the appropriate screen"),
        ({"issuetype": {"name": "Wish"}}, "issuetype", "valid issue type"),
        ({"issuetype": {"name": "Sub-task"}}, "parent", "sub-task"),
        ({"project": {"key": "NONE"}}, "project", "valid project"),
    ],
)
def test_what_jira_refuses_is_refused_by_field(
    jira: JiraStandIn, client: httpx.Client, fields: dict[str, Any], field: str, reason: str
) -> None:
    assert reason in errors_of(client, **fields)[field]
    assert jira.site.issues == {}
    assert jira.violations == []


def test_the_longest_text_and_summary_are_taken(client: httpx.Client) -> None:
    issue = created(client, summary="x" * 255, description=document("x" * 32_767))
    assert len(issue["summary"]) == 255


def test_51_issues_are_too_many(jira: JiraStandIn, client: httpx.Client) -> None:
    response = client.post("/issue/bulk", json={"issueUpdates": [update()] * 51})
    assert response.status_code == 400
    assert jira.site.issues == {}
    assert client.post("/issue/bulk", json={"issueUpdates": [update()] * 50}).status_code == 201


def test_in_a_bulk_request_each_issue_is_created_or_refused_by_itself(
    client: httpx.Client,
) -> None:
    response = client.post(
        "/issue/bulk", json={"issueUpdates": [update(), update(labels=["a b"]), update()]}
    )
    assert response.status_code == 201
    assert [issue["key"] for issue in response.json()["issues"]] == ["SHOP-1", "SHOP-2"]
    assert [error["failedElementNumber"] for error in response.json()["errors"]] == [1]


def test_values_come_back_as_jira_keeps_them(client: httpx.Client, account: Account) -> None:
    issue = created(
        client,
        summary=" A task ",
        labels=["b", "a", "b"],
        components=[{"name": "Search"}, {"name": "Cart"}],
        priority={"name": "High"},
        assignee={"id": account.account_id},
        duedate="2025-11-28",
        timetracking={"originalEstimate": "28h"},
        customfield_10016=5,
        customfield_10031={"value": "M"},
    )
    assert issue["summary"] == "A task"
    assert issue["labels"] == ["a", "b"]
    assert [component["name"] for component in issue["components"]] == ["Cart", "Search"]
    assert issue["priority"]["name"] == "High"
    assert issue["assignee"]["displayName"] == "Ann Other"
    assert issue["timetracking"] == {
        "originalEstimate": "3d 4h",
        "originalEstimateSeconds": 100_800,
    }
    assert issue["customfield_10016"] == 5.0
    assert issue["customfield_10031"]["value"] == "M"


def test_documents_come_back_normalised(client: httpx.Client) -> None:
    content = [
        {
            "type": "paragraph",
            "attrs": {},
            "content": [
                {"type": "text", "text": "one "},
                {"type": "text", "text": "run", "marks": []},
                {"type": "text", "text": "!", "marks": [{"type": "strong"}, {"type": "em"}]},
            ],
        },
    ]
    issue = created(client, description={"type": "doc", "version": 1, "content": content})
    assert issue["description"]["content"] == [
        {
            "type": "paragraph",
            "content": [
                {"type": "text", "text": "one run"},
                {"type": "text", "text": "!", "marks": [{"type": "em"}, {"type": "strong"}]},
            ],
        }
    ]


def test_families_keep_to_the_hierarchy(client: httpx.Client) -> None:
    created(client, issuetype={"name": "Epic"}, summary="The epic")
    issue = created(client, parent={"key": "SHOP-1"})
    assert issue["parent"]["key"] == "SHOP-1"
    assert "hierarchy" in errors_of(client, parent={"key": "SHOP-2"})["parent"]
    assert created(client, issuetype={"name": "Sub-task"}, parent={"key": "SHOP-2"})


def test_properties_are_kept_and_found_by_search_once_they_are_indexed(
    jira: JiraStandIn, client: httpx.Client
) -> None:
    jira.site.index_delay_seconds = 0.2
    mark = {"key": "session-tasks", "value": {"session": "s", "ticket": 1}}
    client.post("/issue/bulk", json={"issueUpdates": [update() | {"properties": [mark]}]})
    asked = {
        "jql": 'project = "SHOP" AND creator = currentUser() AND created >= "-5m" ORDER BY key',
        "fields": ["summary"],
        "properties": ["session-tasks"],
    }
    assert client.post("/search/jql", json=asked).json()["issues"] == []
    fetched = client.post(
        "/issue/bulkfetch", json={"issueIdsOrKeys": ["SHOP-1"], "properties": ["session-tasks"]}
    )
    assert fetched.json()["issues"][0]["properties"] == {"session-tasks": mark["value"]}
    deadline = time.monotonic() + 10
    while not (found := client.post("/search/jql", json=asked).json()["issues"]):
        assert time.monotonic() < deadline
    assert found[0]["properties"] == {"session-tasks": mark["value"]}
    assert jira.violations == []


def test_search_goes_page_by_page(client: httpx.Client) -> None:
    for _batch in range(3):
        client.post("/issue/bulk", json={"issueUpdates": [update()] * 50})
    asked: dict[str, Any] = {"jql": "project = SHOP", "maxResults": 500, "fields": ["summary"]}
    keys: list[str] = []
    while True:
        page = client.post("/search/jql", json=asked).json()
        keys += [issue["key"] for issue in page["issues"]]
        if page["isLast"]:
            break
        asked["nextPageToken"] = page["nextPageToken"]
    assert keys == [f"SHOP-{number}" for number in range(1, 151)]


@pytest.mark.parametrize("jql", ["order by key", "project = SHOP OR key = A-1", 'created >= "now"'])
def test_jql_that_jira_refuses_is_refused(client: httpx.Client, jql: str) -> None:
    assert client.post("/search/jql", json={"jql": jql}).status_code == 400


def test_rights_are_kept(client: httpx.Client, account: Account) -> None:
    account.by_project["SHOP"] = RIGHTS - {"CREATE_ISSUES"}
    assert "permission" in errors_of(client)["project"]
    held = client.get("/mypermissions?projectKey=SHOP&permissions=CREATE_ISSUES,BROWSE_PROJECTS")
    assert {name: each["havePermission"] for name, each in held.json()["permissions"].items()} == {
        "CREATE_ISSUES": False,
        "BROWSE_PROJECTS": True,
    }
    account.by_project["SHOP"] = frozenset()
    assert client.get("/project/SHOP").status_code == 404


def test_nothing_is_served_without_a_valid_token(
    jira: JiraStandIn, client: httpx.Client, account: Account
) -> None:
    assert httpx.get(jira.url + "/rest/api/3/myself").status_code == 401
    bearer = {"Authorization": f"Bearer {account.token}"}
    assert httpx.get(jira.url + "/rest/api/3/myself", headers=bearer).status_code == 200
    assert client.get("/myself").json()["displayName"] == "Ann Other"
    account.token = ""
    assert client.get("/myself").status_code == 401


def test_createmeta_is_paged_and_says_what_is_required(
    client: httpx.Client, project: Project
) -> None:
    types = client.get("/issue/createmeta/SHOP/issuetypes?maxResults=2").json()
    assert ([each["name"] for each in types["issueTypes"]], types["total"]) == (
        ["Epic", "Story"],
        5,
    )
    fields: list[dict[str, Any]] = []
    path = f"/issue/createmeta/SHOP/issuetypes/{project.issue_type('Task').id}"
    while True:
        page = client.get(path, params={"startAt": len(fields), "maxResults": 10}).json()
        fields += page["fields"]
        if len(fields) >= page["total"]:
            break
    required = [each["fieldId"] for each in fields if each["required"]]
    assert required == ["project", "issuetype", "summary", "reporter"]


def test_users_are_found_by_the_beginning_of_name_or_address(
    jira: JiraStandIn, client: httpx.Client
) -> None:
    jira.site.add_account("Anna Nym")
    jira.site.add_account("Annette Gone", is_active=False)
    found = client.get("/user/assignable/search?project=SHOP&query=ann").json()
    assert [user["displayName"] for user in found] == ["Ann Other", "Anna Nym"]


def test_requests_outside_the_contract_are_refused_and_noted(
    jira: JiraStandIn, client: httpx.Client
) -> None:
    assert client.post("/issue/bulk", json={"issueUpdates": 5}).status_code == 400
    assert client.get("/no/such/thing").status_code == 404
    assert len(jira.violations) == 2


def test_each_operation_answers_within_the_contract(
    jira: JiraStandIn, client: httpx.Client
) -> None:
    created(client, description=document())
    for path in (
        "/myself",
        "/serverInfo",
        "/field",
        "/priority/search",
        "/project/SHOP",
        "/project/SHOP/components",
        "/project/SHOP/versions",
        "/issue/SHOP-1",
        "/search/jql?jql=project%3DSHOP&fields=summary",
    ):
        assert client.get(path).status_code == 200, path
    assert client.delete("/issue/SHOP-1").status_code == 204
    assert client.get("/issue/SHOP-1").status_code == 404
    assert jira.violations == []
