"""A stand-in for Jira, and clients of ours that sign in to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from app.tasks.jira.client import JiraClient
from app.tasks.jira.sites import JiraSite
from tests.jira_stand_in.conftest import account, jira, project
from tests.jira_stand_in.server import JiraStandIn
from tests.jira_stand_in.site import Account

__all__ = ["account", "jira", "project"]

Connect = Callable[..., JiraClient]


@pytest.fixture
def site(jira: JiraStandIn, account: Account) -> JiraSite:
    return JiraSite("jira", jira.url, account.email, SecretStr(account.token))


@pytest.fixture
def waits() -> list[tuple[float, str]]:
    """The pauses that clients of `connect` made, which take no time."""
    return []


@pytest.fixture
def connect(site: JiraSite, waits: list[tuple[float, str]]) -> Iterator[Connect]:
    """Make clients that note each pause in `waits` and then wait a hundredth of it."""
    opened: list[JiraClient] = []

    def wait(seconds: float, reason: str) -> None:
        waits.append((seconds, reason))
        time.sleep(seconds / 100)

    def make(at: JiraSite = site, **more: Any) -> JiraClient:
        opened.append(JiraClient(at, wait=wait, **({"timeout_seconds": 5.0} | more)))
        return opened[-1]

    yield make
    for client in opened:
        client.__exit__()


@pytest.fixture
def configured(jira: JiraStandIn, account: Account, monkeypatch: pytest.MonkeyPatch) -> JiraStandIn:
    """The stand-in as the site that the environment names."""
    monkeypatch.setenv("SESSION_TASKS_JIRA_URL", jira.url)
    monkeypatch.setenv("SESSION_TASKS_JIRA_EMAIL", account.email)
    monkeypatch.setenv("SESSION_TASKS_JIRA_TOKEN", account.token)
    return jira
