"""Dependencies of routes: the services of this process, and the caller."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Header, Query, Request

from app.api.problems import NotAllowed
from app.api.resources import SafeText
from app.core.database import after_commit
from app.core.logging import log_audit
from app.models.access import KeyRole
from app.repositories.access_repository import Principal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any
    from uuid import UUID

    from sqlalchemy.orm import Session as DbSession

    from app.api.api_key_cache import ApiKeyCache
    from app.api.event_broadcaster import EventBroadcaster
    from app.api.failed_attempts import FailedAttempts
    from app.api.fair_queue import FairQueue
    from app.api.http_metrics import HttpMetrics
    from app.api.snapshot_loader import SnapshotLoader
    from app.core.config import Settings
    from app.core.database import Database
    from app.engines.broker import BrokerProbe
    from app.engines.sweeper import Dispatch
    from app.repositories.batcher import AsyncTransitionBatcher
    from app.repositories.session_snapshot import SessionSnapshot


@dataclass
class Services:
    """The services of this process that routes use.

    Attributes:
        dispatch: publishes tasks that wait to Celery's workers; None for the embedded engine.
        broker: says whether Celery's broker takes messages; None for the embedded engine.

    """

    database: Database
    settings: Settings
    api_keys: ApiKeyCache
    metrics: HttpMetrics
    snapshots: SnapshotLoader
    transitions: AsyncTransitionBatcher
    broadcaster: EventBroadcaster
    receiving: FairQueue
    uploads: FairQueue
    small_uploads: FairQueue
    previews: FairQueue
    failed_attempts: FailedAttempts
    dispatch: Dispatch | None = None
    broker: BrokerProbe | None = None
    is_schema_current: bool = False

    @property
    def browser_idle(self) -> timedelta:
        """How long a browser session lasts without a request."""
        return timedelta(hours=self.settings.browser_idle_hours)


async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


async def _caller(request: Request) -> Principal:
    """The caller that the request guard has authenticated."""
    principal: Principal = request.state.principal
    return principal


def known_of(request: Request) -> tuple[Services, Principal]:
    """Return the values of `ServicesOf` and `Caller`, at less cost to the busiest routes."""
    return request.app.state.services, request.state.principal


async def _administrator(caller: Annotated[Principal, Depends(_caller)]) -> Principal:
    if caller.role is not KeyRole.ADMIN:
        raise NotAllowed(
            "This needs a key with the role admin",
            next_step="Ask an operator: session-tasks keys create --role admin.",
        )
    return caller


async def _observer(caller: Annotated[Principal, Depends(_caller)]) -> Principal:
    if caller.role not in {KeyRole.ADMIN, KeyRole.VIEWER}:
        raise NotAllowed(
            "This needs a key with the role admin or viewer",
            next_step="Ask an operator: session-tasks keys create --role viewer.",
        )
    return caller


ServicesOf = Annotated[Services, Depends(_services)]
Caller = Annotated[Principal, Depends(_caller)]
Administrator = Annotated[Principal, Depends(_administrator)]
Observer = Annotated[Principal, Depends(_observer)]
IfMatch = Annotated[
    SafeText | None,
    Header(
        max_length=200,
        description="an ETag of the task: act only while that run is the last one, else 412",
    ),
]
LONGEST_IF_NONE_MATCH = 1000
IfNoneMatch = Annotated[
    str | None,
    Header(max_length=LONGEST_IF_NONE_MATCH, description="an ETag: 304 while nothing has changed"),
]
IdempotencyKey = Annotated[
    SafeText | None,
    Header(
        min_length=1,
        max_length=255,
        description="a name for this request: sent again under it, nothing happens twice and the "
        "first answer is given, for a day",
    ),
]


OwnerParameter = Annotated[
    SafeText | None,
    Query(
        min_length=1,
        max_length=200,
        description="only this owner's sessions; another than your own needs the role admin, which "
        "sees all owners' without it",
    ),
]


def owner_wanted(caller: Principal, owner: str | None) -> str | None:
    """Return the owner whose sessions are asked for; None: everybody's.

    Raises:
        NotAllowed: it is not the caller's own, and the caller is no administrator.

    """
    if owner is None:
        return caller.sees
    if caller.sees not in {None, owner}:
        raise NotAllowed(
            "Other owners' sessions need a key with the role admin",
            next_step="Leave `owner` out, or ask an operator: "
            "session-tasks keys create --role admin.",
        )
    return owner


def require_act(caller: Principal) -> None:
    """Return where the caller may change anything.

    Raises:
        NotAllowed: the key is a viewer's.

    """
    if not caller.may_act:
        raise NotAllowed(
            "A key with the role viewer may look, and change nothing",
            next_step="Ask an operator for another: session-tasks keys create --role user.",
        )


def audit_act(db: DbSession, caller: Principal, act: str, session: SessionSnapshot) -> None:
    """Log at AUDIT, once it is committed, what a caller did to another owner's session."""
    after_commit(db, lambda: log_act(caller, act, session))


def audit_acts(
    db: DbSession, caller: Principal, act: str, sessions: Sequence[tuple[UUID, str]]
) -> None:
    """Log at AUDIT, once it is committed, what a caller did to these (id, owner): one line each."""

    def log() -> None:
        for session_id, owner in sessions:
            _log_act(caller, act, session_id, owner)

    after_commit(db, log)


def log_act(caller: Principal, act: str, session: SessionSnapshot) -> None:
    """Log at AUDIT what a caller has done to another owner's session."""
    if session.owner != caller.owner:
        _log_act(caller, act, session.session_id, session.owner)


def _log_act(caller: Principal, act: str, session_id: UUID, owner: str) -> None:
    log_audit(
        f"{act} as an administrator",
        session_id=session_id,
        owner=owner,
        by_owner=caller.owner,
        by_key=caller.key_id,
    )


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """These statuses, as the OpenAPI document has them."""
    return {
        status: {
            "description": _MEANINGS[status],
            "content": {
                "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
            },
        }
        for status in statuses
    }


EVERYWHERE = (401, 422, 429, 500, 503)
_MEANINGS = {
    400: "The request cannot be parsed",
    401: "No valid API key",
    403: "The key may not do that",
    404: "No such thing, or it is another owner's",
    405: "Method not allowed",
    408: "The request did not arrive in time",
    409: "The state does not allow it",
    412: "The session has moved on",
    413: "The request is too large",
    422: "The request cannot be understood",
    429: "Too many requests",
    500: "Internal server error",
    503: "It will pass: see Retry-After",
}
