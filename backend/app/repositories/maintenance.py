"""The operations of sweepers: any number may run at once, and a bad row delays no other."""

from __future__ import annotations

import logging
import uuid
from functools import partial
from typing import TYPE_CHECKING

import psycopg
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError

from app.core.database import driver_connection, use_custom_plans
from app.core.database_errors import is_connection_loss
from app.models.lease import RETRY_BACKOFF_SECONDS, LeaseSentinel
from app.repositories import maintenance_statements, transitions
from app.repositories.commit_effects import CommitEffects

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import timedelta

    from app.repositories.transitions import Transition

logger = logging.getLogger(__name__)


class Maintenance(CommitEffects):
    """The sweeper's statements, in the caller's transaction."""

    def rescue_expired(
        self, *, limit: int = 100, only: Sequence[uuid.UUID] | None = None
    ) -> list[Transition]:
        """Fail tasks whose lease has ended, and retry those that have attempts left.

        Each is failed (`worker_lost`, counted) and, where allowed, started again under a new
        task_id. Returns the failures, then the retries. Locked sessions are left
        to the next sweep; one that cannot be rescued is logged and left out.
        """
        moved = self._attempted(lambda: self._rescue(limit, only), "A batch of rescues")
        if moved is None:
            moved = self._each(
                transitions.expired(driver_connection(self._db)) if only is None else only,
                lambda session_id: self._rescue(1, [session_id]),
                limit,
            )
        self._after(moved)
        return moved

    def retry_due(self, *, limit: int = 100) -> list[Transition]:
        """Retry up to `limit` due temporary failures; return those that moved.

        One that cannot be retried is logged and left out.
        """
        due = self._due(limit)
        moved = self._attempted(lambda: self._retry(due), "A batch of retries") if due else []
        if moved is None:
            task_ids = dict(self._due(None))
            moved = self._each(
                list(task_ids),
                lambda session_id: self._retry([(session_id, task_ids[session_id])]),
                limit,
            )
        self._after(moved)
        return moved

    def redispatch(
        self, *, older_than_seconds: float, limit: int = 100
    ) -> list[tuple[uuid.UUID, uuid.UUID]]:
        """Return unclaimed tasks (session_id, task_id) to be published again.

        Each is returned to one caller, and not again for `older_than_seconds`.
        """
        rows = self._db.execute(
            text(maintenance_statements.REDISPATCH),
            {"older_than_seconds": older_than_seconds, "limit": limit},
        )
        return [(session_id, task_id) for session_id, task_id in rows]

    def rebuild_leases(
        self, *, lease_seconds: float, backoff_seconds: float = RETRY_BACKOFF_SECONDS
    ) -> int:
        """Rebuild leases and waiting retries that were lost in a database crash.

        Returns how many leases were made; -1 if none was lost (the sentinel exists). For
        one lease time only their former workers can restore them; then any may claim. What another
        transaction has locked is left to the next sweep.
        """
        sentinel = select(LeaseSentinel.id)
        if self._db.scalar(sentinel) is not None:
            return -1
        self._db.execute(select(func.pg_advisory_xact_lock(maintenance_statements.REBUILD_LOCK)))
        if self._db.scalar(text(maintenance_statements.PLANT_SENTINEL)) is None:
            return -1
        rebuilt = self._db.scalars(
            text(maintenance_statements.REBUILD_LEASES), {"lease_seconds": lease_seconds}
        ).all()
        self._db.execute(
            text(maintenance_statements.REBUILD_RETRIES), {"backoff_seconds": backoff_seconds}
        )
        if self._db.scalar(text(maintenance_statements.IS_ANYTHING_LEFT)):
            self._db.execute(text(maintenance_statements.PULL_SENTINEL))
        self._announce(rebuilt)
        return len(rebuilt)

    def heal_leases(self, *, lease_seconds: float) -> int:
        """Rebuild the lease of each task that has run for a whole lease time and has none.

        Returns how many were made. For one lease time only the worker that held it can restore it;
        then any may claim it. What another transaction has locked is left to the next sweep.
        """
        healed = self._db.scalars(
            text(maintenance_statements.HEAL_LEASES), {"lease_seconds": lease_seconds}
        ).all()
        self._announce(healed)
        return len(healed)

    def delete_expired(self, *, retention: timedelta, limit: int = 100) -> list[uuid.UUID]:
        """Delete up to `limit` sessions past their retention, never one whose task is running."""
        use_custom_plans(self._db)
        deleted = list(
            self._db.scalars(
                text(maintenance_statements.DELETE_EXPIRED),
                {"seconds": retention.total_seconds(), "limit": limit},
            )
        )
        self._announce(deleted)
        return deleted

    # -- private ----------------------------------------------------------------------------------

    def _rescue(self, limit: int, only: Sequence[uuid.UUID] | None) -> list[Transition]:
        connection = driver_connection(self._db)
        failed = transitions.rescue(connection, limit=limit, only=only)
        again = [(t.session_id, t.task_id, uuid.uuid4()) for t in failed]
        return [*failed, *(transitions.retry(connection, again) if again else ())]

    def _due(self, limit: int | None) -> list[tuple[uuid.UUID, uuid.UUID]]:
        """Return due retries, and lock their sessions; sessions locked by others are left out."""
        rows = self._db.execute(text(maintenance_statements.DUE_RETRIES), {"limit": limit})
        return [(session_id, task_id) for session_id, task_id in rows]

    def _retry(self, due: Sequence[tuple[uuid.UUID, uuid.UUID]]) -> list[Transition]:
        moved = transitions.retry(
            driver_connection(self._db), [(*retry, uuid.uuid4()) for retry in due]
        )
        self._db.execute(
            text(maintenance_statements.FORGET_RETRIES),
            {
                "session_ids": [session_id for session_id, _ in due],
                "task_ids": [task_id for _, task_id in due],
            },
        )
        return moved

    def _each(
        self,
        session_ids: Sequence[uuid.UUID],
        act: Callable[[uuid.UUID], list[Transition]],
        limit: int,
    ) -> list[Transition]:
        """Act on one session after the other, skipping those that fail, until `limit` succeeded."""
        moved: list[Transition] = []
        acted = 0
        for session_id in session_ids:
            if acted == limit:
                break
            one = self._attempted(partial(act, session_id), f"Session {session_id}")
            moved += one or ()
            acted += bool(one)
        return moved

    def _attempted(self, act: Callable[[], list[Transition]], what: str) -> list[Transition] | None:
        """Return the transitions; None, with nothing changed and a log line, if it failed."""
        try:
            with self._db.begin_nested():
                return act()
        except (psycopg.Error, DBAPIError) as error:
            if is_connection_loss(error):
                raise
            logger.exception("%s cannot be swept up", what)
            return None
