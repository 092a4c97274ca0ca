"""Our side of the conversation with Jira: retries, rate limits, errors."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from app.core.errors import ErrorCategory
from app.tasks.jira.client import JiraClient
from app.tasks.jira.errors import JiraDenied, JiraRefused, JiraUnavailable, OutcomeUnknown
from app.tasks.jira.sites import JiraSite
from app.tasks.jira.waiting import requested_wait
from tests.jira.conftest import Connect
from tests.jira_stand_in.misbehaving import Does, Fault, Says
from tests.jira_stand_in.server import JiraStandIn
from tests.jira_stand_in.site import RIGHTS, Account, Project

pytestmark = pytest.mark.usefixtures("project")


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 that no machine trusts, with its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not here")
    arguments = (
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=loopback "
        "-addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out certificate.pem"
    )
    subprocess.run(["openssl", *arguments.split()], cwd=tmp_path, check=True, capture_output=True)
    return tmp_path / "certificate.pem"


def bulk(count: int = 2, **fields: Any) -> bytes:
    given = {"project": {"key": "SHOP"}, "issuetype": {"name": "Task"}, "summary": "A task"}
    return json.dumps({"issueUpdates": [{"fields": given | fields}] * count}).encode()


def test_everything_it_asks_keeps_to_the_contract(
    jira: JiraStandIn, connect: Connect, account: Account, project: Project
) -> None:
    client = connect()
    assert client.myself()["accountId"] == account.account_id
    assert client.server_info()["baseUrl"] == jira.url
    assert client.permissions("SHOP", ["CREATE_ISSUES"]) == {"CREATE_ISSUES": True}
    assert [each["name"] for each in client.components("SHOP")] == ["Cart", "Search"]
    assert [each["name"] for each in client.versions("SHOP")] == ["1.0", "1.1"]
    assert len(client.issue_types("SHOP")) == 5
    fields = client.screen("SHOP", project.issue_type("Bug").id)
    assert "summary" in {each["fieldId"] for each in fields}
    users = client.assignable_users("SHOP", query="ann")
    assert users == client.assignable_users("SHOP", accountId=account.account_id)
    created = client.create(bulk())
    assert [issue["key"] for issue in created["issues"]] == ["SHOP-1", "SHOP-2"]
    found = list(client.search("project = SHOP", fields=["summary"], properties=[]))
    assert found == client.fetch(["SHOP-1", "SHOP-2"], fields=["summary"], properties=[])
    assert jira.violations == []


def test_createmeta_and_search_are_read_to_the_last_page(
    jira: JiraStandIn, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.tasks.jira.client.ITEMS_PER_PAGE", 2)
    client = connect()
    assert len(client.issue_types("SHOP")) == 5
    for _batch in range(3):
        client.create(bulk(50))
    found = client.search("project = SHOP", fields=["summary"], properties=[])
    assert len({issue["key"] for issue in found}) == 150
    assert [name for name, *_ in jira.requests].count("searchAndReconsileIssuesUsingJqlPost") == 2


def test_a_bearer_token_is_sent_where_no_email_is_set(
    jira: JiraStandIn, connect: Connect, site: JiraSite
) -> None:
    connect(replace(site, email=None)).myself()
    assert jira.requests[-1][2].startswith("Bearer ")


@pytest.mark.parametrize(
    "fault",
    [
        Fault("", Does.NOTHING, Says.STATUS, status=503),
        Fault("", Does.NOTHING, Says.STATUS, status=500),
        Fault("", Does.NOTHING, Says.HTML),
        Fault("", says=Says.HALF),
        Fault("", says=Says.NOTHING),
    ],
    ids=lambda fault: f"{fault.says.name}-{fault.status}",
)
def test_reading_is_repeated_until_it_succeeds(
    jira: JiraStandIn, connect: Connect, waits: list[tuple[float, str]], fault: Fault
) -> None:
    jira.misbehave(fault, fault)
    assert connect().myself()["displayName"] == "Ann Other"
    assert len(waits) == 2
    assert waits[0][0] < waits[1][0]


def test_reading_gives_up_when_patience_is_at_its_end(jira: JiraStandIn, connect: Connect) -> None:
    jira.choose_fault = lambda _operation: Fault(does=Does.NOTHING, says=Says.STATUS, status=502)
    began_at = time.monotonic()
    with pytest.raises(JiraUnavailable, match="502 Bad Gateway") as unavailable:
        connect(patience_seconds=0.2).myself()
    assert unavailable.value.category is ErrorCategory.TEMPORARY
    assert time.monotonic() - began_at < 5


def test_a_site_that_cannot_be_reached_is_temporary(connect: Connect, site: JiraSite) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        gone = replace(site, url=f"http://127.0.0.1:{closed.getsockname()[1]}")
    client = connect(gone, patience_seconds=0.05)
    for act in (client.myself, lambda: client.create(bulk())):
        with pytest.raises(JiraUnavailable, match="cannot be reached") as unavailable:
            act()
        assert not isinstance(unavailable.value, OutcomeUnknown)
        assert unavailable.value.category is ErrorCategory.TEMPORARY


@pytest.mark.parametrize("operation", ["getCurrentUser", "createIssues"])
def test_429_is_obeyed_for_as_long_as_it_says(
    jira: JiraStandIn, connect: Connect, waits: list[tuple[float, str]], operation: str
) -> None:
    sent_away = Fault(operation, Does.NOTHING, Says.STATUS, status=429, retry_after="7")
    jira.misbehave(sent_away, replace(sent_away, retry_after="11"))
    client = connect()
    if operation == "createIssues":
        client.create(bulk())
    else:
        client.myself()
    assert [round(seconds) for seconds, _reason in waits] == [7, 11]
    assert len(jira.site.issues) == (2 if operation == "createIssues" else 0)


def test_429_without_a_time_backs_off(
    jira: JiraStandIn, connect: Connect, waits: list[tuple[float, str]]
) -> None:
    sent_away = Fault("", Does.NOTHING, Says.STATUS, status=429)
    jira.misbehave(sent_away, sent_away, sent_away)
    connect().myself()
    assert len(waits) == 3


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "30"}, 30),
        ({"Retry-After": "1.5"}, 1.5),
        (
            {
                "Retry-After": "Fri, 28 Nov 2025 12:00:40 GMT",
                "Date": "Fri, 28 Nov 2025 12:00:00 GMT",
            },
            40,
        ),
        (
            {"X-RateLimit-Reset": "2025-11-28T12:02Z", "Date": "Fri, 28 Nov 2025 12:00:30 GMT"},
            90,
        ),
        ({"Retry-After": "-5"}, 0),
        ({"Retry-After": "1000000"}, 7200),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "soon"}, None),
        ({}, None),
    ],
)
def test_waits_are_read_from_the_headers(headers: dict[str, str], seconds: float | None) -> None:
    assert requested_wait(headers) == seconds


@pytest.mark.parametrize(
    "fault",
    [
        Fault(says=Says.HALF),
        Fault(says=Says.NOTHING),
        Fault(says=Says.STATUS, status=504),
        Fault(says=Says.STATUS, status=503, retry_after="3"),
        Fault(says=Says.HTML),
        Fault(does=Does.SOME, count=1, says=Says.NOTHING),
        Fault(does=Does.NOTHING, says=Says.NOTHING),
        Fault(seconds_after=30),
    ],
    ids=lambda fault: f"{fault.does.name}-{fault.says.name}-{fault.status}",
)
def test_issues_are_not_sent_again_where_they_may_have_been_created(
    jira: JiraStandIn, connect: Connect, fault: Fault
) -> None:
    jira.misbehave(fault)
    with pytest.raises(OutcomeUnknown) as unknown:
        connect(timeout_seconds=0.5).create(bulk())
    assert [name for name, *_ in jira.requests] == ["createIssues"]
    if fault.retry_after:
        assert unknown.value.wait_seconds == 3


def test_partial_success_is_handed_on(jira: JiraStandIn, connect: Connect) -> None:
    jira.misbehave(Fault(refused=frozenset({0})))
    answer = connect().create(bulk())
    assert (len(answer["issues"]), answer["errors"][0]["failedElementNumber"]) == (1, 0)
    assert connect().create(bulk(labels=["a b"]))["issues"] == []
    assert len(jira.site.issues) == 1


@pytest.mark.parametrize("operation", ["getCurrentUser", "createIssues"])
@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_account_is_for_an_operator(
    jira: JiraStandIn, connect: Connect, operation: str, status: int
) -> None:
    jira.misbehave(Fault(operation, Does.NOTHING, Says.STATUS, status=status))
    client = connect()
    with pytest.raises(JiraDenied, match=str(status)) as denied:
        client.create(bulk()) if operation == "createIssues" else client.myself()
    assert denied.value.category is ErrorCategory.ADMIN_REQUIRED
    assert "account's rights" in denied.value.next_step


def test_a_token_that_was_revoked_is_told(
    jira: JiraStandIn, connect: Connect, account: Account
) -> None:
    client = connect()
    client.myself()
    account.token = ""
    with pytest.raises(JiraDenied):
        client.create(bulk())


@pytest.mark.parametrize("operation", ["getCurrentUser", "createIssues"])
def test_no_redirect_is_followed(jira: JiraStandIn, connect: Connect, operation: str) -> None:
    with JiraStandIn() as elsewhere:
        jira.misbehave(
            Fault(
                operation,
                Does.NOTHING,
                Says.REDIRECT,
                location=elsewhere.url + "/rest/api/3/myself",
            )
        )
        client = connect()
        with pytest.raises(JiraDenied, match="redirects"):
            client.create(bulk()) if operation == "createIssues" else client.myself()
        assert elsewhere.requests == []


def test_an_address_that_is_no_jira_is_told(connect: Connect, site: JiraSite) -> None:
    with pytest.raises(JiraRefused, match="No such resource") as misled:
        connect(replace(site, url=site.url + "/wiki")).myself()
    assert "check the site's address" in misled.value.next_step


def test_an_unknown_project_is_the_persons_to_mend(connect: Connect, account: Account) -> None:
    with pytest.raises(JiraRefused, match="NONE") as refused:
        connect().permissions("NONE", ["CREATE_ISSUES"])
    assert refused.value.category is ErrorCategory.USER_FIXABLE
    account.by_project["SHOP"] = RIGHTS - {"BROWSE_PROJECTS"}
    with pytest.raises(JiraRefused):
        connect().permissions("SHOP", ["CREATE_ISSUES"])


def test_the_token_is_in_no_error(jira: JiraStandIn, connect: Connect, account: Account) -> None:
    jira.misbehave(Fault("", Does.NOTHING, Says.STATUS, status=401), Fault(says=Says.HALF))
    client = connect()
    for act in (client.myself, lambda: client.create(bulk())):
        with pytest.raises((JiraDenied, OutcomeUnknown)) as error:
            act()
        chain: BaseException | None = error.value
        while chain is not None:
            assert account.token not in f"{chain!r} {vars(chain)}"
            chain = chain.__cause__ or chain.__context__


def test_proxies_and_certificates_come_from_the_environment(
    connect: Connect, account: Account, monkeypatch: pytest.MonkeyPatch, certificate: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    with JiraStandIn(tls=context) as secured:
        secured.site.accounts.append(account)
        at = JiraSite("jira", secured.url, account.email, SecretStr(account.token))
        for act in (JiraClient.myself, lambda client: client.create(bulk())):
            with pytest.raises(JiraDenied, match="certificate that is not trusted") as refused:
                act(JiraClient(at))
            assert "SSL_CERT_FILE" in refused.value.next_step
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert connect(at).myself()["displayName"] == "Ann Other"
    monkeypatch.setenv("HTTP_PROXY", secured.url.replace("//", "//name:secret@"))
    with pytest.raises(JiraUnavailable, match=r"cannot be reached through the proxy 127\.0\.0\.1:"):
        connect(patience_seconds=0.01).myself()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert connect().myself()["displayName"] == "Ann Other"
