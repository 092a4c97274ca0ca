"""`session-tasks jira check`, and `doctor`'s part of it."""

from __future__ import annotations

import json

import pytest

from app.cli.application import run_command
from app.cli.doctor import examine
from tests.jira_stand_in.misbehaving import Does, Fault, Says
from tests.jira_stand_in.server import JiraStandIn
from tests.jira_stand_in.site import RIGHTS, Account

pytestmark = pytest.mark.usefixtures("project", "configured")


def test_the_account_is_named(capsys: pytest.CaptureFixture[str], jira: JiraStandIn) -> None:
    assert run_command(["jira", "check"]) == 0
    assert f"{jira.url} · signed in as Ann Other" in capsys.readouterr().out


def test_a_project_is_described(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["jira", "check", "--project", "SHOP"]) == 0
    out = capsys.readouterr().out
    expected_words = (
        "✓ may create issues",
        "Sub-task",
        "(customfield_10016)",
        "Cart, Search",
        "1.0, 1.1",
    )
    for expected in expected_words:
        assert expected in out
    assert run_command(["jira", "check", "--project", "SHOP", "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert described["rights"]["CREATE_ISSUES"] is True
    epic = described["issue_types"][0]
    assert (epic["name"], epic["required"]) == ("Epic", ["Summary"])


def test_missing_rights_end_the_check_with_2(
    capsys: pytest.CaptureFixture[str], account: Account
) -> None:
    account.by_project["SHOP"] = RIGHTS - {"CREATE_ISSUES"}
    assert run_command(["jira", "check", "--project", "SHOP", "--json"]) == 2
    out, err = capsys.readouterr()
    assert json.loads(out)["exit_code"] == 2
    assert "Ann Other may not create issues in SHOP" in err


def test_an_unknown_project_is_a_matter_of_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["jira", "check", "--project", "NONE"]) == 2
    assert "There is no project NONE" in capsys.readouterr().err
    assert run_command(["jira", "check", "--project", "shop"]) == 2
    assert "Write it as SHOP" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["URL", "TOKEN"])
def test_a_missing_setting_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv(f"SESSION_TASKS_JIRA_{name}")
    assert run_command(["jira", "check"]) == 2
    assert f"SESSION_TASKS_JIRA_{name} is missing" in capsys.readouterr().err


def test_doctor_signs_in_to_each_site(
    jira: JiraStandIn, account: Account, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SESSION_TASKS_DATABASE_URL", database_url)
    found = {check.name: check for check in examine()}
    assert found["jira"].verdict.value == "ok"
    assert "signed in as Ann Other" in found["jira"].found
    account.token = "another"
    found = {check.name: check for check in examine()}
    assert (found["jira"].verdict.value, int(found["jira"].exit_code)) == ("failed", 2)
    assert "401" in found["jira"].found


def test_the_token_is_shown_nowhere(
    capsys: pytest.CaptureFixture[str], jira: JiraStandIn, account: Account
) -> None:
    for fault in (Fault("", Does.NOTHING, Says.STATUS, status=403), Fault("", says=Says.REDIRECT)):
        jira.misbehave(fault)
        assert run_command(["-vv", "jira", "check", "--json"]) == 2
    assert run_command(["jira", "check", "--project", "SHOP", "--json"]) == 0
    out, err = capsys.readouterr()
    assert account.token not in out + err
