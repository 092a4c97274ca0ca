"""File locks that end with the process that holds them, however it ends.

A lock of flock(2) belongs to the open file, not to the process: it goes when the last descriptor
of that open file goes, `kill -9` or not, and it passes on to children that inherit a descriptor.
Both are used here: users of the server are counted by locks that no crash can leak, and the
server's own processes inherit one, so "has every one of them gone?" has an exact answer, which no
process id can give.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Self

from app.core.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from pathlib import Path

POLL_SECONDS = 0.01
"""How often a lock is asked for again: flock(2) knows no deadline."""

_fork_guard = threading.RLock()
_open_locks: weakref.WeakSet[FileLock] = weakref.WeakSet()


class FileLock:
    """One open lock file, at first unlocked; never survives in a forked child, closed by `with`.

    Raises:
        OSError: the file cannot be opened.

    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _fork_guard:  # no fork between the opening and the note that a child must close it
            self._descriptor = os.open(
                path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
            )
            _open_locks.add(self)

    @property
    def descriptor(self) -> int:
        """The open file's descriptor, for a child that inherits the lock."""
        return self._descriptor

    @property
    def is_open(self) -> bool:
        """Whether this process still has the file open (a forked child never has)."""
        return self._descriptor >= 0

    def share(self) -> None:
        """Hold the lock together with others; waits while one holds it alone."""
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def try_alone(self) -> bool:
        """Hold the lock alone if nobody else holds it; a shared hold may be lost by asking."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def alone_within(self, seconds: float) -> bool:
        """Hold the lock alone as soon as nobody else does; False when the time is up."""
        deadline = time.monotonic() + seconds
        while not self.try_alone():
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)
        return True

    def unlock(self) -> None:
        """Let go of the lock, also on behalf of children that inherited the open file."""
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file; the lock goes with it unless a child inherited it. Idempotent."""
        with _fork_guard:
            descriptor, self._descriptor = self._descriptor, -1
            _open_locks.discard(self)
            if descriptor >= 0:
                os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def is_held(path: Path) -> bool:
    """Whether anybody holds the lock of this file at this moment."""
    with FileLock(path) as lock:
        return not lock.try_alone()


def decide_alone(path: Path, seconds: float) -> FileLock:
    """Return the exclusive lock for starting or stopping the server; close it when done.

    Raises:
        DatabaseUnavailable: another command has held it for longer than `seconds`.

    """
    lock = FileLock(path)
    try:
        if lock.alone_within(seconds):
            return lock
    except BaseException:
        lock.close()
        raise
    lock.close()
    raise DatabaseUnavailable(
        f"Another command has been starting or stopping the embedded PostgreSQL for {seconds:.0f} s"
        f" and holds {path}.",
        next_step="See whether a session-tasks process hangs or is suspended, end it, and try"
        " again.",
    )


def _close_all_in_child() -> None:
    for lock in list(_open_locks):
        lock.close()
    _fork_guard.release()


os.register_at_fork(
    before=_fork_guard.acquire,
    after_in_parent=_fork_guard.release,
    after_in_child=_close_all_in_child,
)
