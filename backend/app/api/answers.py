"""Answers: as JSON, kept under an Idempotency-Key, or refused with the session's state."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from fastapi import Response

from app.api.presenting import session_state
from app.api.problems import kind_of
from app.core.errors import DatabaseUnavailable, TaskError
from app.repositories.idempotency_repository import IdempotencyRepository, KeptAnswer
from app.repositories.session_queries import SessionQueries

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from pydantic import BaseModel
    from sqlalchemy.orm import Session as DbSession

    from app.api.services import Services
    from app.repositories.access_repository import Principal

API = "/api/v1"
ACCEPTED = 202
CONFLICT = 409


def json_answer(resource: BaseModel) -> Response:
    """The resource, as JSON."""
    return Response(resource.model_dump_json(), media_type="application/json")


def answer_of(answer: KeptAnswer | None) -> Response:
    """The answer that was kept, or was just made; a start says when to look again."""
    if answer is None:
        message = "a turn that ended without an answer"
        raise RuntimeError(message)
    headers = {"Location": answer.location} if answer.location else {}
    if answer.status_code == ACCEPTED:
        headers["Retry-After"] = "1"
    return Response(
        answer.body,
        status_code=answer.status_code,
        media_type="application/json",
        headers=headers,
    )


class Turn:
    """One request's turn under its Idempotency-Key; `answer` is what it is answered."""

    def __init__(self, answer: KeptAnswer | None) -> None:
        self.answer = answer
        self.is_new = answer is None

    def keep(self, answer: KeptAnswer) -> None:
        """Answer this, now and whenever the request is sent again."""
        self.answer = answer


@contextmanager
def once(db: DbSession, caller: Principal, key: str | None, fingerprint: bytes) -> Iterator[Turn]:
    """A turn in which `answer` is set already if the effect was made before.

    Raises:
        IdempotencyKeyInFlight, IdempotencyKeyReused: there is no turn.

    """
    if key is None:
        yield Turn(None)
        return
    records = IdempotencyRepository(db, owner=caller.owner)
    turn = Turn(records.begin(key, fingerprint))
    yield turn
    if turn.is_new and turn.answer is not None:
        records.keep(key, fingerprint, turn.answer)


@contextmanager
def telling_state(services: Services, caller: Principal, session_id: UUID) -> Iterator[None]:
    """Have every refusal that is a conflict tell how the session stands instead."""
    try:
        yield
    except TaskError as error:
        if kind_of(error).status == CONFLICT:
            with suppress(DatabaseUnavailable), services.database.transaction() as db:
                snapshot = SessionQueries(db, owner=caller.owner).snapshot(session_id)
                if snapshot is not None:
                    vars(error)["current"] = session_state(snapshot)
        raise
