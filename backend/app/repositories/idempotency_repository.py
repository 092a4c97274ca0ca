"""One effect per Idempotency-Key: the response is stored in the transaction of the effect."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import func, select, text

from app.core.errors import ErrorCategory, TaskConflict, TaskValidationError
from app.models.access import IdempotencyRecord

if TYPE_CHECKING:
    from sqlalchemy.orm import Session as DbSession

KEPT_HOURS = 24


class IdempotencyKeyInFlight(TaskConflict):
    """A request with this key is being processed."""


class IdempotencyKeyReused(TaskValidationError):  # noqa: N818 - reads as the state it names
    """The key was used for another request."""


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """The response to the first request with a key; deleted with its session."""

    session_id: UUID | None
    status_code: int
    location: str | None
    body: str


class IdempotencyRepository:
    """The stored responses of one owner, in the transaction of `db`."""

    def __init__(self, db: DbSession, *, owner: str) -> None:
        self._db = db
        self._owner = owner

    def begin(self, key: str, fingerprint: bytes) -> StoredResponse | None:
        """Return the earlier response; None if the caller is to make the effect, now.

        An advisory lock holds the key until the transaction ends, so a second request does
        not wait for the first (PostgreSQL, section 13.3.5).

        Raises:
            IdempotencyKeyInFlight: another transaction holds the key.
            IdempotencyKeyReused: the key was used for another request.

        """
        if not self._db.scalar(select(func.pg_try_advisory_xact_lock(self._lock_of(key)))):
            raise IdempotencyKeyInFlight(
                "A request with this Idempotency-Key is being worked on",
                ErrorCategory.USER_FIXABLE,
                next_step="Wait a moment and send it again: you will get the first one's answer.",
            )
        record = self._db.get(IdempotencyRecord, (self._owner, key))
        if record is None:
            return None
        if record.fingerprint != fingerprint:
            raise IdempotencyKeyReused(
                "This Idempotency-Key was used for another request",
                next_step="Use a new key for a new request.",
            )
        return StoredResponse(record.session_id, record.status_code, record.location, record.body)

    def keep(self, key: str, fingerprint: bytes, answer: StoredResponse) -> None:
        """Store the response with the effect, for a day."""
        self._db.add(
            IdempotencyRecord(
                owner=self._owner,
                key=key,
                fingerprint=fingerprint,
                session_id=answer.session_id,
                status_code=answer.status_code,
                location=answer.location,
                body=answer.body,
            )
        )
        self._db.flush()

    def _lock_of(self, key: str) -> int:
        digest = hashlib.sha256(f"{len(self._owner)}:{self._owner}:{key}".encode()).digest()
        return int.from_bytes(digest[:8], "big", signed=True)


_FORGET = """
DELETE FROM idempotency_records WHERE (owner, key) IN (
    SELECT owner, key FROM idempotency_records
     WHERE created_at < clock_timestamp() - make_interval(hours => :hours)
     ORDER BY created_at LIMIT :limit FOR UPDATE SKIP LOCKED)
RETURNING 1"""


def forget_old_answers(db: DbSession, *, limit: int) -> int:
    """Delete up to `limit` responses older than a day; return how many."""
    return len(db.execute(text(_FORGET), {"hours": KEPT_HOURS, "limit": limit}).all())
