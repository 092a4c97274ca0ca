"""File locks that end with the process that holds them, however it ends.

A lock of flock(2) belongs to the open file, not to the process: it is released when the last
descriptor of that open file is closed, `kill -9` or not, and it passes on to children that inherit
a descriptor. So no crash leaks the locks that count the server's clients, and the lock that the
server's own processes inherit is held until the last of them has ended.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path

POLL_SECONDS = 0.01
"""How often a lock is tried again: flock(2) has no timeout."""

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
        """Hold the lock alone if nobody else holds it; a failure may release a shared hold."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def alone_within(self, seconds: float) -> bool:
        """Hold the lock alone as soon as nobody else does; False after `seconds`."""
        deadline = time.monotonic() + seconds
        while not self.try_alone():
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)
        return True

    def unlock(self) -> None:
        """Release the lock, also on behalf of children that inherited the open file."""
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
    """Whether any process holds the lock of this file now."""
    with FileLock(path) as lock:
        return not lock.try_alone()


def _close_all_in_child() -> None:
    for lock in list(_open_locks):
        lock.close()
    _fork_guard.release()


os.register_at_fork(
    before=_fork_guard.acquire,
    after_in_parent=_fork_guard.release,
    after_in_child=_close_all_in_child,
)
