# ruff: noqa: INP001 - a script
"""Take pictures of the dashboard in Chromium, at three widths and in both themes.

    .venv/bin/python docs/images/make_dashboard_pictures.py FOLDER

They show what `session-tasks serve --demo` shows, in a database that goes with it. The two that the
README shows are written beside this file.
"""

from __future__ import annotations

import base64
import os
import shutil
import sys
import threading
import uuid
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright

from app.api.application import create_app
from app.api.server import ApiServer
from app.cli.demo import demo_settings, prepare_demo, slow_worker
from app.cli.demo_documents import backlog, handbook
from app.cli.login import LOCAL_OWNER
from app.core.config import Settings
from app.core.database import Database
from app.engines.worker import Worker
from app.models.access import KeyRole
from app.repositories.access_repository import AccessRepository
from app.repositories.browser_sessions import BrowserSessions
from app.web.dashboard import add_dashboard

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from app.cli.demo import Made

HERE = Path(__file__).parent
CHROMIUM_OPTIONS = (
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
)
WIDTHS = (360, 768, 1400)
THEMES = ("light", "dark")
QUALITY = 82


def take(page: Page, target: Path, *, whole: bool = True) -> None:
    """Write what the page shows as WebP, which Playwright itself does not."""
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_timeout(400)  # a picture of a page that has come to rest
    size = page.evaluate("[innerWidth, document.documentElement.scrollHeight, innerHeight]")
    height = size[1] if whole else size[2]
    answer = page.context.new_cdp_session(page).send(
        "Page.captureScreenshot",
        {
            "format": target.suffix.removeprefix("."),
            **({"quality": QUALITY} if target.suffix == ".webp" else {}),
            "captureBeyondViewport": True,
            "clip": {"x": 0, "y": 0, "width": size[0], "height": height, "scale": 1},
        },
    )
    target.write_bytes(base64.b64decode(answer["data"]))


def take_all(browser: Browser, url: str, cookie: tuple[str, str], made: Made, folder: Path) -> None:
    """Every page, at every width, in both themes; and the README's two."""
    paths = {
        "overview": "/",
        "sessions": "/sessions",
        **{
            f"session-{name}": f"/sessions/{session_id}"
            for name, session_id in asdict(made).items()
        },
        "ticket": f"/sessions/{made.completed}/tickets/1",
        "new": "/new",
        "keys": "/keys",
        "workers": "/workers",
        "nothing": "/sessions?q=nothing+like+it",
        "missing": "/no-such-page",
        "no-session": f"/sessions/{uuid.UUID(int=1)}",
    }
    acts = {
        "preview": lambda page: preview(page, url),
        "retry": lambda page: open_retry(page, f"{url}/sessions/{made.failed}"),
        "keyboard": lambda page: open_keyboard(page, url),
    }
    for theme in THEMES:
        for width in WIDTHS:
            context = browser.new_context(
                color_scheme=theme,  # type: ignore[arg-type]  # one of its literals
                viewport={"width": width, "height": 900},
                reduced_motion="reduce",
            )
            page = context.new_page()
            page.goto(f"{url}/sign-in")
            take(page, folder / f"sign-in-{theme}-{width}.png")
            context.add_cookies([{"name": cookie[0], "value": cookie[1], "url": url}])
            for name, path in paths.items():
                page.goto(url + path)
                take(page, folder / f"{name}-{theme}-{width}.png")
                if width == WIDTHS[-1] and (name, theme) in README:
                    take(page, HERE / README[name, theme], whole=False)
            for name, act in acts.items():
                act(page)
                take(page, folder / f"{name}-{theme}-{width}.png", whole=name != "keyboard")
            context.close()


def preview(page: Page, url: str) -> None:
    """Preview a handbook and a backlog in the form of a new session."""
    page.goto(f"{url}/new")
    page.set_input_files(
        "#documents",
        [
            {"name": each.name, "mimeType": "text/plain", "buffer": each.content}
            for each in (handbook("handbook.md", 3), backlog("backlog.csv", 5))
        ],
    )
    page.click("#look")
    page.wait_for_selector("#preview-title")


def open_retry(page: Page, address: str) -> None:
    """Open the form of a retry."""
    page.goto(address)
    page.click("#act-retry > summary")


def open_keyboard(page: Page, url: str) -> None:
    """Open the list of keys."""
    page.goto(f"{url}/sessions")
    page.keyboard.press("?")


def cookie_of(database: Database, port: int) -> tuple[str, str]:
    """Name and value of the cookie of a browser in which the administrator is signed in."""
    with database.transaction() as db:
        key = AccessRepository(db).create_key(LOCAL_OWNER, role=KeyRole.ADMIN, name="laptop")
        sessions = BrowserSessions(db, idle=timedelta(days=1))
        token = sessions.start(key.record.id, lifetime=timedelta(days=1))
    return f"session_tasks_{port}", token


README = {
    ("overview", "light"): "dashboard-overview.webp",
    ("sessions", "dark"): "dashboard-sessions.webp",
}


def main(folder: Path) -> None:
    """Make everything, picture it, and clear up."""
    chromium = os.environ.get("SESSION_TASKS_TEST_CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        sys.exit("no Chromium here")
    folder.mkdir(parents=True, exist_ok=True)
    with demo_settings(Settings()) as settings, Database.open(settings) as database:
        made = prepare_demo(database, settings)
        app = create_app(database, settings)
        add_dashboard(app)
        server = ApiServer(app, host="127.0.0.1", port=0)
        thread = threading.Thread(target=server.run)
        thread.start()
        server.is_listening.wait()
        with Worker(database, slow_worker(settings), concurrency=2):
            try:
                with sync_playwright() as playwright:
                    browser = playwright.chromium.launch(
                        executable_path=chromium, args=list(CHROMIUM_OPTIONS)
                    )
                    url = f"http://127.0.0.1:{server.port}"
                    take_all(browser, url, cookie_of(database, server.port), made, folder)
                    browser.close()
            finally:
                server.stop()
                thread.join()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
