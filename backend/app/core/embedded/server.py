"""The embedded PostgreSQL as the rest of the program sees it: acquire, use the URL, release."""

from __future__ import annotations

import atexit
import logging
import shutil
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from sqlalchemy import URL

from app.core.embedded import cluster
from app.core.embedded.locks import FileLock, decide_alone, is_held
from app.core.embedded.place import PORT, Place, at_home
from app.core.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

logger = logging.getLogger(__name__)

DECISION_SECONDS = 240.0
"""How long to wait for commands that start or stop the server; more than either may take."""


class EmbeddedServer:
    """The one PostgreSQL of a data directory, running for as long as somebody uses it.

    Any number of processes (and threads) may acquire it at once; they share one server. The last
    to release it stops it; what was committed is on disk. A user that is killed counts no more
    from that moment; if it was the only one, the server idles until the next one comes and goes.
    A killed server is recovered by the next `acquire` or `ensure_running`, at the same URL.

    A forked child may use the `url` while its parent holds the server, but does not hold it.

    Attributes:
        url: a SQLAlchemy URL over the Unix socket, to the database `session_tasks`. Only this
            account (and root) can get to the socket; there is no password and no TCP port.
        version: the server's, such as `18.6`.

    """

    def __init__(self, place: Place, users: FileLock, version: str) -> None:
        self._place = place
        self._users = users
        self._reviving = threading.Lock()
        self.version = version
        self.url = URL.create(
            "postgresql+psycopg",
            username=cluster.USER,
            database=cluster.DATABASE,
            query={"host": str(place.socket_directory), "port": PORT},
        ).render_as_string()

    @classmethod
    def acquire(cls, data_dir: Path) -> Self:
        """Return the server of this data directory, started or joined, with its database there.

        The server is released at the process's end if not before; a handler of SIGTERM must let
        the interpreter end in order for that (`sys.exit`).

        Raises:
            DatabaseUnavailable: it cannot be found, made or started; says why and what to do.

        """
        place = Place.of(data_dir)
        with _translated_errors(place), _deciding(place):
            users = FileLock(place.users_lock)
            try:
                users.share()
                version = cluster.bring_up(place)
            except BaseException:
                _leave(place, users)
                raise
        server = cls(place, users, version)
        atexit.register(server.release)
        return server

    @property
    def home(self) -> Path:
        """The directory with everything that is the server's."""
        return self._place.home

    @property
    def free_bytes(self) -> int:
        """The room on its disk."""
        return shutil.disk_usage(self._place.home).free

    @property
    def is_acquired(self) -> bool:
        """Whether this process uses the server: not after `release`, nor in a forked child."""
        return self._users.is_open

    def ensure_running(self, seconds: float = cluster.START_SECONDS) -> None:
        """Start the server again if it died; does nothing while it responds.

        Several threads and processes may ask at once: one starts it, the others wait.

        Args:
            seconds: how long to wait until it responds; recovery goes on after that.

        Raises:
            DatabaseUnavailable: it cannot be started, does not answer yet, or was released.

        """
        latest = time.monotonic() + seconds
        if not self._reviving.acquire(timeout=seconds):
            raise DatabaseUnavailable("The embedded PostgreSQL is being started again.")
        try:
            with (
                _translated_errors(self._place),
                _deciding(self._place, latest - time.monotonic()),
            ):
                if not self.is_acquired:
                    raise DatabaseUnavailable("This process has released the embedded PostgreSQL.")
                self.version = cluster.bring_up(self._place, latest - time.monotonic())
        finally:
            self._reviving.release()

    def release(self) -> None:
        """Stop using the server; the last user stops it and waits until it has ended. Idempotent.

        Close your connections before: the last one out breaks those that are left.

        Raises:
            DatabaseUnavailable: this was the last user and the server does not end.

        """
        atexit.unregister(self.release)
        if not self._users.is_open:
            return
        if not self._place.home.exists():  # removed under us; PostgreSQL ends on its own when it
            self._users.close()  # misses its files
            return
        with _translated_errors(self._place), _deciding(self._place):
            _leave(self._place, self._users)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def is_in_use(data_dir: Path) -> bool:
    """Whether a process uses the server of this data directory now; nothing is made or started."""
    users_lock = at_home(data_dir) / "postgresql" / "users.lock"
    return users_lock.is_file() and is_held(users_lock)


def _deciding(place: Place, seconds: float | None = None) -> FileLock:
    place.make_lock_files()
    return decide_alone(
        place.decision_lock, DECISION_SECONDS if seconds is None else max(0.0, seconds)
    )


@contextmanager
def _translated_errors(place: Place) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DatabaseUnavailable(
            f"The embedded PostgreSQL in {place.home} cannot be reached: {error}.",
            next_step="See that the disk has room and that the directory is the account's own.",
        ) from error


def _leave(place: Place, users: FileLock) -> None:
    """Count out one user, and stop the server if nobody else is in; the decision lock is held."""
    if not users.is_open:
        return  # another thread of this process has just done so
    try:
        if users.try_alone():
            logger.debug("The last user stops the embedded PostgreSQL in %s", place.home)
            cluster.shut_down(place)
        else:
            users.unlock()
    finally:
        users.close()
