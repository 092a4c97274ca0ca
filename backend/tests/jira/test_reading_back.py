"""Issues that are read back: as they were sent past Jira's own changes, and none twice."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from app.engines.execution import Completed, Failed
from app.tasks.jira.comparing import differs
from app.values.results import TicketDraft
from tests.jira.test_delivery import Exporting, open_session, ticket
from tests.jira_stand_in.normalising import normalise_adf
from tests.jira_stand_in.server import JiraStandIn
from tests.jira_stand_in.site import Account, Project

__all__ = ["open_session"]

pytestmark = pytest.mark.usefixtures("project")


def text(words: str, *marks: str) -> dict[str, Any]:
    made: dict[str, Any] = {"type": "text", "text": words}
    return made | ({"marks": [{"type": mark} for mark in marks]} if marks else {})


RICH = {
    "type": "doc",
    "version": 1,
    "content": [
        {"type": "paragraph", "content": [text("a"), text("b"), text("c", "strong", "em")]},
        {
            "type": "table",
            "content": [
                {
                    "type": "tableRow",
                    "content": [
                        {
                            "type": "tableCell",
                            "attrs": {},
                            "content": [{"type": "paragraph", "content": [text("cell")]}],
                        }
                    ],
                }
            ],
        },
        {
            "type": "taskList",
            "attrs": {"localId": "1"},
            "content": [
                {
                    "type": "taskItem",
                    "attrs": {"localId": "2", "state": "TODO"},
                    "content": [text("do")],
                }
            ],
        },
    ],
}


def test_jiras_own_changes_of_a_description_are_none() -> None:
    read = normalise_adf(RICH)
    assert read != RICH
    assert not differs(RICH, read)
    for path, value in ((("content", 0, "content", 0, "text"), "x"), (("content", 1), text("y"))):
        changed: Any = copy.deepcopy(read)
        place = changed
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        assert differs(RICH, changed)
    assert differs(RICH, None)


@pytest.mark.parametrize(
    ("sent", "read", "is_other"),
    [
        ({"id": "3"}, {"id": "3", "name": "Medium"}, False),
        ({"id": "3"}, {"id": "2", "name": "High"}, True),
        ({"id": "5b10"}, {"accountId": "5b10", "displayName": "Ann"}, False),
        ({"id": "5b10"}, {"accountId": "5b11"}, True),
        (["b", "a", "a"], ["a", "b"], False),
        (["a"], ["a", "b"], True),
        (["a", "b"], ["a"], True),
        ([{"name": "Cart"}], [{"id": "7", "name": "Cart"}], False),
        ({"originalEstimate": "28h"}, {"originalEstimate": "3d 4h",
                                       "originalEstimateSeconds": 100_800}, False),
        ({"originalEstimate": "1h"}, {"originalEstimateSeconds": 60}, True),
        (3, 3.0, False),
        (3, 4.0, True),
        (12, [{"id": 12, "name": "Sprint"}], False),
        (" a ", "a", False),
        ("2026-12-24", None, True),
        ({"key": "SHOP-1"}, {"id": "1", "key": "SHOP-1"}, False),
    ],
)  # fmt: skip
def test_values_are_compared_past_what_jira_adds(sent: Any, read: Any, is_other: bool) -> None:
    assert differs(sent, read) is is_other


def delivered(open_session: Callable[..., Exporting], account: Account) -> Exporting:
    fields = {
        "priority": "High", "labels": ["a", "b"], "components": ["Cart"], "duedate": "2026-12-24",
        "assignee": account.email, "originalEstimate": "28h", "fixVersions": ["1.1", "1.0"],
        "storypoints": "3",
    }  # fmt: skip
    rich = TicketDraft("Rich", json.dumps(RICH), "a.md", 1, fields=json.dumps(fields))
    epic = TicketDraft("Epic", json.dumps(RICH), "a.md", 2, fields='{"issuetype":"Epic"}')
    child = TicketDraft("Child", json.dumps(RICH), "a.md", 3, parent=2)
    session = open_session([rich, epic, child, *(ticket(n) for n in range(4, 124))])
    assert isinstance(session.attempt(), Completed)
    return session


def test_what_was_delivered_is_read_back_as_it_was_sent(
    open_session: Callable[..., Exporting], jira: JiraStandIn, account: Account
) -> None:
    session = delivered(open_session, account)
    outcome = session.attempt()
    assert isinstance(outcome, Completed), outcome
    assert [name for name, *_ in jira.requests].count("bulkFetchIssues") >= 2


def test_differences_are_findings_and_a_retry_looks_again(
    open_session: Callable[..., Exporting], jira: JiraStandIn, account: Account
) -> None:
    session = delivered(open_session, account)
    issues = jira.site.issues
    before = {key: copy.deepcopy(issues[key].fields) for key in ("SHOP-1", "SHOP-3")}
    issues["SHOP-1"].fields |= {"summary": "Other", "labels": ["a"]}
    issues["SHOP-3"].fields["description"] = None
    gone = issues.pop("SHOP-9")
    outcome = session.attempt()
    assert isinstance(outcome, Failed)
    assert outcome.context["category"] == "user_fixable"
    found = {(finding.ticket, finding.reason.partition(" ")[0]) for finding in session.findings()}
    assert found == {(1, "summary"), (1, "labels"), (3, "description"), (9, "SHOP-9")}
    issues["SHOP-9"] = gone
    for key, fields in before.items():
        issues[key].fields = fields
    assert isinstance(session.retry().attempt(), Completed)


def test_doubled_issues_are_named_with_those_to_delete(
    open_session: Callable[..., Exporting], jira: JiraStandIn, account: Account, project: Project
) -> None:
    session = open_session([ticket(1), ticket(2)])
    session.attempt()
    second = jira.site.issues["SHOP-2"]
    update = {
        "fields": {"project": {"key": "SHOP"}, "issuetype": {"name": "Task"}, "summary": "Again"},
        "properties": [{"key": name, "value": value} for name, value in second.properties.items()],
    }
    jira.site.create(account, update)
    jira.site.index_delay_seconds = 0.0
    outcome = session.attempt()
    assert isinstance(outcome, Failed)
    (finding,) = session.findings()
    assert finding.ticket == 2
    assert finding.reason == "it has 2 issues: delete SHOP-3 in Jira, keep SHOP-2"
    del jira.site.issues["SHOP-3"]
    assert isinstance(session.retry().attempt(), Completed)
    assert project.last_number == 3
