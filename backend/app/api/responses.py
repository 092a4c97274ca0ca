"""Responses: JSON, stored under an Idempotency-Key, or refused with the session's state."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from fastapi import Response

from app.api.problems import kind_of
from app.api.serializers import session_state
from app.core.errors import DatabaseUnavailable, TaskError
from app.repositories.idempotency_repository import IdempotencyRepository, StoredResponse
from app.repositories.session_queries import SessionQueries

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from pydantic import BaseModel
    from sqlalchemy.orm import Session as DbSession

    from app.api.services import Services
    from app.repositories.access_repository import Principal
    from app.repositories.session_snapshot import SessionSnapshot

API = "/api/v1"
ACCEPTED = 202
CONFLICT = 409
ASK_AGAIN_SECONDS = 1


def json_response(resource: BaseModel, status_code: int = 200) -> Response:
    """The resource as JSON."""
    return Response(
        resource.model_dump_json(), status_code=status_code, media_type="application/json"
    )


def stored_response(stored: StoredResponse | None) -> Response:
    """The response that was stored, now or earlier; after a start it says when to poll."""
    if stored is None:
        message = "an idempotent request that ended without a response"
        raise RuntimeError(message)
    headers = {"Location": stored.location} if stored.location else {}
    if stored.status_code == ACCEPTED:
        headers["Retry-After"] = str(ASK_AGAIN_SECONDS)
    return Response(
        stored.body,
        status_code=stored.status_code,
        media_type="application/json",
        headers=headers,
    )


class IdempotentRequest:
    """A request under its Idempotency-Key; `response` is set if its effect was made before."""

    def __init__(self, response: StoredResponse | None) -> None:
        self.response = response

    def keep(self, response: StoredResponse) -> None:
        """Return this response, now and whenever the request is repeated."""
        self.response = response


@contextmanager
def idempotent(
    db: DbSession, caller: Principal, key: str | None, fingerprint: bytes
) -> Iterator[IdempotentRequest]:
    """Make the effect at most once per key; without a key, every time.

    Raises:
        IdempotencyKeyInFlight: the first request is still being processed.
        IdempotencyKeyReused: the key belongs to another request.

    """
    if key is None:
        yield IdempotentRequest(None)
        return
    records = IdempotencyRepository(db, owner=caller.owner)
    stored = records.begin(key, fingerprint)
    request = IdempotentRequest(stored)
    yield request
    if stored is None and request.response is not None:
        records.keep(key, fingerprint, request.response)


@contextmanager
def reporting_state(services: Services, caller: Principal, session_id: UUID) -> Iterator[None]:
    """Add the session's present state to every conflict that is raised inside."""
    try:
        yield
    except TaskError as error:
        if is_conflict(error):
            with suppress(DatabaseUnavailable), services.database.transaction() as db:
                attach_state(error, SessionQueries(db, owner=caller.sees).snapshot(session_id))
        raise


def is_conflict(error: TaskError) -> bool:
    """Whether the session's state forbids what was asked."""
    return kind_of(error).status == CONFLICT


def attach_state(error: TaskError, snapshot: SessionSnapshot | None) -> None:
    """Have the problem document show the session's present state."""
    if snapshot is not None:
        vars(error)["current"] = session_state(snapshot)
