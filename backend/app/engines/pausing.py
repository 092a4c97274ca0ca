"""Pausing and resuming claims, by task type, in every worker of either engine."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from app.engines.sweeper import redispatch
from app.repositories.pause_repository import (
    count_claims_under_way,
    database_moment,
    delete_pauses,
    insert_pauses,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.core.database import Database
    from app.engines.sweeper import Dispatch
    from app.values.states import TaskType

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LOOKS = 0.01


def pause_claims(database: Database, task_types: Sequence[TaskType], *, by: str) -> int:
    """Prevent claims of these task types from now on; running tasks continue.

    It waits until no earlier claim is in progress, at most `lock_timeout_seconds`, and returns the
    number of statements that may still claim one, usually 0.
    """
    with database.transaction() as db:
        insert_pauses(db, task_types, by=by)
    end = time.monotonic() + database.settings.lock_timeout_seconds
    with database.autocommit_connection() as connection:
        moment = database_moment(connection)
        while under_way := count_claims_under_way(connection, moment):
            if time.monotonic() > end:
                logger.warning("%d statements that began before the pause go on", under_way)
                break
            time.sleep(SECONDS_BETWEEN_LOOKS)
    return under_way


def resume_claims(
    database: Database,
    task_types: Sequence[TaskType],
    *,
    by: str,
    dispatch: Dispatch | None = None,
) -> int:
    """Allow claims of these task types again, and notify workers of waiting tasks.

    Celery's workers have dropped messages in the meantime: `dispatch` publishes them
    again; without it a sweep does, after a lease. Returns the number of waiting tasks.
    """
    with database.transaction() as db:
        delete_pauses(db, task_types, by=by)
    return redispatch(database, older_than_seconds=0.0, dispatch=dispatch).redispatched
