# ruff: noqa: INP001 - a script
"""Take pictures of the dashboard in Chromium, at three widths and in both themes.

    .venv/bin/python docs/images/make_dashboard_pictures.py FOLDER

The server, its database and what it shows are made for it and go with it: the documents in
examples/ are really run, and some that cannot be used as well. Only times are moved back, so that
the charts have a few hours to tell. The two that the README shows are written beside this file.
"""

from __future__ import annotations

import base64
import os
import random
import shutil
import sys
import tempfile
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright
from sqlalchemy import text

from app.api.application import create_app
from app.api.server import ApiServer
from app.core.config import Settings
from app.core.database import Database
from app.engines.worker import Worker
from app.models.access import KeyRole
from app.models.session import TaskStatus, TaskType
from app.repositories.access_repository import AccessRepository
from app.repositories.content_repository import IncomingDocument
from app.repositories.session_repository import SessionRepository
from app.web.dashboard import add_dashboard

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "examples"
OWNER = "local"
CHROMIUM_OPTIONS = (
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
)
WIDTHS = (360, 768, 1280)
THEMES = ("light", "dark")
QUALITY = 82
DEADLINE_SECONDS = 300
ROUNDS = 14
SEED = 20260301


@dataclass(frozen=True)
class Made:
    """The sessions that pages of their own are pictured of."""

    failed: uuid.UUID
    completed: uuid.UUID
    running: uuid.UUID


def session(database: Database, label: str, *documents: tuple[str, bytes]) -> uuid.UUID:
    """A session with these documents, whose processing was started."""
    incoming = [IncomingDocument(name, content) for name, content in documents]
    with database.transaction() as db:
        sessions = SessionRepository(db, owner=OWNER)
        session_id = sessions.create_session(
            incoming, label=label, options={"project_key": "DOCS"}
        ).id
        sessions.start_task(session_id, TaskType.PROCESSING)
    return session_id


def example(name: str) -> tuple[str, bytes]:
    """One of the documents in examples/."""
    return name, (EXAMPLES / name).read_bytes()


def make_sessions(database: Database, settings: Settings) -> Made:
    """Run everything, then leave a few as they would be met in the middle of a day."""
    completed = []
    failed = []
    names = sorted(path.name for path in EXAMPLES.iterdir() if path.suffix in {".md", ".csv"})
    for number in range(1, ROUNDS + 1):
        for name in names:
            label = f"{Path(name).stem.replace('-', ' ').capitalize()}, week {number}"
            completed.append(session(database, label, example(name)))
        if number % 3 == 0:
            empty = f"supplier-{number}.csv"
            failed.append(session(database, f"Supplier list {number}", (empty, b"")))
    with Worker(database, settings, concurrency=2, threads=True):
        wait_until_settled(database)
    spread(database)
    waiting = session(database, "Security review, quarter 2", example(names[0]))
    running = session(database, "Migration of the handbook", *(example(name) for name in names))
    session(database, "Public art, corrections", example("public-art.csv"))
    with database.transaction() as db:
        sessions = SessionRepository(db, owner=OWNER)
        task_id = sessions.get(running).task.task_id
        claim = sessions.claim_task(running, task_id, uuid.uuid4(), lease_seconds=3600)
        sessions.report_progress(claim, 3, 5, "node-primordials.md")
        sessions.heartbeat([claim], lease_seconds=3600)
        sessions.cancel_task(waiting)
    return Made(failed[-1], completed[-1], running)


def wait_until_settled(database: Database) -> None:
    """Wait until nothing runs, or the deadline has passed."""
    end = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < end:
        with database.transaction() as db:
            query = text("SELECT count(*) FROM session_tasks WHERE status = :running")
            if not db.scalar(query, {"running": TaskStatus.RUNNING.value}):
                return
        time.sleep(0.2)
    sys.exit("the sessions did not settle in time")


def spread(database: Database) -> None:
    """Move every session back by up to five and a half hours, as a whole."""
    chance = random.Random(SEED)  # noqa: S311 - pictures, no secrets
    moved = ", ".join(
        f"{kind.value}_completed_at = {kind.value}_completed_at - :by * interval '1 s'"
        for kind in TaskType
    )
    with database.transaction() as db:
        ids = list(db.scalars(text("SELECT id FROM sessions ORDER BY created_at")))
        for position, session_id in enumerate(ids):
            share = 1 - (position + chance.random()) / len(ids)
            values = {"by": 19_800 * share + 60, "id": session_id}
            db.execute(
                text(
                    "UPDATE sessions SET created_at = created_at - :by * interval '1 s',"  # noqa: S608
                    f" updated_at = updated_at - :by * interval '1 s', {moved} WHERE id = :id"
                ),
                values,
            )
            db.execute(
                text(
                    "UPDATE session_tasks SET started_at = started_at - :by * interval '1 s',"
                    " completed_at = completed_at - :by * interval '1 s',"
                    " failed_at = failed_at - :by * interval '1 s' WHERE session_id = :id"
                ),
                values,
            )


def take(page: Page, target: Path, *, whole: bool = True) -> None:
    """Write what the page shows as WebP, which Playwright itself does not."""
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


def take_all(browser: Browser, url: str, key: str, made: Made, folder: Path) -> None:
    """Every page, at every width, in both themes; and the README's two."""
    paths = {
        "overview": "/",
        "sessions": "/sessions",
        "failed": f"/sessions/{made.failed}",
        "completed": f"/sessions/{made.completed}",
        "running": f"/sessions/{made.running}",
        "new": "/new",
        "keys": "/keys",
        "nothing": "/sessions?q=nothing+like+it",
        "missing": "/no-such-page",
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
            page.goto(f"{url}/login?key={key}")
            for name, path in paths.items():
                page.goto(url + path)
                take(page, folder / f"{name}-{theme}-{width}.png")
                if width == WIDTHS[-1] and (name, theme) in README:
                    take(page, HERE / README[name, theme], whole=False)
            context.close()


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
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o711)
        settings = Settings(data_dir=Path(place))
        with Database.open(settings) as database:
            with database.transaction() as db:
                key = AccessRepository(db).create_key(OWNER, role=KeyRole.ADMIN, name="laptop").text
            made = make_sessions(database, settings)
            app = create_app(database, settings)
            add_dashboard(app)
            server = ApiServer(app, host="127.0.0.1", port=0)
            thread = threading.Thread(target=server.run)
            thread.start()
            server.is_listening.wait()
            try:
                with sync_playwright() as playwright:
                    browser = playwright.chromium.launch(
                        executable_path=chromium, args=list(CHROMIUM_OPTIONS)
                    )
                    take_all(browser, f"http://127.0.0.1:{server.port}", key, made, folder)
                    browser.close()
            finally:
                server.stop()
                thread.join()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
