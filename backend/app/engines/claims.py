"""The claims of a worker, including those whose response was lost."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from app.repositories import transitions
from app.repositories.transitions import ClaimRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from contextlib import AbstractContextManager
    from uuid import UUID

    import psycopg

    from app.engines.connections import HeldConnection
    from app.values.claims import Claim
    from app.values.states import TaskType


class _Inquiry(NamedTuple):
    """How to find the claims of a call whose response was lost.

    Attributes:
        claimed_at: the moment before the call; None if the inquiry renews the lease.

    """

    claimed_at: float | None
    ask: Callable[[psycopg.Connection[Any]], list[Claim]]


class ClaimSource:
    """Claims tasks for one worker, and finds the claims of calls whose response was lost.

    Args:
        session_ids: the only sessions whose tasks are claimed; None: any.

    """

    def __init__(
        self,
        connection: HeldConnection,
        worker_id: UUID,
        *,
        task_types: Sequence[TaskType],
        session_ids: Collection[UUID] | None,
        lease_seconds: float,
    ) -> None:
        self._connection = connection
        self._worker_id = worker_id
        self._task_types = task_types
        self._session_ids = session_ids
        self._lease_seconds = lease_seconds
        self._inquiries: list[_Inquiry] = []

    def claim(self, limit: int) -> list[Claim]:
        """Claim up to `limit` waiting tasks, the longest waiting first."""
        if self._session_ids is not None:
            return self._claim_of_sessions(self._session_ids, limit)
        call_id = uuid4()
        inquiry = _Inquiry(
            time.monotonic(),
            lambda connection: transitions.claims_of_call(connection, self._worker_id, call_id),
        )
        return self._claimed_by(
            inquiry,
            lambda connection: transitions.claim_next(
                connection,
                self._worker_id,
                task_types=self._task_types,
                limit=limit,
                lease_seconds=self._lease_seconds,
                call_id=call_id,
            ),
        )

    def look_for(self, wishes: Sequence[ClaimRequest]) -> None:
        """Have `recover` look up these too: the response to their claims was lost."""
        self._inquiries.append(self._inquiry_about(wishes))

    def recover(
        self,
        connect: Callable[[], AbstractContextManager[psycopg.Connection[Any]]] | None = None,
    ) -> Iterator[tuple[list[Claim], float]]:
        """Return the claims of calls whose response was lost, and when they were made."""
        for inquiry in tuple(self._inquiries):
            asked_at = time.monotonic()
            with (connect or self._connection.use)() as connection:
                claims = inquiry.ask(connection)
            self._forget(inquiry)
            yield claims, inquiry.claimed_at or asked_at

    def _claim_of_sessions(self, session_ids: Collection[UUID], limit: int) -> list[Claim]:
        with self._connection.use() as connection:
            runs = transitions.waiting(
                connection, session_ids, task_types=self._task_types, limit=limit
            )
        if not runs:
            return []
        inquiry = self._inquiry_about([ClaimRequest(*run, self._worker_id) for run in runs])
        return self._claimed_by(inquiry, inquiry.ask)

    def _inquiry_about(self, wishes: Sequence[ClaimRequest]) -> _Inquiry:
        """Return an idempotent claim: repeating it returns the claims already made."""
        return _Inquiry(
            None,
            lambda connection: transitions.claim_these(
                connection, wishes, lease_seconds=self._lease_seconds
            ),
        )

    def _claimed_by(
        self, inquiry: _Inquiry, claim: Callable[[psycopg.Connection[Any]], list[Claim]]
    ) -> list[Claim]:
        """Claim; if the response is lost, keep an inquiry for `recover`."""
        self._inquiries.append(inquiry)
        with self._connection.use() as connection:
            claims = claim(connection)
        self._forget(inquiry)
        return claims

    def _forget(self, inquiry: _Inquiry) -> None:
        with contextlib.suppress(ValueError):  # the stopping thread removed it first
            self._inquiries.remove(inquiry)
