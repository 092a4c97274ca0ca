"""Retry, cancel or delete many sessions at once, each if that is still allowed."""

from __future__ import annotations

from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING

from app.api.services import audit_acts
from app.core.errors import SessionNotFound
from app.core.wording import count_text
from app.repositories.session_queries import owners_of
from app.repositories.session_repository import SessionRepository

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from app.core.database import Database
    from app.repositories.access_repository import Principal

MOST_AT_ONCE = 5_000
"""The most sessions of one bulk act; another can act on the rest."""

RUNS_PER_TRANSACTION = 500
_DONE = {"retry": "Retried", "cancel": "Cancelled", "delete": "Deleted"}


class BulkAct(str, Enum):
    """An act on many sessions at once."""

    RETRY = "retry"
    CANCEL = "cancel"
    DELETE = "delete"


_AUDITED = {
    BulkAct.RETRY: "Task retried",
    BulkAct.CANCEL: "Task cancelled",
    BulkAct.DELETE: "Session deleted",
}


def act_on(
    database: Database, caller: Principal, act: BulkAct, runs: Sequence[tuple[UUID, UUID]]
) -> str:
    """Do it to those of these runs `(session_id, task_id)` that the caller may see.

    Returns a text that says what was done. Each act on another owner's session is logged at AUDIT.
    """
    done = 0
    for start in range(0, len(runs), RUNS_PER_TRANSACTION):
        with database.transaction() as db:
            batch = runs[start : start + RUNS_PER_TRANSACTION]
            others: list[tuple[UUID, str]] = []
            if caller.sees is None:  # before they are deleted
                ids = [session_id for session_id, _ in batch]
                others = owners_of(db, ids, exclude=caller.owner)
            moved = _act(SessionRepository(db, owner=caller.sees), act, batch)
            done += len(moved)
            audited = [(session_id, owner) for session_id, owner in others if session_id in moved]
            audit_acts(db, caller, _AUDITED[act], audited)
    said = f"{_DONE[act.value]} {count_text(done, 'session')}."
    if done < len(runs):
        left_out = count_text(len(runs) - done, "session")
        said += f" {left_out} left out: changed meanwhile, or locked."
    return said


def _act(sessions: SessionRepository, act: BulkAct, runs: Sequence[tuple[UUID, UUID]]) -> set[UUID]:
    """Do it, and return the sessions that changed; the others changed before, or are gone."""
    if act is BulkAct.RETRY:
        return {moved.session_id for moved in sessions.retry_tasks(runs)}
    if act is BulkAct.CANCEL:
        return {moved.session_id for moved in sessions.cancel_tasks(runs)}
    deleted = set()
    for session_id in sorted(session_id for session_id, _ in runs):  # the order of all locks
        with suppress(SessionNotFound):
            sessions.delete_session(session_id)
            deleted.add(session_id)
    return deleted
