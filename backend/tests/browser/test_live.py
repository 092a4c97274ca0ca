"""Pages that stay true while one looks: two browsers, a server that dies, a hand on the rows."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from playwright.sync_api import expect

from app.models.access import KeyRole
from app.repositories.access_repository import AccessRepository

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Page, Route

    from app.core.database import Database


def test_two_browsers_see_one_change_and_it_is_announced(
    owner: Any, look: Callable[..., Page]
) -> None:
    session_id = owner.session("Release notes", to="failed")
    one, two = look("/sessions"), look("/sessions")
    for page in (one, two):
        expect(page.locator("#live-word")).to_have_text("Live")
    started = owner.act(lambda s: s.retry_task(session_id))
    row = f"#s-{session_id}"
    for page in (one, two):
        expect(page.locator(row)).to_contain_text("Waiting")
    owner.claim(session_id, started.task_id, "completed")
    for page in (one, two):
        expect(page.locator(row)).to_contain_text("Ready for next")
        expect(page.locator("#announce")).to_have_text("Release notes: processing completed")


def test_no_row_moves_under_the_pointer(owner: Any, look: Callable[..., Page]) -> None:
    first = owner.session("First")
    page = look("/sessions")
    expect(page.locator("#live-word")).to_have_text("Live")
    page.locator(f"#s-{first}").hover()
    second = owner.session("Second")
    expect(page.locator("#held")).to_have_text("1 update: show")
    expect(page.locator(f"#s-{second}")).to_have_count(0)
    page.locator("#held").click()
    expect(page.locator(f"#s-{second}")).to_be_visible()


# Once it is there and the document is read, it begins in a timer of its own.
HTMX_HAS_BEGUN = """new Promise((done) => {
  const look = () => window.htmx ? setTimeout(() => setTimeout(done)) : setTimeout(look);
  look();
})"""


def test_the_stream_waits_for_the_script_that_listens(look: Callable[..., Page]) -> None:
    page = look("/new")
    asked: list[str] = []
    asked_before_it_came: list[str] = []

    def come_late(route: Route) -> None:
        page.evaluate(HTMX_HAS_BEGUN)
        asked_before_it_came.extend(asked)
        route.continue_()

    page.on("request", lambda request: asked.append(request.url))
    page.route("**/live*.js*", come_late)
    page.goto(page.url.replace("/new", "/sessions"))
    expect(page.locator("#live-word")).to_have_text("Live")
    stream = page.locator("#stream").get_attribute("hx-sse:connect")
    assert asked_before_it_came
    assert not [url for url in asked_before_it_came if url.endswith(str(stream))]


def test_focus_is_kept_when_the_page_changes(owner: Any, look: Callable[..., Page]) -> None:
    session_id = owner.session("First", to="failed")
    page = look("/sessions")
    expect(page.locator("#live-word")).to_have_text("Live")
    page.keyboard.press("j")
    link = page.get_by_role("link", name="First")
    expect(link).to_be_focused()
    owner.act(lambda s: s.retry_task(session_id))
    expect(page.locator(f"#s-{session_id}")).to_contain_text("Waiting")
    expect(link).to_be_focused()


def test_keys_search_and_explain_themselves(owner: Any, look: Callable[..., Page]) -> None:
    owner.session("First")
    page = look("/sessions")
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("?j")
    expect(page.get_by_role("searchbox")).to_have_value("?j")
    page.get_by_role("heading", name="Sessions").click()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()


class Served:
    """`session-tasks serve` in a process that can be killed, always on the same port."""

    def __init__(self, database_url: str) -> None:
        self._environment = {**os.environ, "SESSION_TASKS_DATABASE_URL": database_url}
        self._process: subprocess.Popen[str] | None = None
        self.port = 0

    def start(self) -> None:
        """Start it, and wait until it says where it listens."""
        command = "from app.cli import main; main()"
        arguments = ["serve", "--no-worker", "--port", str(self.port)]
        self._process = subprocess.Popen(
            [sys.executable, "-c", command, *arguments],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if "Listening on http" in line:
                self.port = int(line.rstrip().rpartition(":")[2])
                return
        pytest.fail("serve ended before it listened")

    def kill(self) -> None:
        """Kill it: no goodbye."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.communicate()
            self._process = None


@pytest.fixture
def served(database_url: str, database: Database) -> Iterator[tuple[Served, str]]:
    """A server of its own process over this test's database, and a key to it."""
    with database.transaction() as db:
        key = AccessRepository(db).create_key("ada", role=KeyRole.USER).text
    server = Served(database_url)
    server.start()
    yield server, key
    server.kill()


def test_server_that_is_killed_and_comes_back_is_found_again(
    served: tuple[Served, str], open_page: Callable[..., Page]
) -> None:
    server, key = served
    url = f"http://127.0.0.1:{server.port}"
    page = open_page(url, path=f"/login?key={key}")
    expect(page.get_by_role("heading", name="Nothing here yet")).to_be_visible()
    expect(page.locator("#live-word")).to_have_text("Live")
    server.kill()
    expect(page.locator("#live-word")).to_have_text("Reconnecting")
    server.start()
    expect(page.locator("#live-word")).to_have_text("Live")
    httpx.post(
        f"{url}/api/v1/sessions",
        headers={"Authorization": f"Bearer {key}"},
        files={"documents": ("a.md", b"# One\n", "text/markdown")},
        data={"auto_advance": "false", "project_key": "DEMO"},
    ).raise_for_status()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()


def test_page_stays_true_by_asking_where_the_stream_fails(
    owner: Any, open_page: Callable[..., Page]
) -> None:
    session_id = owner.session("First", to="failed")
    page = open_page(owner.dashboard.url, owner, path="/no-such-page")
    page.route("**/api/v1/events", lambda route: route.abort())
    page.goto(f"{owner.dashboard.url}/sessions")
    expect(page.locator("#live-word")).to_have_text("Reconnecting")
    owner.act(lambda s: s.retry_task(session_id))
    expect(page.locator(f"#s-{session_id}")).to_contain_text("Waiting")
    page.unroute("**/api/v1/events")
    expect(page.locator("#live-word")).to_have_text("Live")


def test_hidden_page_pauses_and_catches_up(owner: Any, look: Callable[..., Page]) -> None:
    session_id = owner.session("First", to="failed")
    page = look("/sessions")
    expect(page.locator("#live-word")).to_have_text("Live")
    hide = """(hidden) => {
      Object.defineProperty(document, "hidden", {configurable: true, get: () => hidden});
      document.dispatchEvent(new Event("visibilitychange"));
    }"""
    page.evaluate(hide, True)
    expect(page.locator("#live-word")).to_have_text("Paused")
    owner.act(lambda s: s.retry_task(session_id))
    page.evaluate(hide, False)
    expect(page.locator("#live-word")).to_have_text("Live")
    expect(page.locator(f"#s-{session_id}")).to_contain_text("Waiting")
