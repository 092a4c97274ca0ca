"""A server with the dashboard, and Chromium to look at it; skipped where there is no Chromium.

Every page that a test opens is watched: an error of its scripts, or one violation of the Content
Security Policy, fails the test that opened it.
"""

from __future__ import annotations

import os
import shutil
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from app.models.access import KeyRole
from app.models.session import TaskType
from app.repositories.content_reader import IncomingDocument
from app.repositories.session_repository import SessionRepository
from tests.live_server import DEADLINE_SECONDS, LiveServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, BrowserContext, Page

CHROMIUM = "SESSION_TASKS_TEST_CHROMIUM"
CHROMIUM_OPTIONS = (
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
)
AXE = Path(__file__).parent / "vendor" / "axe-4.14.1.min.js"
RUN_AXE = """
  axe.run({preload: false, resultTypes: ["violations"]}).then((result) => result.violations)
"""
WATCH_POLICY = """
  window.policyViolations = [];
  document.addEventListener("securitypolicyviolation", (event) =>
    window.policyViolations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
"""
FAILURE = {
    "error": "DocumentError",
    "message": 'Row 3 of "rows.csv" has 7 columns',
    "category": "user_fixable",
    "next_step": "Correct the row, then retry.",
}


@dataclass
class Owner:
    """Somebody with a key and sessions of their own."""

    dashboard: LiveServer
    role: KeyRole = KeyRole.USER
    name: str = field(default_factory=lambda: f"owner-{uuid.uuid4().hex[:8]}")

    def __post_init__(self) -> None:
        self.key = self.dashboard.key(self.name, self.role)

    @property
    def cookie(self) -> tuple[str, str]:
        """The cookie of one more browser that has signed in."""
        return self.dashboard.browser_cookie(self.key)

    def act(self, what: Callable[[SessionRepository], Any]) -> Any:
        """Do something in a transaction of its own."""
        with self.dashboard.database.transaction() as db:
            return what(SessionRepository(db, owner=self.name))

    def session(
        self, label: str = "", to: str = "created", failure: dict[str, Any] | None = None
    ) -> uuid.UUID:
        """A session whose processing stands so: created, waiting, running, failed, …"""
        document = IncomingDocument("rows.csv", b"Summary,Text\nOne,First\n")
        session_id: uuid.UUID = self.act(
            lambda s: s.create_session([document], label=label, auto_advance=False).id
        )
        if to == "created":
            return session_id
        started = self.act(lambda s: s.start_task(session_id, TaskType.PROCESSING))
        if to == "cancelled":
            self.act(lambda s: s.cancel_task(session_id))
        elif to != "waiting":
            self.claim(session_id, started.task_id, to, failure)
        return session_id

    def claim(
        self, session_id: uuid.UUID, task_id: uuid.UUID, to: str, failure: Any = None
    ) -> None:
        """Claim the run as a worker would, and bring it there."""
        claim = self.act(
            lambda s: s.claim_task(session_id, task_id, uuid.uuid4(), lease_seconds=600)
        )
        assert claim is not None
        if to == "failed":
            self.act(lambda s: s.fail_task(claim, failure or FAILURE))
        elif to == "completed":
            self.act(lambda s: s.complete_task(claim))

    def client(self, **headers: str) -> httpx.Client:
        """A client that is signed in as a browser is."""
        return httpx.Client(
            base_url=self.dashboard.url,
            cookies=dict([self.cookie]),
            headers={"Accept": "text/html", **headers},
            timeout=DEADLINE_SECONDS,
        )


def chromium_program() -> str | None:
    """The Chromium that the tests run."""
    return os.environ.get(CHROMIUM) or shutil.which("chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, or the one that `SESSION_TASKS_TEST_CHROMIUM` names.

    While it is there, an event loop runs in the main thread, which others' tests must not find.
    """
    program = chromium_program()
    if program is None or not Path(program).exists():
        pytest.skip(f"no Chromium here: install it, or name it in {CHROMIUM}")
    api = pytest.importorskip("playwright.sync_api")
    api.expect.set_options(timeout=DEADLINE_SECONDS * 1000)
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=program, args=list(CHROMIUM_OPTIONS), headless=True
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def dashboard(shared_database_url: str) -> Iterator[LiveServer]:
    """The server that most tests share; each brings an owner of its own."""
    with LiveServer(
        shared_database_url, keep_alive_seconds=1.0, refusals_per_minute=1_000_000
    ) as server:
        yield server


@pytest.fixture
def owner(dashboard: LiveServer) -> Owner:
    """Somebody new."""
    return Owner(dashboard)


@pytest.fixture
def admin(dashboard: LiveServer) -> Owner:
    """Somebody new with the role admin."""
    return Owner(dashboard, KeyRole.ADMIN)


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open pages in browsers of their own; signed in as `owner` where one is given."""
    contexts: list[BrowserContext] = []
    pages: list[tuple[Page, list[str]]] = []

    def open_one(
        url: str,
        owner: Owner | None = None,
        *,
        path: str = "/",
        width: int = 1280,
        **options: Any,
    ) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": 800}, reduced_motion="reduce", **options
        )
        contexts.append(context)
        context.set_default_timeout(DEADLINE_SECONDS * 1000)
        if options.get("java_script_enabled", True):
            context.add_init_script(WATCH_POLICY)
        if owner is not None:
            name, value = owner.cookie
            context.add_cookies([{"name": name, "value": value, "url": url}])
        page = context.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on(
            "console",
            lambda said: errors.append(said.text) if "Security Policy" in said.text else None,
        )
        pages.append((page, errors))
        page.goto(url + path)
        return page

    yield open_one
    found = [error for _, errors in pages for error in errors]
    for context in contexts:
        context.close()
    assert not found


@pytest.fixture
def look(open_page: Callable[..., Page], owner: Owner) -> Callable[..., Page]:
    """Open one of the dashboard's pages, signed in as the test's owner."""

    def look_at(path: str = "/", **options: Any) -> Page:
        return open_page(owner.dashboard.url, owner, path=path, **options)

    return look_at


@pytest.fixture
def check_accessible() -> Callable[[Page], None]:
    """Have axe-core look at the page as it stands: not one violation."""

    def check(page: Page) -> None:
        page.evaluate(f"() => {{ {AXE.read_text(encoding='utf-8')}\n }}")
        found = page.evaluate(RUN_AXE)
        told = [
            f"{violation['id']}: {node['target']} {node['failureSummary']}"
            for violation in found
            for node in violation["nodes"]
        ]
        assert not told, "\n".join(told)

    return check
