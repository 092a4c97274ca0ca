"""Pages as their readers need them: times in their zone, words, bars that agree, sources beside."""

from __future__ import annotations

import re
import uuid
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from playwright.sync_api import expect

from app.values.results import TaskResults, TicketDraft

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page


def test_charts_are_in_the_zone_of_the_reader_and_end_now(
    owner: Any, look: Callable[..., Page]
) -> None:
    owner.session("Done", to="completed")
    page = look("/", timezone_id="Asia/Kolkata")
    expect(page.locator("#charts-title [data-zone]")).to_have_text(re.compile("Asia/(Kolk|Calc)"))
    begin = page.locator(".axis-x time").first
    shown = begin.inner_text()
    utc = begin.get_attribute("datetime")
    assert utc is not None
    local = page.evaluate(
        "(at) => new Intl.DateTimeFormat(undefined, {hour: '2-digit', minute: '2-digit',"
        " timeZone: 'Asia/Kolkata'}).format(Date.parse(at))",
        utc,
    )
    assert shown == local
    assert shown != utc[11:16]
    title = page.locator("rect.bar-mark title").first
    expect(title).to_have_text(re.compile(r"^\S+( [AP]M)?, Processing: 1$"))
    moment = " ".join((title.text_content() or "").partition(",")[0].split())
    clock = "%I:%M %p" if moment.endswith("M") else "%H:%M"
    begins = datetime.strptime(moment, clock)  # noqa: DTZ007 - in the reader's zone
    now = datetime.now(ZoneInfo("Asia/Kolkata")).replace(tzinfo=None)
    assert (now - begins) % timedelta(days=1) < timedelta(hours=2)
    expect(page.locator(".axis-x span").last).to_have_text("now")
    without = look("/", timezone_id="Asia/Kolkata", java_script_enabled=False)
    expect(without.locator("#charts-title")).to_contain_text("times in UTC")


def test_a_failure_group_is_named_by_its_message(owner: Any, look: Callable[..., Page]) -> None:
    owner.session("A", to="failed")
    page = look("/")
    expect(page.get_by_role("link", name='Row 3 of "rows.csv" has 7 columns')).to_be_visible()
    expect(page.locator("#group-1 code")).to_have_text("DocumentError")


def test_error_pages_are_words_and_lead_back(owner: Any, look: Callable[..., Page]) -> None:
    for path in (f"/sessions/{uuid.uuid4()}", "/sessions/abc", f"/sessions/{uuid.UUID(int=1)}"):
        page = look(path)
        expect(page.get_by_role("heading", level=1)).to_have_text(re.compile("^There is no sess"))
        page.get_by_role("link", name="To the sessions").click()
        expect(page.get_by_role("heading", name="Sessions", exact=True)).to_be_visible()


def test_an_address_that_is_none_is_said_in_words(look: Callable[..., Page]) -> None:
    page = look("/no-such-page")
    expect(page.get_by_role("heading", level=1)).to_have_text("There is no page at this address")
    page.get_by_role("link", name="To the overview").click()


def test_a_cancelled_stage_has_its_times(owner: Any, look: Callable[..., Page]) -> None:
    page = look(f"/sessions/{owner.session('Stopped', to='cancelled')}")
    stage = page.locator("#stage-1")
    expect(stage.locator("[data-name=Ended] time")).to_be_visible()
    expect(stage.locator("[data-name=Ran]")).to_have_text(re.compile(r"\d s"))


def test_a_ticket_is_shown_beside_its_row_and_its_adf_is_closed(
    owner: Any, look: Callable[..., Page]
) -> None:
    session_id = owner.session("Rows", to="waiting")
    task = owner.act(lambda s: s.get(session_id)).task
    claim = owner.act(lambda s: s.claim_task(session_id, task.task_id, uuid.uuid4()))
    ticket = TicketDraft("One", '{"type":"doc","version":1,"content":[]}', "rows.csv", 1)
    owner.act(lambda s: s.complete_task(claim, TaskResults(tickets=[ticket])))
    page = look(f"/sessions/{session_id}/tickets/1")
    expect(page.locator("#source-row tbody tr")).to_have_text(["SummaryOne", "TextFirst"])
    assert page.locator("#adf-source").get_attribute("open") is None


def test_icons_have_words_and_lists_their_names(open_page: Callable[..., Page], admin: Any) -> None:
    page = open_page(admin.dashboard.url, admin)
    expect(page.get_by_role("link", name="API keys")).to_be_visible()
    expect(page.get_by_role("button", name="Sign out")).to_contain_text("Sign out")
    expect(page.locator("#theme .word")).to_have_text("Theme")
    page.keyboard.press("?")
    expect(page.get_by_role("heading", name="Keyboard")).to_be_visible()
