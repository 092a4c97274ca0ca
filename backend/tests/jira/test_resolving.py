"""Tickets against a site: all values are resolved, or all mismatches named, in advance."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.errors import ConfigurationError
from app.tasks.jira.project import read_project, read_screens
from app.tasks.jira.resolving import ResolvedTicket, Resolver
from tests.jira.conftest import Connect
from tests.jira_stand_in.fields import custom_field
from tests.jira_stand_in.server import JiraStandIn
from tests.jira_stand_in.site import RIGHTS, Account, Project

pytestmark = pytest.mark.usefixtures("project")


@pytest.fixture
def resolve(connect: Connect) -> Any:
    """Resolve tickets' fields against SHOP, as a session with these tickets would."""

    def one_session(*tickets: dict[str, Any], default_type: str = "Task") -> list[ResolvedTicket]:
        client = connect()
        project = read_project(client, "SHOP")
        resolver = Resolver(client, project, default_type=default_type)
        read_screens(client, project, [each.name for each in project.issue_types])
        roles = ("assignee", "reporter")
        people = [each[name] for each in tickets for name in roles if name in each]
        resolver.prepare(people, [each["parent"] for each in tickets if "parent" in each])
        return [resolver.resolve(each) for each in tickets]

    return one_session


def test_a_project_is_described_whole(
    connect: Connect, jira: JiraStandIn, account: Account
) -> None:
    client = connect()
    found = read_project(client, "SHOP")
    read_screens(client, found, ["bug", "Bug", "Wish"])
    bug = found.issue_type("BUG")
    assert bug is not None
    assert (found.account_name, found.base_url, found.missing_rights) == ("Ann Other", jira.url, [])
    assert (found.components, found.versions) == (["Cart", "Search"], ["1.0", "1.1"])
    assert [each.id for each in bug.screen.values() if each.is_required] == ["summary"]
    assert [name for name, *_ in jira.requests].count("getCreateIssueMetaIssueTypeId") == 1
    account.by_project["SHOP"] = RIGHTS - {"CREATE_ISSUES"}
    assert read_project(client, "SHOP").missing_rights == ["create issues"]
    with pytest.raises(ConfigurationError, match="no project NONE"):
        read_project(client, "NONE")
    assert jira.violations == []


def test_every_kind_of_value_is_resolved_and_taken(
    resolve: Any, connect: Connect, jira: JiraStandIn, account: Account, project: Project
) -> None:
    (found,) = resolve(
        {
            "issuetype": "bug", "priority": "Urgent", "labels": ["a"], "components": ["cart"],
            "fixVersions": ["1.1"], "versions": ["1.0"], "duedate": "2026-12-24",
            "assignee": "Ann <ann.other@example.com>", "reporter": "ann other",
            "originalEstimate": "3d", "environment": "Linux", "storypoints": "5",
            "startdate": "2026-12-01", "customfield_10030": "Example Inc.",
            "customfield_10031": "m", "customfield_10032": ["First", "then"],
        }
    )  # fmt: skip
    assert found.mismatches == ()
    assert found.fields["assignee"] == found.fields["reporter"] == {"id": account.account_id}
    assert found.fields["customfield_10016"] == 5
    assert found.fields["customfield_10015"] == "2026-12-01"
    update = {"fields": found.fields | {"project": {"key": "SHOP"}, "summary": "S"}}
    issue = jira.site.create(account, update)
    assert not isinstance(issue, dict), issue
    assert issue.issue_type is project.issue_type("Bug")
    assert issue.fields["priority"]["name"] == "Highest"
    assert issue.fields["customfield_10031"]["value"] == "M"


@pytest.mark.parametrize(
    ("fields", "about", "says"),
    [
        ({"issuetype": "Wish"}, "Issue type", "Epic, Story, Task, Bug, Sub-task"),
        ({"priority": "Whenever"}, "Priority", "Highest, High, Medium"),
        (
            {"components": ["Cart", "Till"]},
            "Components",
            "“Till” is not there: choose Cart",
        ),
        ({"fixVersions": ["9"]}, "Fix versions", "1.0, 1.1"),
        ({"assignee": "nobody@example.com"}, "Assignee", "no such account"),
        ({"parent": "SHOP-99"}, "Parent", "no issue"),
        ({"customfield_99999": "x"}, "customfield_99999", "not on the create screen"),
        ({"customfield_10016": "many"}, "Story point estimate", "no number"),
        ({"customfield_10031": "XL"}, "Size", "S, M, L"),
        ({"customfield_10030": "x" * 300}, "Customer", "255"),
        ({"environment": "x" * 40_000}, "Environment", "32,767"),
        ({"customfield_10015": "soon"}, "Start date", "no date"),
        ({"issuetype": "Sub-task"}, "Parent", "needs a parent"),
    ],
)
def test_what_the_site_would_refuse_is_a_mismatch(
    resolve: Any, jira: JiraStandIn, fields: dict[str, Any], about: str, says: str
) -> None:
    (found,) = resolve(fields)
    assert [mismatch.field for mismatch in found.mismatches] == [about]
    assert says in found.mismatches[0].reason
    assert "createIssues" not in {name for name, *_ in jira.requests}


