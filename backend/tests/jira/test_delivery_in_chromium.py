"""An export of Jira in a browser: previewed, opened, delivered, and linked to its issues."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import browser, open_page
from tests.jira.jira_export import issues_of, jira_export
from tests.jira.test_delivery_doors import server
from tests.jira_stand_in.server import JiraStandIn
from tests.live_server import LiveServer

__all__ = ["browser", "open_page", "server"]

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("project")]

LONGEST = 150_000


def test_the_dashboard_delivers_an_export_of_1_000_rows_with_every_field(
    server: LiveServer, jira: JiraStandIn, open_page: Callable[..., Page]
) -> None:
    text, expected = jira_export(1_000)
    page = open_page(server.url, path="/sign-in")
    page.get_by_label("Key", exact=True).fill(server.key())
    page.get_by_role("button", name="Sign in").click()
    page.goto(f"{server.url}/new")
    export = {"name": "export.csv", "mimeType": "text/csv", "buffer": text.encode()}
    page.get_by_label("Drop files here").set_input_files(export)
    page.get_by_label("Jira project").fill("SHOP")
    page.get_by_label("Create the issues in").select_option("jira")
    page.get_by_role("button", name="Preview").click()
    expect(page.locator("#preview")).to_contain_text("1,000 tickets", timeout=LONGEST)
    expect(page.get_by_label("Priority of export.csv becomes")).to_have_value("")
    page.get_by_role("button", name="Open session").click()

    expect(page.locator("#headline")).to_contain_text("Done", timeout=LONGEST)
    expect(page.locator("#issues")).to_contain_text("1,000 issues created in Jira")
    first = page.locator("#tickets a[href*='/browse/']").first
    expect(first).to_have_attribute("href", f"{jira.url}/browse/SHOP-1")
    assert issues_of(jira.site) == expected
