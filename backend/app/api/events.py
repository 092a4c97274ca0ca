"""Server-sent events of one session or of all; each event is a whole snapshot."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse

from app.api.event_broadcaster import Stream
from app.api.responses import API
from app.api.serializers import etag_of, session_resource
from app.api.services import EVERYWHERE, Caller, OwnerParameter, ServicesOf, owner_wanted, problems
from app.repositories.transition_errors import session_not_found

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from app.api.services import Services

router = APIRouter(prefix=API, tags=["events"], responses=problems(*EVERYWHERE))

LastEventId = Annotated[
    str | None, Header(max_length=200, description="sent by browsers automatically: resume")
]
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events `session` (data: the session as in lists), `deleted`, `reset` (you "
        "are too far behind: list again), for as long as you listen",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


class Until(str, Enum):
    """When a stream ends."""

    SETTLED = "settled"
    """When nothing more happens without a user's act."""


class EventStream(StreamingResponse):
    """A stream that unsubscribes from the broadcaster however it ends, even before it begins."""

    media_type = "text/event-stream"

    def __init__(self, services: Services, stream: Stream) -> None:
        super().__init__(
            stream.events(services.settings.keep_alive_seconds),
            media_type=self.media_type,
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )
        self._broadcaster = services.broadcaster
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until the stream ends or the client disconnects."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._broadcaster.remove(self._stream)


@router.get(
    "/sessions/{session_id}/events",
    response_class=Response,
    summary="Watch one session",
    responses={**_STREAM, **problems(404)},
)
async def watch_session(
    session_id: UUID,
    caller: Caller,
    services: ServicesOf,
    until: Annotated[Until | None, Query(description="end when the session has settled")] = None,
    last_event_id: LastEventId = None,
) -> Response:
    """Send the session's current state (unless you have it), then every change."""
    stream = Stream(caller, session_id, until_settled=until is Until.SETTLED)
    services.broadcaster.add(stream)  # before the first look: a change in between is not missed
    try:
        snapshot = await services.snapshots.read(session_id, caller.sees)
        if snapshot is None:
            raise session_not_found(session_id)  # noqa: TRY301 - the stream must be removed
    except BaseException:
        services.broadcaster.remove(stream)
        raise
    body, etag = etag_of(session_resource(snapshot), snapshot.task_id)
    if last_event_id == etag.strip('"'):
        stream.seen(snapshot, etag)
    else:
        stream.offer(snapshot, body, etag)
    return EventStream(services, stream)


@router.get(
    "/events",
    response_class=Response,
    summary="Watch all your sessions",
    responses={**_STREAM, **problems(403)},
)
async def watch_all(
    caller: Caller,
    services: ServicesOf,
    owner: OwnerParameter = None,
    last_event_id: LastEventId = None,
) -> Response:
    """Send every change from now on; if resumed, also those since the last event."""
    stream = Stream(caller, None, owner=owner_wanted(caller, owner))
    services.broadcaster.add(stream)
    try:
        since = _moment_of(last_event_id)
        if since is not None:
            await services.broadcaster.resume(stream, since)
    except BaseException:
        services.broadcaster.remove(stream)
        raise
    return EventStream(services, stream)


def _moment_of(event_id: str | None) -> datetime | None:
    """Return the moment of one of our event ids; None for any other id."""
    if event_id is None or not event_id.isascii() or not event_id.isdecimal():
        return None
    try:
        return datetime.fromtimestamp(int(event_id) / 1_000_000, tz=UTC)
    except (OverflowError, ValueError, OSError):
        return None
