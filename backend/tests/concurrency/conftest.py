"""Racing callers, an observer of committed states, and a proxy that loses responses."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self

import psycopg
import pytest
from sqlalchemy import URL, make_url

from app.core.database import Database
from app.models.session import TaskType
from app.repositories.session_repository import SessionRepository

if TYPE_CHECKING:
    from app.core.config import Settings
    from app.values.claims import Claim

SECONDS = 60


def outcome_of(act: Callable[[], Any]) -> Any:
    try:
        return act()
    except Exception as error:  # noqa: BLE001 - part of the result
        return error


@pytest.fixture
def race() -> Callable[[Sequence[Callable[[], Any]]], list[Any]]:
    """Run all acts at once, each in a thread; return each result or exception."""

    def run(acts: Sequence[Callable[[], Any]]) -> list[Any]:
        outcomes: list[Any] = [None] * len(acts)
        barrier = threading.Barrier(len(acts), timeout=SECONDS)

        def one(index: int) -> None:
            barrier.wait()
            outcomes[index] = outcome_of(acts[index])

        threads = [threading.Thread(target=one, args=(index,)) for index in range(len(acts))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SECONDS)
            assert not thread.is_alive(), "a caller hangs"
        return outcomes

    return run


def disagreement(  # noqa: PLR0913, PLR0917 - the columns that must agree
    stage: str,
    task_type: str | None,
    status: str | None,
    task_id: uuid.UUID | None,
    leased_task_id: uuid.UUID | None,
    retry_count: int | None,
) -> str | None:
    """Return what is wrong with a session in one committed state, by rules written here by hand."""
    if task_type is None:
        fine = stage == "created" and leased_task_id is None
    elif status == "completed" and task_type == "adf_validation":
        fine = stage == "completed" and leased_task_id is None
    elif status == "running":
        fine = stage == task_type and leased_task_id == task_id
    else:
        fine = stage == task_type and leased_task_id is None
    fine = fine and (retry_count is None or 0 <= retry_count <= 3)
    return None if fine else f"{stage=} {task_type=} {status=} {leased_task_id=} {retry_count=}"


class Observer:
    """Reads stage, row and lease of all sessions in one snapshot, over and over."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, name="observer")
        self.looks = 0
        self.disagreements: list[str] = []
        self.error: Exception | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(SECONDS)
        assert self.error is None, self.error
        assert self.looks > 0
        assert self.disagreements == []

    def _look(self) -> None:
        try:
            with psycopg.connect(plain(self._url), autocommit=True) as connection:
                while not self._stop.is_set():
                    rows = connection.execute(
                        "SELECT s.stage, t.task_type, t.status, t.task_id, l.task_id, t.retry_count"
                        " FROM sessions s LEFT JOIN session_tasks t ON t.session_id = s.id"
                        " LEFT JOIN session_task_leases l ON l.session_id = s.id"
                    ).fetchall()
                    self.looks += 1
                    self.disagreements += filter(None, (disagreement(*row) for row in rows))
        except Exception as error:  # noqa: BLE001 - shown to the test
            self.error = error


def plain(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


@pytest.fixture
def observer(database: Database) -> Iterator[Observer]:
    with Observer(database.url) as watching:
        yield watching


@pytest.fixture
def claimed(database: Database) -> Callable[..., Claim]:
    """Make a session whose task runs and is claimed."""

    def make(
        *, auto_advance: bool = False, lease_seconds: float = 30, owner: str | None = None
    ) -> Claim:
        with database.transaction() as db:
            sessions = SessionRepository(db, owner=owner)
            session_id = sessions.create_session(auto_advance=auto_advance).id
            started = sessions.start_task(session_id, TaskType.PROCESSING)
        with database.transaction() as db:
            claim = SessionRepository(db).claim_task(
                session_id, started.task_id, uuid.uuid4(), lease_seconds=lease_seconds
            )
        assert claim is not None
        return claim

    return make


class LossyProxy:
    """Passes bytes between clients and PostgreSQL, and can be set to lose some."""

    def __init__(self, server: URL) -> None:
        host = str(server.query.get("host") or server.host or "127.0.0.1")
        port = str(server.query.get("port") or server.port or 5432)
        is_socket = host.startswith("/")
        self._upstream: Any = f"{host}/.s.PGSQL.{port}" if is_socket else (host, int(port))
        self._family = socket.AF_UNIX if is_socket else socket.AF_INET
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._needle: bytes | None = None
        self._is_lost_before = False
        self.cuts = 0
        self.is_silent = False
        self.is_shut = False
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()
        self.url = server.set(
            host="127.0.0.1",
            port=self._listener.getsockname()[1],
            query={"sslmode": "disable", "gssencmode": "disable"},
        ).render_as_string(hide_password=False)

    def lose_next(self, needle: bytes, *, before: bool) -> None:
        """Cut the next connection that sends `needle`: before it arrives, or before its reply."""
        self._needle, self._is_lost_before = needle, before

    def close(self) -> None:
        self._closing.set()
        self._listener.close()
        for thread in self._threads:
            thread.join(SECONDS)

    def _accept(self) -> None:
        self._listener.settimeout(0.05)
        while not self._closing.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            if self.is_shut:
                client.close()
                continue
            thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.socket(self._family) as server, contextlib.suppress(OSError):
            server.connect(self._upstream)
            with selectors.DefaultSelector() as selector:
                selector.register(client, selectors.EVENT_READ)
                selector.register(server, selectors.EVENT_READ)
                lost = False
                while not self._closing.is_set():
                    for key, _ in selector.select(timeout=0.05):
                        data = key.fileobj.recv(65536)  # type: ignore[union-attr]
                        if not data:
                            return
                        if key.fileobj is server:
                            if lost:
                                return
                            if not self.is_silent:
                                client.sendall(data)
                            continue
                        if self._is_needle_in(data):
                            if self._is_lost_before:
                                return
                            lost = True
                        server.sendall(data)

    def _is_needle_in(self, data: bytes) -> bool:
        with self._lock:
            if self._needle is None or self._needle not in data:
                return False
            self._needle = None
            self.cuts += 1
            return True


@pytest.fixture
def proxy(database_url: str) -> Iterator[LossyProxy]:
    lossy = LossyProxy(make_url(database_url))
    yield lossy
    lossy.close()


@pytest.fixture
def through_proxy(settings: Settings, proxy: LossyProxy) -> Iterator[Database]:
    """The test's database, connected through the proxy."""
    with Database(settings, proxy.url) as database:
        yield database
