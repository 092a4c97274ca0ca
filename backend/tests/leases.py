"""The leases of sessions, as the tests read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.models.lease import SessionTaskLease

if TYPE_CHECKING:
    import uuid

    from app.repositories.session_repository import SessionRepository


def lease_of(sessions: SessionRepository, session_id: uuid.UUID) -> Any:
    """Return the lease that is stored now; None if there is none."""
    return sessions._db.get(SessionTaskLease, session_id, populate_existing=True)
