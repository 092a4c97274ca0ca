"""The time that 1,000 issues take, beside that of the same requests sent in a row by a plain loop.

The stand-in for Jira takes 400 ms for every request. Jira takes at most 50 issues in one, so that
20 requests in a row, 8 s, are the limit. On a machine with other work these take longer themselves,
so that the loop runs in the same round; the number of requests does not depend on it. All
deliveries go into one project, by one account.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
from chaos.waiting import until

from app.core.config import Settings
from app.core.database import Database
from app.engines.worker import Worker
from app.models.session import SessionStage, TaskType
from app.repositories.content_reader import IncomingDocument
from app.repositories.content_repository import ContentRepository
from app.repositories.session_repository import SessionRepository
from tests.jira_stand_in.server import JiraStandIn

ROUNDS = 3
TICKETS = 1_000
SECONDS_EACH = 0.4
REQUESTS = TICKETS // 50
TOKEN = "stand-in-token"
LONGEST = 120.0


def measure() -> dict[str, Any]:
    """Return the seconds of each task and of the loop, medians, and the export beside these."""
    with (
        JiraStandIn() as jira,
        tempfile.TemporaryDirectory(prefix="session-tasks-bench-") as folder,
    ):
        Path(folder).chmod(0o711)  # as root the server runs under another account
        jira.site.add_project("SHOP")
        jira.site.add_account("Ann Other", token=TOKEN)
        jira.seconds_each = {"": SECONDS_EACH}
        settings = Settings.model_validate({
            "data_dir": folder, "jira_url": jira.url, "jira_token": TOKEN, "pool_size": 4,
        })  # fmt: skip
        with Database.open(settings) as database:
            rounds = [_deliver(database, settings, jira) for _ in range(ROUNDS)]
        if jira.violations:
            raise RuntimeError(jira.violations)
    limit = REQUESTS * SECONDS_EACH
    export, read_back, loop = (
        statistics.median(column) for column in zip(*(each for each, _ in rounds), strict=True)
    )
    return {
        "tickets": TICKETS,
        "limit_seconds": limit,
        "in_a_row_seconds": round(loop, 2),
        "export_seconds": round(export, 2),
        "export_as_limits": round(export / limit, 2),
        "export_as_in_a_row": round(statistics.median(e / row for (e, _, row), _ in rounds), 2),
        "export_as_in_a_row_each": [round(e / row, 2) for (e, _, row), _ in rounds],
        "requests_each": [dict(requests) for _, requests in rounds],
        "read_back_seconds": round(read_back, 2),
        "load_average": [round(each, 1) for each in os.getloadavg()],
    }


def _deliver(
    database: Database, settings: Settings, jira: JiraStandIn
) -> tuple[tuple[float, float, float], Counter[str]]:
    """Deliver a session; return the seconds of export, validation and loop, and its requests."""
    jira.requests.clear()
    session_id = _open(database)
    worker = Worker(database, settings, concurrency=1, session_ids=[session_id])
    worker.start()
    try:
        until(lambda: _is_over(database, session_id), "the session is delivered", LONGEST)
    finally:
        worker.stop(grace_seconds=0)
    requests = Counter(name for name, *_ in jira.requests)
    with database.transaction() as db:
        times = SessionRepository(db).get(session_id).stage_times
        bodies = [each.body.encode() for each in ContentRepository(db).exports(session_id)]
    in_a_row = _seconds_in_a_row(str(settings.jira_url), bodies)
    ran = [times[task].ran_seconds for task in (TaskType.EXPORT, TaskType.ADF_VALIDATION)]
    return (ran[0], ran[1], in_a_row), requests


def _seconds_in_a_row(url: str, bodies: list[bytes]) -> float:
    """Send the bodies one after the other, as a script would, and return how long it took."""
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    with httpx.Client(headers=headers) as client:
        began = time.perf_counter()
        for body in bodies:
            client.post(f"{url}/rest/api/3/issue/bulk", content=body).raise_for_status()
        return time.perf_counter() - began


def _open(database: Database) -> uuid.UUID:
    """Open a session with a table of the tickets, and start its first task."""
    text = "What the ticket is about, in a sentence of some length. " * 8
    rows = (
        f'Ticket {number},High,"one, two",2026-12-24,Ann Other,"{text}\n\n{text}"'
        for number in range(1, TICKETS + 1)
    )
    content = "\n".join(("Summary,Priority,Labels,Due date,Assignee,Description", *rows))
    with database.transaction() as db:
        sessions = SessionRepository(db)
        session = sessions.create_session(
            [IncomingDocument("issues.csv", content.encode())],
            options={"to": "jira", "project_key": "SHOP"},
            auto_advance=True,
        )
        sessions.start_task(session.id, TaskType.PROCESSING)
        return session.id


def _is_over(database: Database, session_id: uuid.UUID) -> bool:
    with database.transaction() as db:
        session = SessionRepository(db).get(session_id)
        if session.task is not None and session.task.failure_context:
            raise RuntimeError(session.task.failure_context)
        return session.stage is SessionStage.COMPLETED
