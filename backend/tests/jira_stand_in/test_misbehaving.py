"""Each way in which the stand-in goes wrong on demand."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest

from tests.jira_stand_in.misbehaving import Does, Fault, Says
from tests.jira_stand_in.server import JiraStandIn

pytestmark = pytest.mark.usefixtures("project")


def bulk(client: httpx.Client, count: int = 3, **more: Any) -> httpx.Response:
    fields = {"project": {"key": "SHOP"}, "issuetype": {"name": "Task"}, "summary": "A task"}
    return client.post("/issue/bulk", json={"issueUpdates": [{"fields": fields}] * count}, **more)


@pytest.mark.parametrize("says", [Says.NOTHING, Says.HALF])
@pytest.mark.parametrize(
    ("does", "made"), [(Does.ALL, 3), (Does.SOME, 2), (Does.NOTHING, 0)], ids=str
)
def test_connections_break_before_in_the_middle_and_after_the_work(
    jira: JiraStandIn, client: httpx.Client, says: Says, does: Does, made: int
) -> None:
    jira.misbehave(Fault(does=does, says=says, count=2))
    if does is Does.NOTHING and says is Says.HALF:
        assert bulk(client).content == b""
    else:
        with pytest.raises(httpx.RemoteProtocolError):
            bulk(client)
    assert len(jira.site.issues) == made
    assert bulk(client).status_code == 201


def test_answers_come_too_late_before_and_after_the_work(
    jira: JiraStandIn, client: httpx.Client
) -> None:
    jira.misbehave(Fault(seconds_after=5), Fault(does=Does.NOTHING, seconds_before=5))
    with pytest.raises(httpx.ReadTimeout):
        bulk(client, timeout=0.3)
    assert len(jira.site.issues) == 3
    with pytest.raises(httpx.ReadTimeout):
        bulk(client, timeout=0.3)
    assert len(jira.site.issues) == 3


def test_work_can_go_on_after_the_connection_is_gone(
    jira: JiraStandIn, client: httpx.Client
) -> None:
    jira.misbehave(Fault(does=Does.LATER, says=Says.NOTHING, seconds_after=0.2))
    with pytest.raises(httpx.RemoteProtocolError):
        bulk(client)
    assert len(jira.site.issues) == 0
    deadline = time.monotonic() + 10
    while len(jira.site.issues) < 3:
        assert time.monotonic() < deadline


@pytest.mark.parametrize("status", [429, 500, 503])
def test_error_statuses_say_when_to_come_back(
    jira: JiraStandIn, client: httpx.Client, status: int
) -> None:
    jira.misbehave(Fault(does=Does.NOTHING, says=Says.STATUS, status=status, retry_after="7"))
    response = bulk(client)
    assert (response.status_code, response.headers["Retry-After"]) == (status, "7")
    assert "X-RateLimit-Reset" in response.headers
    assert jira.site.issues == {}


def test_a_page_for_people_comes_in_place_of_json(jira: JiraStandIn, client: httpx.Client) -> None:
    jira.misbehave(Fault(does=Does.NOTHING, says=Says.HTML))
    response = bulk(client)
    assert (response.status_code, response.headers["Content-Type"]) == (200, "text/html")


def test_a_redirect_leads_elsewhere(jira: JiraStandIn, client: httpx.Client) -> None:
    jira.misbehave(Fault("", Does.NOTHING, Says.REDIRECT, location="http://elsewhere.example/"))
    response = client.get("/myself")
    assert (response.status_code, response.headers["Location"]) == (
        302,
        "http://elsewhere.example/",
    )


def test_issues_are_refused_by_position(jira: JiraStandIn, client: httpx.Client) -> None:
    jira.misbehave(Fault(refused=frozenset({1})))
    response = bulk(client).json()
    assert [issue["key"] for issue in response["issues"]] == ["SHOP-1", "SHOP-2"]
    assert response["errors"][0]["failedElementNumber"] == 1


def test_an_answer_leaves_out_an_issue_that_was_made(
    jira: JiraStandIn, client: httpx.Client
) -> None:
    jira.misbehave(Fault(says=Says.FEWER))
    assert len(bulk(client).json()["issues"]) == 2
    assert len(jira.site.issues) == 3


def test_more_requests_than_the_limit_are_sent_away(
    jira: JiraStandIn, client: httpx.Client
) -> None:
    jira.requests_per_second = 3
    statuses = [client.get("/myself").status_code for _ in range(5)]
    assert statuses[:3] == [200, 200, 200]
    assert 429 in statuses[3:]


def test_a_field_that_left_the_screen_is_refused(jira: JiraStandIn, client: httpx.Client) -> None:
    for issue_type in jira.site.projects[0].issue_types:
        del issue_type.screen["labels"]
    fields = {
        "project": {"key": "SHOP"},
        "issuetype": {"name": "Task"},
        "summary": "A task",
        "labels": ["a"],
    }
    response = client.post("/issue/bulk", json={"issueUpdates": [{"fields": fields}]})
    assert "labels" in response.json()["errors"][0]["elementErrors"]["errors"]


def test_faults_are_chosen_by_operation(jira: JiraStandIn, client: httpx.Client) -> None:
    jira.choose_fault = lambda operation: (
        Fault(says=Says.STATUS, does=Does.NOTHING, status=500) if operation == "getField" else None
    )
    jira.misbehave(Fault("getCurrentUser", Does.NOTHING, Says.STATUS, status=502))
    assert client.get("/serverInfo").status_code == 200
    assert client.get("/myself").status_code == 502
    assert client.get("/myself").status_code == 200
