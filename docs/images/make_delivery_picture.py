# ruff: noqa: INP001 - a script
"""Take pictures of a delivery to Jira that is done, in both themes, as `docs/start.md` shows it.

    PYTHONPATH=backend .venv/bin/python docs/images/make_delivery_picture.py

An export of 1,000 rows is delivered to the tests' stand-in for Jira; the database goes with it.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from chaos.waiting import until
from make_dashboard_pictures import CHROMIUM_OPTIONS, HERE, THEMES, cookie_of, take
from playwright.sync_api import sync_playwright

from app.core.embedded import EmbeddedServer
from app.core.schema_version import upgrade_schema
from app.engines.worker import Worker
from app.models.session import SessionStage, TaskType
from app.repositories.content_repository import IncomingDocument
from app.repositories.session_repository import SessionRepository
from tests.jira.jira_export import jira_export
from tests.jira_stand_in.server import JiraStandIn
from tests.live_server import LiveServer

if TYPE_CHECKING:
    import uuid

TOKEN = "stand-in-token"  # noqa: S105 - the stand-in takes any
ROWS = 1_000
WIDTH, HEIGHT = 1_000, 760


def deliver(server: LiveServer) -> uuid.UUID:
    """Deliver an export, and return its session once it is read back."""
    text, _expected = jira_export(ROWS)
    with server.database.transaction() as db:
        sessions = SessionRepository(db)
        session_id: uuid.UUID = sessions.create_session(
            [IncomingDocument("jira-export.csv", text.encode())],
            label="Move the shop's backlog",
            options={"to": "jira", "project_key": "SHOP"},
        ).id
        sessions.start_task(session_id, TaskType.PROCESSING)

    def is_over() -> bool:
        with server.database.transaction() as db:
            session = SessionRepository(db).get(session_id)
        if session.task is not None and session.task.failure_context:
            raise RuntimeError(session.task.failure_context)
        return session.stage is SessionStage.COMPLETED

    with Worker(server.database, server.settings, concurrency=1):
        until(is_over, "the session is delivered", 300)
    return session_id


def main() -> None:
    """Deliver, and take the pictures."""
    chromium = os.environ.get("SESSION_TASKS_TEST_CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        sys.exit("no Chromium here")
    with tempfile.TemporaryDirectory() as folder, JiraStandIn() as jira:
        Path(folder).chmod(0o711)  # as root the server runs under another account
        jira.site.add_project("SHOP", components=("Cart", "Search"), versions=("1.0",))
        jira.site.add_account("Ann Other", token=TOKEN)
        of_jira = {"jira_url": jira.url, "jira_token": TOKEN, "data_dir": folder}
        with EmbeddedServer.acquire(Path(folder)) as postgres:
            upgrade_schema(postgres.url)
            with (
                LiveServer(str(postgres.url), **of_jira) as server,
                sync_playwright() as playwright,
            ):
                session_id = deliver(server)
                name, value = cookie_of(server.database, server.server.port)
                browser = playwright.chromium.launch(
                    executable_path=chromium, args=list(CHROMIUM_OPTIONS)
                )
                for theme in THEMES:
                    context = browser.new_context(
                        color_scheme=theme,  # type: ignore[arg-type]  # one of its literals
                        viewport={"width": WIDTH, "height": HEIGHT},
                        reduced_motion="reduce",
                    )
                    context.add_cookies([{"name": name, "value": value, "url": server.url}])
                    page = context.new_page()
                    page.goto(f"{server.url}/sessions/{session_id}")
                    take(page, HERE / f"delivery-{theme}.webp", whole=False)
                browser.close()


if __name__ == "__main__":
    main()
