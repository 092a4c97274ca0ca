"""Handlers that hand back writes of their own, and the functions that these name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from app.values.results import TaskResults, Write

if TYPE_CHECKING:
    import uuid

    from sqlalchemy.orm import Session as DbSession

    from app.tasks.context import TaskContext


def process(context: TaskContext) -> TaskResults:
    options = context.options.model_extra or {}
    function = options.get("function", "own_writes:note")
    return TaskResults(
        notes=["processed"],
        writes=[Write("own_writes:note", {"number": 1}), Write(function, {"number": 2})],
    )


def note(db: DbSession, session_id: uuid.UUID, payload: Any) -> None:
    db.execute(
        text("INSERT INTO effects (session_id, number) VALUES (:session_id, :number)"),
        {"session_id": session_id, "number": payload["number"]},
    )


def refuse(db: DbSession, session_id: uuid.UUID, payload: Any) -> None:
    note(db, session_id, payload)
    raise LookupError("no such customer")


def leave(_db: DbSession, _session_id: uuid.UUID, _payload: Any) -> None:
    raise SystemExit(1)


def commit(db: DbSession, session_id: uuid.UUID, payload: Any) -> None:
    note(db, session_id, payload)
    db.commit()


def roll_back(db: DbSession, _session_id: uuid.UUID, _payload: Any) -> None:
    db.rollback()


async def wait(db: DbSession, session_id: uuid.UUID, payload: Any) -> None:
    note(db, session_id, payload)
