"""Pages of administrators and viewers, as they look: usable at every width, and accessible."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from app.models.access import KeyRole
from tests.browser.conftest import Owner

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

NO_OVERFLOW = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (768, "light"), (1400, "light")])
def test_administrator_narrows_the_list_to_one_owner(  # noqa: PLR0913, PLR0917 - fixtures
    owner: Any,
    admin: Any,
    open_page: Callable[..., Page],
    check_accessible: Callable[[Page], None],
    width: int,
    scheme: str,
) -> None:
    session_id = owner.session("Somebody else's", to="failed")
    page = open_page(admin.dashboard.url, admin, path="/sessions", width=width, color_scheme=scheme)
    expect(page.locator(".owner-sign")).to_have_text("All owners")
    page.get_by_label("Owner", exact=True).focus()
    expect(page.locator(f'#owners option[value="{owner.name}"]')).to_be_attached()
    page.get_by_label("Owner", exact=True).fill(owner.name)
    page.get_by_role("button", name="Show").click()
    expect(page.locator(".owner-sign")).to_contain_text(owner.name)
    expect(page.locator("[data-row]")).to_have_count(1)
    expect(page.locator(f"#s-{session_id}")).to_contain_text(owner.name)
    assert page.evaluate(NO_OVERFLOW)
    check_accessible(page)
    page.get_by_role("link", name="Somebody else's").click()
    expect(page.get_by_text("What you do here is logged with your name.")).to_be_visible()
    assert page.evaluate(NO_OVERFLOW)
    check_accessible(page)
    page.goto(f"{admin.dashboard.url}/?owner={owner.name}")
    expect(page.locator(".owner-sign")).to_contain_text(owner.name)
    assert page.evaluate(NO_OVERFLOW)
    check_accessible(page)


def test_administrators_page_follows_another_owners_session(
    owner: Any, admin: Any, open_page: Callable[..., Page]
) -> None:
    page = open_page(admin.dashboard.url, admin, path=f"/sessions?owner={owner.name}")
    expect(page.locator("#live-word")).to_have_text("Live")
    session_id = owner.session("Comes later", to="waiting")
    expect(page.locator(f"#s-{session_id}")).to_be_visible()


def test_viewer_looks_and_finds_no_button(
    owner: Any, open_page: Callable[..., Page], check_accessible: Callable[[Page], None]
) -> None:
    session_id = owner.session("To be looked at", to="failed")
    viewer = Owner(owner.dashboard, KeyRole.VIEWER, owner.name)
    page = open_page(viewer.dashboard.url, viewer, path="/sessions", width=360)
    for path in ("/sessions", "/", f"/sessions/{session_id}"):
        page.goto(viewer.dashboard.url + path)
        expect(page.get_by_text("viewer: read only")).to_be_visible()
        expect(page.get_by_role("button", name="Retry")).to_have_count(0)
        expect(page.get_by_role("link", name="New session")).to_have_count(0)
        assert page.evaluate(NO_OVERFLOW)
        check_accessible(page)
    page.goto(f"{viewer.dashboard.url}/new")
    expect(page.get_by_text("A key with the role viewer may look")).to_be_visible()
