"""What is done with many sessions at once: retried or cancelled, each if it still may be."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from app.api.services import audit_acts
from app.core.wording import count_text
from app.repositories.session_queries import owners_of
from app.repositories.session_repository import SessionRepository

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from app.core.database import Database
    from app.repositories.access_repository import Principal

MOST_AT_ONCE = 5_000
"""Sessions that one bulk act takes; what is left can be taken by another."""

RUNS_PER_TRANSACTION = 500


class BulkAct(str, Enum):
    """What can be done with many sessions at once."""

    RETRY = "retry"
    CANCEL = "cancel"


_NAMES = {BulkAct.RETRY: "Task retried", BulkAct.CANCEL: "Task cancelled"}


def act_on(
    database: Database, caller: Principal, act: BulkAct, runs: Sequence[tuple[UUID, UUID]]
) -> str:
    """Retry or cancel these runs `(session_id, task_id)`, as far as the caller sees them.

    Returns what was done, in words. Each act on another owner's session is logged at AUDIT.
    """
    done = 0
    for start in range(0, len(runs), RUNS_PER_TRANSACTION):
        with database.transaction() as db:
            sessions = SessionRepository(db, owner=caller.sees)
            move = sessions.retry_tasks if act is BulkAct.RETRY else sessions.cancel_tasks
            moved = move(runs[start : start + RUNS_PER_TRANSACTION])
            done += len(moved)
            if caller.sees is None:
                others = owners_of(
                    db, [transition.session_id for transition in moved], exclude=caller.owner
                )
                audit_acts(db, caller, _NAMES[act], others)
    said = f"{'Retried' if act is BulkAct.RETRY else 'Cancelled'} {count_text(done, 'session')}."
    if done < len(runs):
        left_out = count_text(len(runs) - done, "session")
        said += f" {left_out} left out: moved on meanwhile, or locked."
    return said
