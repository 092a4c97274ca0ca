"""One snapshot of a session after the other, until nothing more will happen by itself."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from app.cli.snapshot import read_snapshot
from app.core.errors import DatabaseUnavailable
from app.repositories.session_snapshot import SessionSnapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID

    from app.core.database import Database

PATIENCE_SECONDS = 60.0
"""How long a database may be away, restarting say, before whoever follows gives up."""


def follow(
    database: Database,
    session_id: UUID,
    *,
    poll_seconds: float,
    check: Callable[[], None] = lambda: None,
) -> Iterator[SessionSnapshot]:
    """Give the session's snapshots: now, whenever this process changes it, and each poll.

    The last one is that of a session whose work has ended. A database that is away for a moment
    is waited for. `check` is called before each look, and may raise.

    Raises:
        SessionNotFound: there is none (any more).
        DatabaseUnavailable: the database stayed away for longer than `PATIENCE_SECONDS`.

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
