"""Access to pages, signing in, and protection of forms against other origins."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from app.web.static_files import address_of
from tests.live_server import LiveServer
from tests.web.conftest import HTML

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx


@pytest.fixture
def browser(server: LiveServer) -> httpx.Client:
    return server.client(None, accept=HTML, origin=server.url)


def test_whoever_has_no_key_is_led_to_the_sign_in_page_and_from_there_back(
    server: LiveServer, browser: httpx.Client
) -> None:
    refused = browser.get("/sessions", params={"status": "failed"})
    assert refused.status_code == 303
    assert refused.headers["location"] == "/sign-in?then=%2Fsessions%3Fstatus%3Dfailed"
    form = browser.get(refused.headers["location"])
    assert 'value="/sessions?status=failed"' in form.text
    answer = browser.post("/sign-in", data={"key": server.key(), "then": "/sessions?status=failed"})
    assert answer.headers["location"] == "/sessions?status=failed"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert browser.get("/sessions").status_code == 200


def test_a_key_that_is_not_valid_is_refused_in_the_form(browser: httpx.Client) -> None:
    answer = browser.post("/sign-in", data={"key": "st_0123456789abcdef.nothing"})
    assert answer.status_code == 401
    assert "This key is not valid" in answer.text
    assert "set-cookie" not in answer.headers
    assert browser.get("/sessions").status_code == 303


@pytest.mark.parametrize(
    "then", ["https://elsewhere.example/", "//elsewhere.example", "/\\elsewhere.example", "\n/x"]
)
def test_signing_in_leads_nowhere_but_here(
    server: LiveServer, browser: httpx.Client, then: str
) -> None:
    answer = browser.post("/sign-in", data={"key": server.key(), "then": then})
    assert answer.headers["location"] == "/"


def test_signing_out_forgets_the_key(sign_in: Callable[[str], httpx.Client]) -> None:
    browser = sign_in(f"owner-{uuid.uuid4()}")
    assert browser.post("/sign-out").headers["location"] == "/sign-in"
    assert browser.get("/sessions").status_code == 303


@pytest.mark.parametrize("headers", [{"origin": "https://elsewhere.example"}, {"origin": "null"}])
@pytest.mark.parametrize("path", ["/sign-in", "/sign-out", "/sessions/act"])
def test_a_form_of_another_origin_does_nothing(
    sign_in: Callable[[str], httpx.Client], path: str, headers: dict[str, str]
) -> None:
    browser = sign_in(f"owner-{uuid.uuid4()}")
    answer = browser.post(path, data={"act": "cancel", "confirmed": "true"}, headers=headers)
    assert answer.status_code == 403
    assert "another origin" in answer.text
    assert browser.get("/sessions").status_code == 200


def test_guesses_at_a_key_are_counted(shared_database_url: str) -> None:
    with LiveServer(shared_database_url, refusals_per_minute=3) as server:
        browser = server.client(None, accept=HTML, origin=server.url)
        answers = [browser.post("/sign-in", data={"key": "st_x.y"}) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 429, 429]


def test_errors_are_pages_for_browsers_and_problems_for_programs(
    sign_in: Callable[[str], httpx.Client],
) -> None:
    browser = sign_in(f"owner-{uuid.uuid4()}")
    page = browser.get("/nothing-here")
    assert page.status_code == 404
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'; script-src 'self'" in page.headers["content-security-policy"]
    assert page.headers["trace-id"] in page.text
    told = browser.get("/nothing-here", headers={"accept": "application/json"})
    assert told.headers["content-type"] == "application/problem+json"
    assert browser.get("/api/v1/nothing").headers["content-type"] == "application/problem+json"


def test_files_are_open_and_kept_for_ever_under_the_address_that_pages_name(
    browser: httpx.Client,
) -> None:
    answer = browser.get(address_of("dashboard.css"))
    assert answer.status_code == 200
    assert "immutable" in answer.headers["cache-control"]
    assert "immutable" not in browser.get("/static/dashboard.css").headers["cache-control"]
    assert browser.get("/static/../request_guard.py").status_code in {303, 404}
    assert browser.get("/static/%2e%2e/page.py").status_code == 404
