"""Follow a session: yield its snapshots until its work has ended."""

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
