"""What is done with many sessions at once: retried or cancelled, each if it still may be."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from app.core.wording import count_text
from app.repositories.session_repository import SessionRepository

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from app.core.database import Database

MOST_AT_ONCE = 5_000
"""Sessions that one bulk act takes; what is left can be taken by another."""

RUNS_PER_TRANSACTION = 500


class BulkAct(str, Enum):
    """What can be done with many sessions at once."""

    RETRY = "retry"
    CANCEL = "cancel"


def act_on(database: Database, owner: str, act: BulkAct, runs: Sequence[tuple[UUID, UUID]]) -> str:
    """Retry or cancel these runs of the owner's `(session_id, task_id)`; says what was done."""
    done = 0
    for start in range(0, len(runs), RUNS_PER_TRANSACTION):
        with database.transaction() as db:
            sessions = SessionRepository(db, owner=owner)
            move = sessions.retry_tasks if act is BulkAct.RETRY else sessions.cancel_tasks
            done += len(move(runs[start : start + RUNS_PER_TRANSACTION]))
    said = f"{'Retried' if act is BulkAct.RETRY else 'Cancelled'} {count_text(done, 'session')}."
    if done < len(runs):
        left_out = count_text(len(runs) - done, "session")
        said += f" {left_out} left out: moved on meanwhile, or locked."
    return said
