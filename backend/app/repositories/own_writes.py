"""Call the functions in a run's `writes`, inside the transaction that completes it."""

from __future__ import annotations

import importlib
import inspect
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import event

from app.core.errors import ConfigurationError

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable, Iterable

    from sqlalchemy.orm import Session as DbSession

    from app.values.results import Write


def run_writes(db: DbSession, session_id: uuid.UUID, writes: Iterable[Write]) -> None:
    """Call these in order; call it after the guard that ends the run.

    A function may use savepoints; it may not end the transaction.

    Raises:
        ConfigurationError: a function cannot be imported, or is not one to call.
        Exception: whatever a function raises; the transaction is to be rolled back.

    """
    transaction = db.get_transaction()
    event.listen(db, "before_commit", _refuse_commit)
    try:
        for write in writes:
            try:
                _imported(write.function)(db, session_id, write.payload)
            except SystemExit as error:  # it would end the worker's thread
                raise RuntimeError(f"The write {write.function} called for an exit") from error
            if db.get_transaction() is not transaction:
                raise RuntimeError(f"The write {write.function} ended the transaction")
    finally:
        event.remove(db, "before_commit", _refuse_commit)


def _refuse_commit(db: DbSession) -> None:
    if not db.in_nested_transaction():
        raise RuntimeError("A write does not commit: the transaction is that of its task")


def _imported(name: str) -> Callable[[DbSession, uuid.UUID, Any], object]:
    module, _, function = name.partition(":")
    try:
        found: Any = getattr(importlib.import_module(module), function)
    except Exception as error:
        raise ConfigurationError(
            f"The write {name} cannot be imported: {type(error).__name__}: {error}",
            next_step="Install its package in the environment of every worker.",
        ) from error
    if not callable(found) or inspect.iscoroutinefunction(found):
        raise ConfigurationError(
            f"The write {name} is no plain function: {found!r}",
            next_step="Name a function (db, session_id, payload) that is not async.",
        )
    return cast("Callable[..., object]", found)
