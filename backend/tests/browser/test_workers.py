"""The page of workers: true, usable with a keyboard and at any width, and for administrators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from app.models.access import KeyRole
from app.repositories.session_repository import SessionRepository
from tests.live_server import LiveServer
from tests.worker_rows import add_worker, let_it_wait

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page


@pytest.mark.parametrize("width", [360, 768, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_workers_are_shown_at_every_width_and_in_either_theme(
    open_page: Callable[..., Page],
    admin: Any,
    check_accessible: Callable[[Page], None],
    width: int,
    scheme: str,
) -> None:
    database = admin.dashboard.database
    idle, busy = add_worker(database), add_worker(database, host="beta" * 10, concurrency=1)
    session_id = admin.session("Held", to="waiting")
    with database.transaction() as db:
        sessions = SessionRepository(db)
        task_id = sessions.get(session_id).task.task_id
        assert sessions.claim_task(session_id, task_id, busy) is not None
    page = open_page(admin.dashboard.url, admin, path="/workers", width=width, color_scheme=scheme)
    row = page.locator(f"#worker-{busy.hex[:8]}")
    expect(row).to_contain_text("Busy")
    expect(row).to_contain_text("Processing")
    expect(row.get_by_role("link", name=session_id.hex[:8])).to_be_visible()
    expect(page.locator(f"#worker-{idle.hex[:8]}")).to_contain_text("Idle")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    check_accessible(page)


def test_a_worker_is_drained_after_its_consequences_were_read(
    open_page: Callable[..., Page], admin: Any, check_accessible: Callable[[Page], None]
) -> None:
    worker_id = add_worker(admin.dashboard.database)
    page = open_page(admin.dashboard.url, admin)
    page.get_by_role("navigation").get_by_role("link", name="Workers").click()
    row = page.locator(f"#worker-{worker_id.hex[:8]}")
    row.get_by_text("Drain…").click()
    expect(row).to_contain_text("claims no more tasks")
    check_accessible(page)
    row.get_by_role("button", name="Drain worker").click()
    expect(page.get_by_role("status")).to_contain_text("exits once its tasks have ended")
    expect(page.locator(f"#worker-{worker_id.hex[:8]}")).to_contain_text("Draining")
    expect(page.locator(f"#worker-{worker_id.hex[:8]}").get_by_text("Drain…")).to_have_count(0)


def test_claims_are_paused_and_resumed_and_every_page_says_so(
    database_url: str,
    open_page: Callable[..., Page],
    admin: Any,
    check_accessible: Callable[[Page], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with LiveServer(database_url) as server:  # what is paused is paused for everybody
        monkeypatch.setattr(admin, "dashboard", server)
        monkeypatch.setattr(admin, "key", server.key(admin.name, KeyRole.ADMIN))
        add_worker(server.database)
        session_id = admin.session("Waits", to="waiting")
        let_it_wait(server.database, session_id)
        page = open_page(server.url, admin, path="/workers")
        page.get_by_role("button", name="Pause processing").click()
        expect(page.get_by_role("status")).to_contain_text("Paused: Processing")
        expect(page.locator("#claims-processing")).to_contain_text(f"by {admin.name}")
        check_accessible(page)
        page.goto(server.url)
        expect(page.locator("#paused")).to_contain_text("Claims of processing are paused")
        expect(page.locator("#content")).not_to_contain_text("No action is needed")
        check_accessible(page)
        page.goto(f"{server.url}/sessions/{session_id}")
        expect(page.locator("#headline")).to_contain_text("claims of processing are paused")
        page.goto(f"{server.url}/workers")
        page.get_by_role("button", name="Resume all").click()
        expect(page.get_by_role("status")).to_contain_text("Resumed")
        expect(page.get_by_role("button", name="Resume all")).to_have_count(0)
        page.goto("about:blank")
