"""The current transaction: its `DbSession`, and actions after its commit."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import weakref
from collections.abc import Callable, Hashable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import event
from sqlalchemy.orm import Session as DbSession
from sqlalchemy.orm import SessionTransaction

from app.core.errors import NoTransaction

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

logger = logging.getLogger(__name__)

_PENDING = "after_commit"


@dataclass(eq=False, slots=True)
class _Binding:
    """A session that a block was bound to; no longer open after the block.

    A token of `ContextVar.reset` would not do: a generator that FastAPI uses as a dependency is
    entered in one context and left in another.
    """

    db: DbSession
    outer: _Binding | None
    is_open: bool = True


_bound: ContextVar[_Binding | None] = ContextVar("bound", default=None)
_begun: ContextVar[tuple[Hashable, tuple[weakref.ref[DbSession], ...]]] = ContextVar(
    "begun", default=(None, ())
)


@contextlib.contextmanager
def bound(db: DbSession | AsyncSession) -> Iterator[DbSession]:
    """Use `db`, any SQLAlchemy session, for the queries of `SessionTask` within the block.

    For an `AsyncSession`, give its synchronous session, and call the queries by its `run_sync`.
    """
    session = db if isinstance(db, DbSession) else db.sync_session
    binding = _Binding(session, _bound.get())
    _bound.set(binding)
    try:
        yield session
    finally:
        binding.is_open = False
        if _bound.get() is binding:
            _bound.set(binding.outer)


def current_db_session() -> DbSession:
    """Return the `DbSession` of the current code.

    It is the one that an enclosing block is `bound` to (as in `Database.transaction`); without
    such a block, the only one whose transaction has begun in this thread, or asyncio task.

    Raises:
        NoTransaction: there is none, or several.

    """
    binding = _bound.get()
    while binding is not None and not binding.is_open:
        binding = binding.outer
    if binding is not None:
        return binding.db
    begun = _sessions_begun_here()
    if len(begun) != 1:
        raise NoTransaction(
            "Several transactions are open here" if begun else "No transaction is open",
            next_step="Wrap the call in `with database.transaction():`, or for a session of your "
            "own, db, in `with bound(db):` (app.core.database).",
        )
    return begun[0]


@event.listens_for(DbSession, "after_begin")
def _note_begun(db: DbSession, _transaction: object, _connection: object) -> None:
    begun = (each for each in _sessions_begun_here() if each is not db)
    _begun.set((_here(), tuple(weakref.ref(each) for each in (*begun, db))))


def _sessions_begun_here() -> list[DbSession]:
    where, begun = _begun.get()
    if where != _here():  # a copy from another thread or task, which still uses them
        return []
    return [db for ref in begun if (db := ref()) is not None and db.in_transaction()]


def _here() -> Hashable:
    try:
        return threading.get_ident(), asyncio.current_task()
    except RuntimeError:  # no event loop runs in this thread
        return threading.get_ident(), None


def after_commit(db: DbSession, action: Callable[[], None]) -> None:
    """Run `action` after the transaction of `db` has committed, and never if it does not.

    A rolled back savepoint drops its actions. The commit is unaffected by
    actions: an error in one is logged, and the others run.
    """
    inside = db.get_nested_transaction() or db.get_transaction()
    db.info.setdefault(_PENDING, []).append((inside, action))


@event.listens_for(DbSession, "after_commit")
def _run_after_commit(db: DbSession) -> None:
    if db.in_nested_transaction():  # only a savepoint was released
        return
    for _, action in db.info.pop(_PENDING, ()):
        try:
            action()
        except Exception:
            logger.exception("What was to follow a commit failed; the commit stands")


@event.listens_for(DbSession, "after_soft_rollback")
def _forget_after_rollback(db: DbSession, rolled_back: SessionTransaction) -> None:
    pending = db.info.get(_PENDING, [])
    pending[:] = [entry for entry in pending if not _is_part_of(entry[0], rolled_back)]


def _is_part_of(inside: SessionTransaction | None, whole: SessionTransaction) -> bool:
    while inside is not None and inside is not whole:
        inside = inside.parent
    return inside is whole or whole.parent is None
