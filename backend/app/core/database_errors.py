"""Turns errors of the driver and of full disks into the program's own."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import psycopg

from app.core.errors import (
    DatabaseBusy,
    DatabaseFailing,
    DatabaseForbidden,
    DatabaseFull,
    DatabaseUnavailable,
    DatabaseUnsuitable,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOST_STATES = ("08", "57P0", "25P03", "25P04", "53300")
"""Connection lost, shutdown, a transaction idle or open too long, too many connections
(PostgreSQL, appendix A). psycopg files the third and fourth under internal errors."""

_QUERY_CANCELED = "57014"
READ_ONLY = "25006"
_FORBIDDEN = "42501"
_DISK_FULL = "53100"

_SHARED_CONNECTION = ("42P05", "26000")
"""A prepared statement that another client prepared, or that another server process knows."""

_FAILING = ("53", "58", "XX001", "XX002")
"""Insufficient resources, errors of the system, damaged data and indexes; a full disk is apart."""

_BUSY_STATES = {
    "55P03": "Another transaction has locked what this needs",
    _QUERY_CANCELED: "PostgreSQL gave up on a statement: {}",
    "40P01": "Another transaction was in the way: {}",
    "40001": "Another transaction was in the way: {}",
}
"""Lock not available, query cancelled, deadlock, serialisation failure."""

FULL_SECONDS = 30.0
"""How long after an error for want of space a disk counts as full, unless it can be looked at."""


class DatabaseDisk:
    """The disk that a database is on, as far as this process knows it.

    Args:
        name: for people, such as `/var/lib/x` or `PostgreSQL's on db.example`.

    """

    def __init__(self, name: str = "PostgreSQL's") -> None:
        self.name = name
        self._full_at: float | None = None

    @property
    def is_full(self) -> bool:
        """Whether a statement failed for want of space within the last `FULL_SECONDS`."""
        return self._full_at is not None and time.monotonic() - self._full_at < FULL_SECONDS

    def full(self, reason: str) -> DatabaseFull:
        """Note that it is full; returns the error to raise."""
        if "shared memory segment" in reason:  # a query's, released since
            return DatabaseFull(f"PostgreSQL's shared memory (/dev/shm) is full: {reason}")
        self._full_at = time.monotonic()
        return DatabaseFull(f"The database's disk is full ({self.name}): {reason}")


_ANY_DISK = DatabaseDisk()


@contextlib.contextmanager
def translated_errors(disk: DatabaseDisk = _ANY_DISK) -> Iterator[None]:
    """Turn what the server may do to any statement into our own errors; leave all else alone.

    Raises:
        DatabaseUnavailable: the connection was lost or could not be opened.
        DatabaseUnsuitable: the server is read-only, or a pooler is in transaction mode.
        DatabaseForbidden: the role lacks a right.
        DatabaseBusy: a lock or a statement reached its timeout, or two transactions were in each
            other's way; the statement was undone.
        DatabaseFull: the database's disk is full; the statement was undone.
        DatabaseFailing: PostgreSQL lacks a resource; the statement was undone.

    """
    try:
        yield
    except Exception as error:
        original = driver_error(error)
        if original is None:
            raise
        reason = _first_line(original)
        if is_connection_loss(error):
            raise _unavailable(reason) from error
        state = original.sqlstate or ""
        if state == READ_ONLY:
            raise read_only(reason) from error
        if state == _FORBIDDEN:
            raise DatabaseForbidden(f"The database role may not do this: {reason}") from error
        if state in _SHARED_CONNECTION:
            raise DatabaseUnsuitable(
                f"A pooler lends this connection to others between transactions: {reason}",
                next_step="Point SESSION_TASKS_DATABASE_URL at PostgreSQL, or at a pool in session "
                "mode (PgBouncer: pool_mode = session).",
            ) from error
        if state == _DISK_FULL:
            raise disk.full(reason) from error
        if state.startswith(_FAILING):
            raise DatabaseFailing(
                f"PostgreSQL cannot do it now: {reason} {original.diag.message_hint or ''}".strip()
            ) from error
        if state in _BUSY_STATES:
            raise DatabaseBusy(
                _BUSY_STATES[state].format(reason), is_of_time=state == _QUERY_CANCELED
            ) from error
        raise


def _unavailable(reason: str) -> DatabaseUnavailable:
    _, is_refused, refusal = reason.partition("FATAL:")
    if is_refused:
        return DatabaseUnavailable(
            f"PostgreSQL refuses connections: {refusal.strip()}",
            next_step="Unless it passes, correct what it names: the URL's user, password or "
            "database, PGOPTIONS, pg_hba.conf, or the server's limits.",
        )
    return DatabaseUnavailable(
        f"PostgreSQL cannot be reached: {reason}",
        next_step="See that the server runs and SESSION_TASKS_DATABASE_URL is right.",
    )


def read_only(reason: str) -> DatabaseUnsuitable:
    """The error that says that the server takes no writes, and why."""
    return DatabaseUnsuitable(
        f"This server is read-only: {reason}",
        next_step="Point SESSION_TASKS_DATABASE_URL at the primary server, or have this one take "
        "writes: promote it, or set default_transaction_read_only to off.",
    )


def driver_error(error: BaseException) -> psycopg.Error | None:
    """Return the driver's error: itself, or the one in SQLAlchemy's (`DBAPIError.orig`)."""
    original = getattr(error, "orig", error)
    return original if isinstance(original, psycopg.Error) else None


def is_connection_loss(error: BaseException) -> bool:
    """Whether the driver's error, or SQLAlchemy's about it, says that the connection is gone."""
    original = driver_error(error)
    if original is not None and original.sqlstate is not None:
        return original.sqlstate.startswith(_LOST_STATES)
    return isinstance(original, (psycopg.OperationalError, psycopg.InterfaceError))


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
