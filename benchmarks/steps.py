"""The cost of a durable step, beside one INSERT of the same row in a transaction of its own."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from app.core.config import Settings
from app.core.database import Database
from app.models.session import TaskType
from app.repositories.session_repository import SessionRepository
from app.tasks.steps import Steps, StepsInDatabase
from app.values.claims import Claim

ROUNDS = 5
STEPS = 1_000
RESULT = {"id": 10_001, "key": "SHOP-1", "self": "https://example.atlassian.net/rest/api/3/issue/1"}

TABLE = """
CREATE TABLE IF NOT EXISTS plain_rows (session_id uuid, task_type text, name varchar(200),
    result json NOT NULL, kept_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (session_id, task_type, name))"""
INSERT = "INSERT INTO plain_rows (session_id, task_type, name, result) VALUES (%s, %s, %s, %s)"


def measure() -> dict[str, Any]:
    """Return milliseconds a step and an INSERT, by turns in one run, and their ratio."""
    with tempfile.TemporaryDirectory(prefix="session-tasks-bench-") as folder:
        Path(folder).chmod(0o711)  # as root the server runs under another account
        with Database.open(Settings(data_dir=Path(folder), pool_size=1)) as database:
            with database.driver_connection() as connection:
                connection.execute(TABLE)
            rounds = [
                (_seconds_of_inserts(database), _seconds_of_steps(database))
                for _ in range(ROUNDS + 1)
            ][1:]  # the first warms up
    inserts, steps = zip(*rounds, strict=True)
    return {
        "insert_ms": round(statistics.median(inserts) / STEPS * 1_000, 3),
        "step_ms": round(statistics.median(steps) / STEPS * 1_000, 3),
        "step_as_inserts": round(statistics.median(s / i for i, s in rounds), 2),
    }


def _seconds_of_inserts(database: Database) -> float:
    session_id, result = uuid.uuid4(), json.dumps(RESULT)
    began = time.perf_counter()
    for number in range(STEPS):
        with database.driver_connection() as connection:
            connection.execute(INSERT, (session_id, "processing", f"step {number}", result))
    return time.perf_counter() - began


def _seconds_of_steps(database: Database) -> float:
    claim = _claim(database)
    store = StepsInDatabase(claim, lambda: database, patience_seconds=30, check=lambda: None)
    steps = Steps(claim.task_type, store, check=lambda: None, max_bytes=1 << 24)
    steps.kept()
    began = time.perf_counter()
    for number in range(STEPS):
        steps.run(f"step {number}", lambda: RESULT)
    return time.perf_counter() - began


def _claim(database: Database) -> Claim:
    with database.transaction() as db:
        sessions = SessionRepository(db)
        session_id = sessions.create_session().id
        started = sessions.start_task(session_id, TaskType.PROCESSING)
    with database.transaction() as db:
        claim = SessionRepository(db).claim_task(
            session_id, started.task_id, uuid.uuid4(), lease_seconds=3_600
        )
    if claim is None:
        message = "another worker claimed the task"
        raise RuntimeError(message)
    return claim
