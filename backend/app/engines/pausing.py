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
    from app.models.session import TaskType

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LOOKS = 0.01


def pause_claims(database: Database, task_types: Sequence[TaskType], *, by: str) -> int:
    """Have no task of these types claimed from now on; those that run go on.

    Returns once no claim that began before is under way any more, or after
    `lock_timeout_seconds`: how many statements may then still claim one; 0 most often.
    """
    with database.transaction() as db:
        insert_pauses(db, task_types, by=by)
    end = time.monotonic() + database.settings.lock_timeout_seconds
    with database.autocommit.connect() as connection:
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
    """Let tasks of these types be claimed again, and tell workers of those that wait.

    Celery's workers have dropped the messages that came in the meantime: `dispatch` publishes them
    again; without it a sweep does, after a lease. Returns how many tasks wait.
    """
    with database.transaction() as db:
        delete_pauses(db, task_types, by=by)
    return redispatch(database, older_than_seconds=0.0, dispatch=dispatch).redispatched
