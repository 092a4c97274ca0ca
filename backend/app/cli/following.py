"""Follow a session: yield its snapshots until its work has ended."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from app.cli.snapshot import read_snapshot
from app.core.errors import DatabaseUnavailable
from app.presentation.workers import why_not_taken
from app.repositories.pause_repository import read_pauses
from app.repositories.session_snapshot import LeaseState, SessionSnapshot
from app.repositories.worker_repository import SECONDS_TO_FIND_A_WORKER, live_workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID

    from app.cli.terminal import Terminal
    from app.core.database import Database

PATIENCE_SECONDS = 60.0
"""How long the database may be unavailable, while it restarts for example, before an error."""


def follow(
    database: Database,
    session_id: UUID,
    *,
    poll_seconds: float,
    check: Callable[[], None] = lambda: None,
) -> Iterator[SessionSnapshot]:
    """Yield the session's snapshots: now, whenever this process changes it, and at each poll.

    The last one is of a session whose work has ended. The database may be unavailable for
    `PATIENCE_SECONDS`. `check` is called before each read, and may raise.

    Raises:
        SessionNotFound: there is none, or it was deleted.
        DatabaseUnavailable: the database was unavailable for longer than `PATIENCE_SECONDS`.

    """
    changed = threading.Event()
    end_subscription = database.subscribe(
        lambda session_ids: changed.set() if session_id in session_ids else None
    )
    away_since: float | None = None
    try:
        while True:
            changed.clear()
            check()
            try:
                snapshot = read_snapshot(database, session_id)
            except DatabaseUnavailable:
                away_since = away_since or time.monotonic()
                if time.monotonic() - away_since > PATIENCE_SECONDS:
                    raise
            else:
                away_since = None
                yield snapshot
                if snapshot.is_settled:
                    return
            changed.wait(poll_seconds)
    finally:
        end_subscription()


def why_waiting(database: Database, snapshot: SessionSnapshot) -> str:
    """Return why no worker takes the session's task; empty where one has it or will soon."""
    if (
        snapshot.lease_state is not LeaseState.UNCLAIMED
        or snapshot.task_type is None
        or snapshot.enqueued_at is None
        or (snapshot.moment - snapshot.enqueued_at).total_seconds() < SECONDS_TO_FIND_A_WORKER
    ):
        return ""
    with database.autocommit_connection() as connection:
        workers, pauses = live_workers(connection), read_pauses(connection)
    return why_not_taken(workers, pauses, snapshot.task_type, snapshot.session_id)


class WaitingHint:
    """Says once why a task waits, where no worker takes it."""

    def __init__(self, terminal: Terminal, database: Database) -> None:
        self._terminal = terminal
        self._database = database
        self._is_shown = False

    def show(self, snapshot: SessionSnapshot) -> None:
        """Say it, unless it was said."""
        if self._is_shown:
            return
        with suppress(DatabaseUnavailable):  # `follow` is patient
            if why := why_waiting(self._database, snapshot):
                self._is_shown = True
                self._terminal.say(f"Waiting for a worker: {why}; see session-tasks workers")
