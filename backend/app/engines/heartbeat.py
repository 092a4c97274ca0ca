"""Renewal of leases: one statement renews all leases of a worker, and stores progress."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from app.core.errors import ConfigurationError
from app.engines.connections import HeldConnection
from app.engines.runs import RunRegistry, StopReason
from app.repositories import transitions

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

    from app.core.config import Settings
    from app.core.database import Database

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_NEWS = 0.5
"""The longest delay of progress, and of the check of a claim."""


class LeaseRenewer:
    """Sends heartbeats for all runs; a run whose claim is lost is stopped.

    `step` is the body of a `Loop`. A beat is due every `heartbeat_seconds`, and sooner where there
    is progress to report or `ask_about` named a session of a run.

    Attributes:
        connection: the connection for heartbeats, used by the thread that calls `step`.

    """

    def __init__(
        self, vital: Database, settings: Settings, runs: RunRegistry, announcer: Database
    ) -> None:
        self.connection = HeldConnection(vital)
        self._settings = settings
        self._runs = runs
        self._announcer = announcer
        self._beaten_at = float("-inf")
        self._is_asked = False

    def ask_about(self, session_ids: Collection[UUID]) -> bool:
        """Note that these sessions changed; return whether a heartbeat is now due soon."""
        self._is_asked = self._is_asked or self._runs.has_session_of(session_ids)
        return self._is_asked

    def step(self) -> float | None:
        """Send a heartbeat if it is due; return the seconds until the next call."""
        runs = self._runs.all()
        if not runs:
            return None
        is_news = self._is_asked or any(run.has_news for run in runs)
        interval = self._settings.heartbeat_seconds
        soon = min(interval, SECONDS_BETWEEN_NEWS)
        due_at = min(run.leased_at for run in runs) + interval
        if is_news:
            due_at = min(due_at, self._beaten_at + soon)
        wait = due_at - time.monotonic()
        if wait > 0:
            return min(wait, soon)  # progress is noted without a wake-up, so check for it
        self.beat()
        return soon

    def beat(self) -> None:
        """Renew every lease once; those that another transaction has locked come last.

        Raises:
            DatabaseUnavailable: no progress is lost.

        """
        self._is_asked = False
        beats = {run: run.take_heartbeat() for run in self._runs.all()}
        if not beats:
            return
        sent_at = time.monotonic()
        try:
            with self.connection.use() as connection:
                held = transitions.heartbeat(
                    connection,
                    [beat for beat, _ in beats.values()],
                    lease_seconds=self._settings.lease_seconds,
                    skips_locked=True,
                )
                left = [run.claim for run in beats if run.claim.claim_token not in held]
                locked = transitions.still_valid(connection, left)
        except BaseException:
            for run, (_, progress) in beats.items():
                run.give_back(progress)
            raise
        self._beaten_at = sent_at
        for run, (_, progress) in beats.items():
            if run.claim.claim_token in held:
                run.renewed(sent_at)
            elif run.claim.claim_token in locked:
                run.give_back(progress)  # for the next beat
            else:
                run.stop(StopReason.CLAIM_LOST, grace_seconds=self._settings.cancel_grace_seconds)
        self._announcer.announce(
            run.claim.session_id
            for run, (_, progress) in beats.items()
            if progress is not None and run.claim.claim_token in held
        )

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()


def require_timely_heartbeats(settings: Settings) -> None:
    """Check that a lease is long enough for a late heartbeat.

    Raises:
        ConfigurationError: it is not.

    """
    if settings.heartbeat_seconds * 2 > settings.lease_seconds:
        raise ConfigurationError(
            f"A heartbeat every {settings.heartbeat_seconds:g} s is too slow for a lease of "
            f"{settings.lease_seconds:g} s",
            next_step="Make SESSION_TASKS_LEASE_SECONDS at least twice "
            "SESSION_TASKS_HEARTBEAT_SECONDS.",
        )
