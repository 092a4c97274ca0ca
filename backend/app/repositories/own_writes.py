"""Call the functions in a run's `writes`, inside the transaction that completes it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from app.core.errors import ConfigurationError

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable, Iterable

    from sqlalchemy.orm import Session as DbSession

    from app.values.results import Write


def run_writes(db: DbSession, session_id: uuid.UUID, writes: Iterable[Write]) -> None:
    """Call these in order; call it after the guard that ends the run.

    Raises:
        ConfigurationError: a function cannot be imported.
        Exception: whatever a function raises; the transaction is to be rolled back.

    """
    for write in writes:
        try:
            _imported(write.function)(db, session_id, write.payload)
        except SystemExit as error:  # it would end the worker's thread
            raise RuntimeError(f"The write {write.function} called for an exit") from error


def _imported(name: str) -> Callable[[DbSession, uuid.UUID, Any], object]:
    module, _, function = name.partition(":")
    try:
        found: Callable[..., object] = getattr(importlib.import_module(module), function)
    except Exception as error:
        raise ConfigurationError(
            f"The write {name} cannot be imported: {type(error).__name__}: {error}",
            next_step="Install its package in the environment of every worker.",
        ) from error
    return found
