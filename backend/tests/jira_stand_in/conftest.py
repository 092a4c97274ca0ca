"""A stand-in with a project and an account, and a client that signs in as it."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.jira_stand_in.server import JiraStandIn
from tests.jira_stand_in.site import Account, Project

TOKEN = "ATATT3xFfGF0-secret"


@pytest.fixture
def jira() -> Iterator[JiraStandIn]:
    with JiraStandIn() as stand_in:
        yield stand_in


@pytest.fixture
def project(jira: JiraStandIn) -> Project:
    return jira.site.add_project("SHOP", components=("Cart", "Search"), versions=("1.0", "1.1"))


@pytest.fixture
def account(jira: JiraStandIn) -> Account:
    return jira.site.add_account("Ann Other", token=TOKEN)


@pytest.fixture
def client(jira: JiraStandIn, account: Account) -> Iterator[httpx.Client]:
    with httpx.Client(
        base_url=jira.url + "/rest/api/3", auth=(account.email, TOKEN), timeout=10
    ) as made:
        yield made
