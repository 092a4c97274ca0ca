"""The overview as people use it: with and without scripts, in both themes, at any width."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

HOSTILE = "</title><script>document.title='run'</script><img src=x onerror=alert(1)>\"'{{7*7}}"


def test_first_run_shows_how_to_begin(look: Callable[..., Page]) -> None:
    page = look()
    expect(page.get_by_role("heading", name="Nothing here yet")).to_be_visible()
    expect(page.get_by_text("session-tasks run")).to_be_visible()


@pytest.mark.parametrize("scripts", [True, False])
def test_failures_that_are_alike_are_retried_together_and_counted_first(
    owner: Any, look: Callable[..., Page], scripts: bool
) -> None:
    failed = [owner.session(f"Import {number}", to="failed") for number in range(3)]
    other = owner.session(
        "Other",
        to="failed",
        failure={"error": "DiskFull", "message": "full", "category": "temporary"},
    )
    owner.session("Alone", to="failed", failure={"error": "E", "message": "No type “Story”"})
    page = look(java_script_enabled=scripts)
    expect(page.get_by_role("link", name="No type “Story”")).to_be_visible()
    expect(page.get_by_role("link", name="5 Failed")).to_be_visible()
    expect(page.get_by_role("link", name='Row 3 of "rows.csv" has 7 columns')).to_be_visible()
    page.get_by_role("button", name='Retry 3 of: Row 3 of "rows.csv" has 7 columns').click()
    expect(page.get_by_role("heading", name="Retry 3 sessions?")).to_be_visible()
    expect(page.get_by_text('Row 3 of "rows.csv" has 7 columns', exact=True)).to_be_visible()
    assert owner.act(lambda s: s.get(failed[0])).task.status.value == "failed"
    page.get_by_role("button", name="Retry 3 sessions").click()
    expect(page.get_by_text("Retried 3 sessions.")).to_be_visible()
    expect(page.get_by_role("link", name="3 Running")).to_be_visible()
    states = [owner.act(lambda s, i=i: s.get(i)).task.status.value for i in [*failed, other]]
    assert states == ["running"] * 3 + ["failed"]
    page.get_by_role("link", name="2 Failed").click()
    expect(page.get_by_role("link", name="Other")).to_be_visible()
    expect(page.get_by_role("link", name="Import 1")).to_have_count(0)


def test_a_change_elsewhere_is_seen_without_reloading(
    owner: Any, look: Callable[..., Page]
) -> None:
    owner.session("One")
    page = look()
    expect(page.locator("#live-word")).to_have_text("Live")
    owner.session("Two", to="failed")
    expect(page.get_by_role("link", name="1 Failed")).to_be_visible()
    expect(page.get_by_text("2 sessions")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_overview_is_accessible_fits_a_telephone_and_runs_nothing_of_what_it_shows(
    owner: Any,
    look: Callable[..., Page],
    check_accessible: Callable[[Page], None],
    scheme: str,
) -> None:
    owner.session(HOSTILE, to="waiting")
    owner.session("Done", to="completed")
    owner.session(
        HOSTILE,
        to="failed",
        failure={"error": HOSTILE, "message": HOSTILE, "category": "user_fixable"},
    )
    page = look(color_scheme=scheme, width=360)
    expect(page).to_have_title("Overview · Session Tasks")
    assert page.locator("main img, main script").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    check_accessible(page)
    page.set_viewport_size({"width": 768, "height": 900})
    retry = page.get_by_role("button", name="Retry 1 of").bounding_box()
    assert retry is not None
    assert retry["x"] + retry["width"] < 768
    assert page.evaluate("window.policyViolations") == []
