"""The interface to the embedded PostgreSQL: acquire it, use its URL, release it."""

from __future__ import annotations

import atexit
import logging
import shutil
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from sqlalchemy import URL

from app.core.embedded import cluster
from app.core.embedded.locks import FileLock, is_held
from app.core.embedded.server_directory import PORT, ServerDirectory, at_home
from app.core.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

logger = logging.getLogger(__name__)

STARTUP_LOCK_SECONDS = 240.0
"""How long to wait for commands that start or stop the server; longer than either takes."""


class EmbeddedServer:
    """The one PostgreSQL of a data directory, running for as long as somebody uses it.

    Any number of processes and threads may acquire it at once; the last to release it stops it,
    with what was committed on disk. A killed process no longer counts; if it was the only one, the
    server idles until the next one has come and gone. A killed server is recovered by the next
    `acquire` or `ensure_running`, at the same URL.

    A forked child may use the `url` while its parent holds the server, but does not hold it.

    Attributes:
        url: a SQLAlchemy URL over the Unix socket, to the database `session_tasks`. Only this
            account (and root) can get to the socket; there is no password and no TCP port.
        version: the server's, such as `18.6`.

    """

    def __init__(self, directory: ServerDirectory, client: FileLock, version: str) -> None:
        self._directory = directory
        self._client = client
        self.version = version
        self.url = URL.create(
            "postgresql+psycopg",
            username=cluster.USER,
            database=cluster.DATABASE,
            query={"host": str(directory.socket_directory), "port": PORT},
        ).render_as_string()

    @classmethod
    def acquire(cls, data_dir: Path) -> Self:
        """Return the server of this data directory, started or joined, with its database.

        It is released when the interpreter exits, at the latest; so a handler of SIGTERM must end
        in `sys.exit`.

        Raises:
            DatabaseUnavailable: it cannot be found, created or started; says why and what to do.

        """
        with _translated_errors(data_dir):
            directory = ServerDirectory.of(data_dir)
            with directory.startup_locked(STARTUP_LOCK_SECONDS):
                client = FileLock(directory.clients_lock)
                try:
                    client.share()
                    version = cluster.bring_up(directory)
                except BaseException:
                    _leave(directory, client)
                    raise
        server = cls(directory, client, version)
        atexit.register(server.release)
        return server

    @property
    def home(self) -> Path:
        """The directory with all the server's files."""
        return self._directory.home

    @property
    def free_bytes(self) -> int:
        """The free space of its disk."""
        return shutil.disk_usage(self._directory.home).free

    @property
    def is_acquired(self) -> bool:
        """Whether this process uses the server: not after `release`, nor in a forked child."""
        return self._client.is_open

    def ensure_running(self, seconds: float = cluster.START_SECONDS) -> None:
        """Start the server again if it died; does nothing while it responds.

        Several threads and processes may call it at once: one starts the server, the others wait.

        Args:
            seconds: how long to wait until it responds; recovery goes on after that.

        Raises:
            DatabaseUnavailable: it cannot be started, does not respond yet, or was released.

        """
        latest = time.monotonic() + seconds
        directory = self._directory
        with _translated_errors(directory.home), directory.startup_locked(seconds):
            if not self.is_acquired:
                raise DatabaseUnavailable("This process has released the embedded PostgreSQL.")
            self.version = cluster.bring_up(directory, latest - time.monotonic())

    def release(self) -> None:
        """Stop using the server; the last client stops it and waits until it has ended. Idempotent.

        Close connections before: a shutdown breaks those that are left.

        Raises:
            DatabaseUnavailable: this was the last client, and the server does not end.

        """
        atexit.unregister(self.release)
        if not self.is_acquired:
            return
        directory = self._directory
        if not directory.home.exists():  # removed meanwhile: PostgreSQL ends without its files
            self._client.close()
            return
        with (
            _translated_errors(directory.home),
            directory.startup_locked(STARTUP_LOCK_SECONDS),
        ):
            _leave(directory, self._client)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def is_in_use(data_dir: Path) -> bool:
    """Whether a process uses the server of this data directory now; nothing is created."""
    clients_lock = ServerDirectory(at_home(data_dir) / "postgresql", None).clients_lock
    return clients_lock.is_file() and is_held(clients_lock)


@contextmanager
def _translated_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DatabaseUnavailable(
            f"The embedded PostgreSQL in {path} could not be set up or reached: {error}",
            next_step=cluster.next_step(str(error)),
        ) from error


def _leave(directory: ServerDirectory, client: FileLock) -> None:
    """Release this client's lock; the last one stops the server. The startup lock is held."""
    if not client.is_open:
        return  # another thread of this process has just done so
    try:
        if client.try_alone():
            logger.debug("The last client stops the embedded PostgreSQL in %s", directory.home)
            cluster.shut_down(directory)
        else:
            client.unlock()
    finally:
        client.close()
