"""The time that 1,000 issues take, beside that of the requests that create them, in a row.

The stand-in for Jira is a process of its own and takes 400 ms for every request. Jira takes at most
50 issues in one, so that 20 requests in a row are the limit.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chaos.waiting import until

from app.core.config import Settings
from app.core.database import Database
from app.engines.worker import Worker
from app.models.results import TaskResults, TicketDraft
from app.models.session import SessionStage, TaskType
from app.repositories.session_repository import SessionRepository

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUNDS = 3
TICKETS = 1_000
SECONDS_EACH = 0.4
REQUESTS = TICKETS // 50
TOKEN = "stand-in-token"
LONGEST = 120.0


def measure() -> dict[str, Any]:
    """Return the seconds of each task and of the limit, medians, and the export as limits."""
    with tempfile.TemporaryDirectory(prefix="session-tasks-bench-") as folder, _stand_in() as url:
        Path(folder).chmod(0o711)  # as root the server runs under another account
        settings = Settings.model_validate({
            "data_dir": folder, "jira_url": url, "jira_token": TOKEN, "pool_size": 4,
        })  # fmt: skip
        with Database.open(settings) as database:
            rounds = [_deliver(database, settings) for _ in range(ROUNDS)]
    limit = REQUESTS * SECONDS_EACH
    export, validation = (statistics.median(column) for column in zip(*rounds, strict=True))
    return {
        "tickets": TICKETS,
        "limit_seconds": limit,
        "export_seconds": round(export, 2),
        "export_as_limits": round(export / limit, 2),
        "export_as_limits_each": [round(seconds / limit, 2) for seconds, _ in rounds],
        "load_average": [round(each, 1) for each in os.getloadavg()],
        "read_back_seconds": round(validation, 2),
    }


@contextmanager
def _stand_in() -> Iterator[str]:
    """Run a stand-in, and return its address."""
    root = Path(__file__).parent.parent
    words = ("-m", "tests.jira_stand_in", "--port", "0", "--seconds", str(SECONDS_EACH))
    with subprocess.Popen(
        [sys.executable, *words, "--token", TOKEN],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root / "backend")},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip().rpartition("=")[2]
        finally:
            process.terminate()


def _deliver(database: Database, settings: Settings) -> tuple[float, ...]:
    """Deliver a session, and return the seconds of its export and of its validation."""
    session_id = _open(database)
    worker = Worker(database, settings, concurrency=1, session_ids=[session_id])
    worker.start()
    try:
        until(lambda: _is_over(database, session_id), "the session is delivered", LONGEST)
    finally:
        worker.stop(grace_seconds=0)
    with database.transaction() as db:
        times = SessionRepository(db).get(session_id).session.stage_times
    return tuple(times[task].ran_seconds for task in (TaskType.EXPORT, TaskType.ADF_VALIDATION))


def _open(database: Database) -> uuid.UUID:
    """Open a session whose tickets wait to be delivered."""
    text = {"type": "text", "text": "What the ticket is about, in a sentence of some length. " * 8}
    paragraph = {"type": "paragraph", "content": [text]}
    described = json.dumps({"type": "doc", "version": 1, "content": [paragraph] * 4})
    fields = json.dumps({
        "priority": "High", "labels": ["one", "two"], "duedate": "2026-12-24",
        "assignee": "Ann Other",
    })  # fmt: skip
    tickets = [
        TicketDraft(f"Ticket {number}", described, "issues.csv", number + 1, fields)
        for number in range(1, TICKETS + 1)
    ]
    with database.transaction() as db:
        sessions = SessionRepository(db)
        options = {"to": "jira", "project_key": "SHOP"}
        session_id = sessions.create_session(options=options, auto_advance=True).id
        started = sessions.start_task(session_id, TaskType.PROCESSING)
        claim = sessions.claim_task(session_id, started.task_id, uuid.uuid4())
        assert claim is not None
        sessions.complete_task(claim, TaskResults(tickets=tickets))
    return session_id


def _is_over(database: Database, session_id: uuid.UUID) -> bool:
    with database.transaction() as db:
        view = SessionRepository(db).get(session_id)
        if view.task is not None and view.task.failure_context:
            raise RuntimeError(view.task.failure_context)
        return view.session.stage is SessionStage.COMPLETED
