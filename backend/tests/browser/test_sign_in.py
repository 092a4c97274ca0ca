"""A browser is let in with a key, by the form or by the link; nobody else's page acts with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import CHROMIUM_OPTIONS, chromium_program
from tests.live_server import LiveServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Browser, Page


@pytest.mark.parametrize("scripts", [True, False])
def test_sign_in_leads_to_the_page_that_was_wanted(
    owner: Any, open_page: Callable[..., Page], scripts: bool
) -> None:
    page = open_page(
        owner.dashboard.url, path="/sessions?status=failed", java_script_enabled=scripts
    )
    expect(page).to_have_title("Sign in · Session Tasks")
    page.get_by_label("Key", exact=True).fill("st_nobody.nothing")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("This key is not valid")).to_be_visible()
    page.get_by_label("Key", exact=True).fill(owner.key)
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{owner.dashboard.url}/sessions?status=failed")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_text("Signed out")).to_be_visible()
    page.goto(f"{owner.dashboard.url}/")
    expect(page).to_have_title("Sign in · Session Tasks")


def test_link_of_serve_leads_to_the_overview_and_leaves_no_key_in_the_address(
    owner: Any, open_page: Callable[..., Page]
) -> None:
    page = open_page(owner.dashboard.url, path=f"/login?key={owner.key}")
    expect(page).to_have_url(f"{owner.dashboard.url}/")
    (cookie,) = page.context.cookies()
    assert cookie["name"] == owner.cookie[0]
    assert cookie["value"] != owner.cookie[1]
    assert owner.key not in cookie["value"]
    assert cookie["httpOnly"]
    assert cookie["sameSite"] in {"Lax", "Strict"}


@pytest.mark.parametrize("then", ["https://evil.example/", "//evil.example", "/\\evil.example"])
def test_nobody_is_led_to_another_server(owner: Any, then: str) -> None:
    with owner.client(Origin=owner.dashboard.url) as client:
        answer = client.post("/sign-in", data={"key": owner.key, "then": then})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")


@pytest.mark.parametrize(
    "forged",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {},
    ],
)
def test_page_of_another_origin_can_do_nothing(owner: Any, forged: dict[str, str]) -> None:
    session_id = owner.session("Mine", to="failed")
    group = {
        "task_type": "processing",
        "error": "DocumentError",
        "message": "Row … of … has … columns",
        "confirmed": "true",
    }
    many = {"act": "retry", "all": "yes", "confirmed": "true"}
    with owner.client(**forged) as client:
        for path, form in (("/failures/retry", group), ("/sessions/act", many), ("/sign-out", {})):
            answer = client.post(path, data=form)
            assert answer.status_code == 403, path
            assert "Set-Cookie" not in answer.headers
            assert "text/html" in answer.headers["Content-Type"]
    assert owner.act(lambda s: s.get(session_id)).task.status.value == "failed"


def test_sign_in_page_is_accessible(
    owner: Any, open_page: Callable[..., Page], check_accessible: Callable[[Page], None]
) -> None:
    for scheme in ("light", "dark"):
        check_accessible(open_page(owner.dashboard.url, color_scheme=scheme))


def test_forms_work_on_plain_http_where_browsers_say_only_the_origin(
    browser: Browser, database_url: str
) -> None:
    """Chromium sends no `Sec-Fetch-Site` to other hosts than loopback without https."""
    with LiveServer(database_url, allowed_hosts="tasks.example") as server:
        named = browser.browser_type.launch(
            executable_path=chromium_program(),
            args=[*CHROMIUM_OPTIONS, "--host-resolver-rules=MAP tasks.example 127.0.0.1"],
        )
        page = named.new_page()
        url = f"http://tasks.example:{server.server.port}"
        page.goto(f"{url}/login?key={server.key('ada')}")
        expect(page.get_by_role("heading", name="Sign in as ada?")).to_be_visible()
        page.get_by_role("button", name="Sign in as ada").click()
        expect(page).to_have_url(f"{url}/")
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_text("Signed out")).to_be_visible()
        named.close()


def test_link_of_another_site_asks_before_it_signs_in(
    owner: Any, open_page: Callable[..., Page], check_accessible: Callable[[Page], None]
) -> None:
    page = open_page(owner.dashboard.url, path="/sign-in")
    other = owner.dashboard.url.replace("127.0.0.1", "localhost")
    page.goto(f"{other}/sign-in")
    page.evaluate(f"location.href = '{owner.dashboard.url}/login?key={owner.key}'")
    expect(page.get_by_role("heading", name=f"Sign in as {owner.name}?")).to_be_visible()
    assert page.context.cookies() == []
    check_accessible(page)
    page.get_by_role("link", name="Do not sign in").click()
    expect(page).to_have_title("Sign in · Session Tasks")
    page.go_back()
    page.get_by_role("button", name=f"Sign in as {owner.name}").click()
    expect(page).to_have_url(f"{owner.dashboard.url}/")