def test_all_mismatches_of_a_ticket_are_found_at_once(resolve: Any) -> None:
    (found,) = resolve(
        {"priority": "x", "components": ["y"], "assignee": "z", "customfield_1": "1"}
    )
    assert len(found.mismatches) == 4


def test_the_values_of_an_unknown_issue_type_are_checked_as_well(resolve: Any) -> None:
    fields = {"priority": "x", "components": ["Cart"], "customfield_1": "1", "parent": "SHOP-99"}
    (found,) = resolve({"issuetype": "Wish", **fields})
    assert (found.fields, found.issue_type) == ({}, None)
    about = [(mismatch.field, mismatch.field_id) for mismatch in found.mismatches]
    assert about == [
        ("Issue type", "issuetype"),
        ("Priority", "priority"),
        ("customfield_1", "customfield_1"),
        ("Parent", "parent"),
    ]
    assert "create screen of any issue type in SHOP" in found.mismatches[2].reason


def test_fields_that_the_screen_demands_are_named(resolve: Any, project: Project) -> None:
    needed = custom_field(10_040, "Cost centre", "string", "textfield", is_required=True)
    project.issue_type("Task").screen[needed.id] = needed
    without, with_it = resolve({}, {"customfield_10040": "4711"})
    assert [mismatch.field for mismatch in without.mismatches] == ["Cost centre"]
    assert with_it.mismatches == ()


def test_people_with_hidden_addresses_are_found_and_namesakes_are_not_guessed(
    resolve: Any, jira: JiraStandIn
) -> None:
    jira.site.add_account("Bob Best")
    jira.site.add_account("Bob Best")
    named, addressed = resolve({"assignee": "Bob Best"}, {"assignee": "ann.other@example.com"})
    assert "2 people" in named.mismatches[0].reason
    assert addressed.mismatches == ()


def test_rights_that_a_field_needs_are_looked_at(resolve: Any, account: Account) -> None:
    account.by_project["SHOP"] = RIGHTS - {"ASSIGN_ISSUES", "MODIFY_REPORTER", "SCHEDULE_ISSUES"}
    (found,) = resolve({"assignee": "Ann Other", "reporter": "Ann Other", "duedate": "2026-01-01"})
    assert [mismatch.field for mismatch in found.mismatches] == ["Assignee", "Reporter", "Due date"]


def test_parents_stand_one_level_above(
    resolve: Any, jira: JiraStandIn, account: Account, connect: Connect
) -> None:
    for kind in ("Epic", "Task"):
        jira.site.create(
            account,
            {"fields": {"project": {"key": "SHOP"}, "issuetype": {"name": kind}, "summary": kind}},
        )
    fit, unfit, subtask = resolve(
        {"parent": "SHOP-1"}, {"parent": "SHOP-2"}, {"issuetype": "Sub-task", "parent": "SHOP-2"}
    )
    assert (fit.mismatches, fit.fields["parent"]) == ((), {"key": "SHOP-1"})
    assert "cannot be the parent of a Task" in unfit.mismatches[0].reason
    assert subtask.mismatches == ()


def test_parents_in_the_same_session_are_held_to_the_hierarchy(connect: Connect) -> None:
    client = connect()
    project = read_project(client, "SHOP")
    read_screens(client, project, ["Task", "Epic", "Sub-task"])
    resolver = Resolver(client, project, default_type="Task")
    epic, task = project.issue_type("Epic"), project.issue_type("Task")
    assert resolver.resolve({}, parent_type=epic, has_parent=True).mismatches == ()
    assert resolver.resolve({}, parent_type=task, has_parent=True).mismatches != ()
    subtask = {"issuetype": "Sub-task"}
    for parent_type in (task, None):  # None: of an unknown type, which is a mismatch of its own
        made = resolver.resolve(subtask, parent_type=parent_type, has_parent=True)
        assert made.mismatches == ()
