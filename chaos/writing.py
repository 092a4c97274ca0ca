"""A handler whose rows of its own are written with its completion, and points to die among them."""

from __future__ import annotations

import dataclasses
import os
import random
import threading
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session as DbSession

from app.core.errors import ErrorCategory, TaskError
from app.repositories.own_writes import run_writes
from app.repositories.session_repository import SessionRepository
from app.values.results import TaskResults, Write
from chaos.bugs import BUG, WRITE_APART
from chaos.handlers import behave
from chaos.points import reach

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.tasks.context import TaskContext
    from app.values.claims import Claim

ROWS = 4
HALF = "half of its rows written"
WHOLE = "its rows written, not committed"
POINTS = (HALF, WHOLE)
SECONDS_TO_WRITE = 0.04

TABLE = "CREATE TABLE effects (session_id uuid, task_id uuid, task_type text, number integer)"
_ROW = text("INSERT INTO effects VALUES (:session_id, :task_id, :task_type, :number)")


def handle(context: TaskContext) -> TaskResults:
    """Behave as the session's options say; return rows to be written."""
    results = behave(context)
    options = context.options.model_extra or {}
    payload = {
        "task_id": str(context.task_id),
        "task_type": context.task_type.value,
        "is_refused": bool(options.get("refuses_rows")) and context.attempt == 1,
    }
    return dataclasses.replace(results, writes=[Write("chaos.writing:add_rows", payload)])


def add_rows(db: DbSession, session_id: UUID, payload: dict[str, Any]) -> None:
    """Insert rows, one after the other; the first attempt may fail after them."""
    of_run = {key: payload[key] for key in ("task_id", "task_type")}
    for number in range(ROWS):
        if number == ROWS // 2:
            reach(HALF)
        db.execute(_ROW, {"session_id": session_id, **of_run, "number": number})
        threading.Event().wait(random.uniform(0, SECONDS_TO_WRITE / ROWS))
    if payload["is_refused"]:
        raise TaskError("No rows, on purpose", category=ErrorCategory.TEMPORARY)
    reach(WHOLE)


def plant() -> None:
    """Plant the bug in this worker, if the environment names it."""
    if os.environ.get(BUG) == WRITE_APART:
        SessionRepository.complete_tasks = _write_apart  # type: ignore[method-assign]


_complete_tasks = SessionRepository.complete_tasks


def _write_apart(
    self: SessionRepository, completions: Sequence[tuple[Claim, TaskResults | None]]
) -> Any:
    without = []
    for claim, results in completions:
        if results is not None:
            with DbSession(self._db.get_bind().engine) as own, own.begin():
                run_writes(own, claim.session_id, results.writes)
        without.append((claim, results and dataclasses.replace(results, writes=())))
    return _complete_tasks(self, without)
