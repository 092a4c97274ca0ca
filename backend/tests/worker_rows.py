"""Rows of workers that are alive, as their heartbeats write them."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, text

from app.models.presence import WorkerPresence
from app.models.session import TaskType

if TYPE_CHECKING:
    from app.core.database import Database


def add_worker(database: Database, **known: Any) -> uuid.UUID:
    """Insert the row of a worker that is alive for an hour; returns its id."""
    row: dict[str, Any] = {
        "id": uuid.uuid4(),
        "host": "alpha",
        "pid": 4711,
        "version": "1.2.3",
        "engine": "celery",
        "concurrency": 2,
        "task_types": [task_type.value for task_type in TaskType],
        "started_at": text("now() - interval '2 hours'"),
        "leased_until": text("now() + interval '1 hour'"),
    }
    row |= known
    with database.transaction() as db:
        db.execute(insert(WorkerPresence).values(**row))
    worker_id: uuid.UUID = row["id"]
    return worker_id


def let_it_wait(database: Database, session_id: uuid.UUID) -> None:
    """Move the session's lease a minute back."""
    with database.transaction() as db:
        db.execute(
            text(
                "UPDATE session_task_leases SET enqueued_at = enqueued_at - interval '1 min'"
                " WHERE session_id = :id"
            ),
            {"id": session_id},
        )
