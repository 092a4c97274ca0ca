"""Delivery to Jira by the API and the dashboard: chosen, shown and linked as by the command."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from io import BytesIO

import httpx
import pytest
from chaos.waiting import until
from pydantic import SecretStr

from app.core.config import Settings
from app.engines.worker import Worker
from tests.jira.jira_export import issues_of, jira_export
from tests.jira_stand_in.misbehaving import Fault
from tests.jira_stand_in.server import JiraStandIn
from tests.jira_stand_in.site import Account
from tests.live_server import LiveServer

pytestmark = pytest.mark.usefixtures("project")

ROWS = ("documents", ("issues.csv", b"Summary,Priority\nFirst,High\nSecond,Low\n", "text/csv"))


@pytest.fixture
def server(
    jira: JiraStandIn, account: Account, settings: Settings, database_url: str
) -> Iterator[LiveServer]:
    """A server that delivers to the stand-in, and a worker beside it."""
    of_jira = {
        "jira_url": jira.url,
        "jira_email": account.email,
        "jira_token": SecretStr(account.token),
        "jira_index_seconds": 0.5,
    }
    with LiveServer(database_url, **of_jira) as running:
        worker_settings = settings.model_copy(update=of_jira)
        worker = Worker(running.database, worker_settings, concurrency=1, threads=True)
        worker.start()
        yield running
        worker.stop()
    assert jira.violations == []


def until_completed(client: httpx.Client, path: str) -> None:
    until(lambda: client.get(path).json()["stage"] == "completed", "the session completes", 300)


def test_the_api_delivers_and_shows_keys_and_links(server: LiveServer, jira: JiraStandIn) -> None:
    client = server.client(server.key())
    opened = client.post(
        "/api/v1/sessions", files=[ROWS], data={"to": "jira", "project_key": "SHOP"}
    )
    assert opened.status_code == 201, opened.text
    path = opened.headers["Location"]
    client.post(f"{path}/task")
    until_completed(client, path)
    tickets = client.get(f"{path}/tickets").json()["items"]
    assert [ticket["issue"] for ticket in tickets] == [
        {"key": f"SHOP-{n}", "url": f"{jira.url}/browse/SHOP-{n}"} for n in (1, 2)
    ]
    archive = zipfile.ZipFile(BytesIO(client.get(f"{path}/export.zip").content))
    names = {name.rpartition("/")[2] for name in archive.namelist()}
    assert names == {"import-001.json", "report.csv", "issues.csv", "README.txt"}


@pytest.mark.parametrize("count", [40, pytest.param(1_000, marks=pytest.mark.long)])
def test_the_api_delivers_an_export_of_jira_with_every_field(
    count: int, server: LiveServer, jira: JiraStandIn
) -> None:
    text, expected = jira_export(count)
    client = server.client(server.key())
    opened = client.post(
        "/api/v1/sessions",
        files=[("documents", ("export.csv", text.encode()))],
        data={"to": "jira", "project_key": "SHOP", "start": "true"},
    )
    until_completed(client, opened.headers["Location"])
    assert issues_of(jira.site) == expected


def test_a_retry_cannot_send_the_rest_elsewhere(server: LiveServer, jira: JiraStandIn) -> None:
    jira.misbehave(Fault(refused=frozenset((1,))))
    key = server.key()
    client = server.client(key)
    data = {"to": "jira", "project_key": "SHOP", "start": "true"}
    path = client.post("/api/v1/sessions", files=[ROWS], data=data).headers["Location"]
    until(lambda: client.get(f"{path}/task").json()["status"] == "failed", "Jira refuses one")
    browser = server.client(None, accept="text/html", origin=server.url)
    browser.post("/sign-in", data={"key": key})
    shown = browser.get(path.removeprefix("/api/v1")).text
    assert "1 issue of 2 created in Jira" in shown
    assert "Refused by Jira</span>" in shown
    assert "issues.csv</code>" not in shown, "there is no archive yet"
    assert "Tickets that are issues in Jira already are not sent again." in shown
    answer = client.post(f"{path}/task/retry", json={"to": None})
    assert answer.status_code == 409
    assert "has sent issues to jira" in answer.json()["detail"]
    assert client.post(f"{path}/task/retry").status_code == 202
    until_completed(client, path)
    assert sorted(jira.site.issues) == ["SHOP-1", "SHOP-2"]


def test_an_unknown_site_is_refused_with_its_option(server: LiveServer) -> None:
    answer = server.client(server.key()).post(
        "/api/v1/sessions", files=[ROWS], data={"to": "jira:none", "project_key": "SHOP"}
    )
    assert answer.status_code == 422
    assert "There is no Jira site named 'none'" in answer.text


def test_the_form_offers_the_site_and_the_page_links_the_issues(
    server: LiveServer, jira: JiraStandIn
) -> None:
    browser = server.client(None, accept="text/html", origin=server.url)
    key = server.key()
    assert browser.post("/sign-in", data={"key": key}).status_code == 303
    form = browser.get("/new").text
    assert f'<option value="jira">{jira.url}</option>' in form
    answer = browser.post(
        "/new",
        data={"to": "jira", "project_key": "SHOP", "auto_advance": "on", "start": "on"},
        files=[ROWS],
    )
    page = answer.headers["location"]
    until_completed(server.client(key), f"/api/v1{page}")
    shown = browser.get(page).text
    assert "2 issues created in Jira" in shown
    assert f"<dt>Create the issues in</dt><dd>{jira.url}</dd>" in shown
    assert f'<a href="{jira.url}/browse/SHOP-2" rel="noreferrer">SHOP-2</a>' in shown
    assert "import.sh" not in shown
    assert "Download what was sent</a>" in shown
    ticket = browser.get(f"{page}/tickets/1").text
    assert f'in Jira: <a href="{jira.url}/browse/SHOP-1"' in ticket


def test_a_form_without_a_site_offers_none(shared_database_url: str) -> None:
    with LiveServer(shared_database_url) as server:
        browser = server.client(None, accept="text/html", origin=server.url)
        browser.post("/sign-in", data={"key": server.key()})
        assert "Create the issues in" not in browser.get("/new").text
