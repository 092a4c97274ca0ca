"""The list of sessions: filters that stay, acts on many with their count said first."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect
from sqlalchemy import text

from app.values.results import TaskResults, TicketDraft

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page


@pytest.mark.parametrize("scripts", [True, False])
def test_selected_sessions_are_cancelled_and_the_filters_stay(
    owner: Any, look: Callable[..., Page], scripts: bool
) -> None:
    running = [owner.session(f"Import {number}", to="waiting") for number in range(3)]
    owner.session("Release", to="waiting")
    page = look("/sessions", java_script_enabled=scripts)
    page.get_by_label("Search").fill("import")
    page.get_by_label("Status").select_option("running")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("tbody tr")).to_have_count(3)
    page.get_by_label("Select Import 0").check()
    page.get_by_label("Select Import 2").check()
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("button", name="Cancel 2 sessions").click()
    expect(page.get_by_text("Cancelled 2 sessions.")).to_be_visible()
    expect(page.locator("tbody tr")).to_have_count(1)
    assert "q=import" in page.url
    assert "status=running" in page.url
    states = [owner.act(lambda s, i=i: s.get(i)).task.status.value for i in running]
    assert states == ["cancelled", "running", "cancelled"]


def test_all_that_match_are_retried_over_more_than_one_page(
    owner: Any, look: Callable[..., Page]
) -> None:
    for number in range(27):
        owner.session(f"Import {number}", to="cancelled")
    kept = owner.session("Release", to="cancelled")
    page = look("/sessions?q=import")
    expect(page.locator("tbody tr")).to_have_count(25)
    page.get_by_role("link", name="Older").click()
    expect(page.locator("tbody tr")).to_have_count(2)
    page.get_by_role("button", name="Retry all").click()
    page.get_by_role("button", name="Retry 27 sessions").click()
    expect(page.get_by_text("Retried 27 sessions.")).to_be_visible()
    assert owner.act(lambda s: s.get(kept)).task.status.value == "cancelled"


def test_time_left_is_told_from_past_runs(owner: Any, look: Callable[..., Page]) -> None:
    for number in range(5):
        owner.session(f"Past {number}", to="completed")
    with owner.dashboard.database.transaction() as db:
        db.execute(
            text("UPDATE sessions SET processing_ran_seconds = 500 WHERE owner = :owner"),
            {"owner": owner.name},
        )
    session_id = owner.session("Now", to="running")
    page = look("/sessions")
    expect(page.locator(f"#s-{session_id}")).to_contain_text("left")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_list_is_accessible_and_fits_a_telephone(
    owner: Any, look: Callable[..., Page], check_accessible: Callable[[Page], None], scheme: str
) -> None:
    for state in ("created", "waiting", "running", "completed", "failed", "cancelled"):
        owner.session(f"A session that is {state} and has a rather long label", to=state)
    for width in (360, 1280):
        page = look("/sessions", color_scheme=scheme, width=width)
        expect(page.locator("tbody tr")).to_have_count(6)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        check_accessible(page)
    check_accessible(look("/sessions?q=nothing-like-it", color_scheme=scheme))
    check_accessible(look("/no-such-page", color_scheme=scheme))


def test_list_is_shown_while_the_leases_are_lost(owner: Any) -> None:
    """A crash of the database empties them (`app.models.lease`); the task row is still right."""
    owner.session("First", to="waiting")
    second = owner.session("Second", to="running")
    with owner.dashboard.database.transaction() as db:
        db.execute(
            text(
                "DELETE FROM session_task_leases WHERE session_id IN"
                " (SELECT id FROM sessions WHERE owner = :owner)"
            ),
            {"owner": owner.name},
        )
    with owner.client() as client:
        for path in ("/", "/sessions", f"/sessions/{second}"):
            assert client.get(path).status_code == 200, path


def test_a_telephone_shows_a_session_on_two_lines_and_a_tablet_cuts_no_word(
    owner: Any, look: Callable[..., Page], check_accessible: Callable[[Page], None]
) -> None:
    for to in ("running", "waiting", "failed", "completed", "cancelled", "created"):
        owner.session("Onboarding of new colleagues, and what they need to know first", to=to)
    page = look("/sessions", width=360)
    heights = page.locator("tr[data-row]").evaluate_all(
        "rows => rows.map((row) => row.getBoundingClientRect().height)"
    )
    assert len(heights) == 6
    assert max(heights) <= 140
    expect(page.locator("[data-name=Attempt]").first).to_be_hidden()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    expect(page.get_by_role("button", name="Delete", exact=True)).to_be_in_viewport()
    check_accessible(page)
    page.set_viewport_size({"width": 768, "height": 900})
    cut = page.locator(".sessions .title").evaluate_all(
        "all => all.filter((one) => one.scrollWidth > one.parentElement.clientWidth)"
    )
    assert cut == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    check_accessible(page)


def test_all_on_the_page_are_selected_and_deleted_after_a_question(
    owner: Any, look: Callable[..., Page]
) -> None:
    kept = owner.session("Kept", to="completed")
    for number in range(3):
        owner.session(f"Old list {number}", to="cancelled")
    page = look("/sessions?q=old")
    page.get_by_label("Select all on this page").check()
    assert page.locator("input[name=session]:checked").count() == 3
    expect(page.get_by_text("With all 3 that match")).to_be_visible()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_role("heading", name="Delete 3 sessions?")).to_be_visible()
    page.get_by_role("button", name="Delete 3 sessions").click()
    expect(page.get_by_text("Deleted 3 sessions.")).to_be_visible()
    assert owner.act(lambda s: s.get(kept)) is not None
    page = look("/sessions")
    expect(page.locator("tr[data-row]")).to_have_count(1)


def test_matches_of_several_pages_are_counted_once_the_number_is_in_sight(
    owner: Any, look: Callable[..., Page]
) -> None:
    for number in range(27):
        owner.session(f"Old list {number}", to="cancelled")
    page = look("/sessions?q=old")
    expect(page.locator("tr[data-row]")).to_have_count(25)
    expect(page.get_by_text("With all that match")).to_be_attached()
    page.get_by_role("button", name="Delete all").scroll_into_view_if_needed()
    expect(page.get_by_text("With all 27 that match")).to_be_visible()


def test_sessions_are_found_by_their_documents_and_tickets(
    owner: Any, look: Callable[..., Page]
) -> None:
    session_id = owner.session("Found", to="waiting")
    owner.session("Other", to="created")
    task = owner.act(lambda s: s.get(session_id)).task
    claim = owner.act(lambda s: s.claim_task(session_id, task.task_id, uuid.uuid4()))
    ticket = TicketDraft("Rotate the keys", '{"type":"doc","version":1,"content":[]}', "a.csv", 1)
    owner.act(lambda s: s.complete_task(claim, TaskResults(tickets=[ticket])))
    page = look("/sessions?q=rotate")
    expect(page.locator("tr[data-row]")).to_have_count(1)
    expect(page.locator("[data-name=Tickets]")).to_have_text("1")
    page.goto(owner.dashboard.url + "/sessions?q=ROWS.csv")
    expect(page.locator("tr[data-row]")).to_have_count(2)
