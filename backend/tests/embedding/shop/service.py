"""The shop's API: synchronous and asynchronous, each request in a transaction of its own."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

from fastapi import Depends, FastAPI
from sqlalchemy import create_engine, select
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session as DbSession

from app.core.config import Settings
from app.core.database import Database, bound
from app.models import SessionTask, TaskType
from app.repositories.content_reader import IncomingDocument
from app.repositories.session_repository import SessionRepository
from shop.models import Document, Order

URL = os.environ["SHOP_URL"]
engine = create_engine(URL)
plain_engine = create_engine(os.environ["SHOP_PLAIN_URL"])
async_engine = create_async_engine(URL)
database = Database.open(Settings())
api = FastAPI()


def shops_session() -> Iterator[DbSession]:
    with DbSession(engine) as db, db.begin():
        yield db


def our_session() -> Iterator[DbSession]:
    with database.transaction() as db:
        yield db


async def async_session() -> AsyncIterator[AsyncSession]:
    async with AsyncSession(async_engine) as db, db.begin():
        yield db


# `function`: commits before the response is sent, so that a client that reads it finds it done.
Shops = Annotated[DbSession, Depends(shops_session, scope="function")]
Ours = Annotated[DbSession, Depends(our_session, scope="function")]
Async = Annotated[AsyncSession, Depends(async_session, scope="function")]


@api.post("/orders")
def order(db: Shops) -> dict[str, str]:
    sessions = SessionRepository(db)
    lamp = IncomingDocument("order.md", b"# One lamp\n")
    opened = sessions.create_session([lamp], auto_advance=False)
    sessions.start_task(opened.id, TaskType.PROCESSING)
    db.add(Order(session_id=opened.id))
    return {"id": str(opened.id)}


@api.post("/documents")
def document() -> int:
    with DbSession(plain_engine) as db, db.begin():
        made = Document(title="lamp")
        db.add(made)
        db.flush()
        return made.number


@api.post("/orders/refused")
def refused(db: Shops) -> None:
    sessions = SessionRepository(db)
    sessions.start_task(sessions.create_session([]).id, TaskType.PROCESSING)
    raise LookupError("no lamp is left")


@api.get("/orders")
def orders(db: Shops) -> list[str]:
    return [str(each) for each in db.scalars(select(Order.session_id).order_by(Order.number))]


@api.get("/orders/{session_id}")
def status(session_id: uuid.UUID, db: Ours) -> dict[str, Any]:
    with bound(db):  # the dependency was entered in another thread, and another context
        active = SessionTask.find_active_for_session(session_id)
    task = SessionRepository(db).get(session_id).task
    return {
        "active": active is not None,
        "task_type": task and task.task_type.value,
        "status": task and task.status.value,
    }


@api.post("/async/orders/{session_id}/cancel")
async def cancel(session_id: uuid.UUID, db: Async) -> dict[str, bool]:
    def find(inside: DbSession) -> SessionTask | None:
        with bound(inside):
            return SessionTask.find_active_for_session(session_id)

    task = await db.run_sync(find)
    if task is not None:
        task.mark_cancelled()
    return {"cancelled": task is not None}


@api.get("/async/orders/{session_id}")
async def async_status(session_id: uuid.UUID, db: Async) -> str | None:
    task = await db.scalar(select(SessionTask).where(SessionTask.session_id == session_id))
    return None if task is None else task.status.value
