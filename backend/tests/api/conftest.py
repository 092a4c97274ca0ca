"""A server as people meet it: uvicorn on a port, keys, and clients that use them."""

from __future__ import annotations

import threading
import time
import uuid
from typing import TYPE_CHECKING, Any, Self

import httpx
import pytest

from app.api.application import create_app
from app.api.server import ApiServer
from app.core.config import Settings
from app.core.database import Database
from app.models.access import KeyRole
from app.repositories.access_repository import AccessRepository

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import timedelta
    from pathlib import Path

DEADLINE_SECONDS = 30.0
NOTES = ("documents", ("notes.md", b"# First\n\nSome *text*.\n", "text/markdown"))


class LiveServer:
    """The API on a port of its own, over one database."""

    def __init__(self, url: str, **settings: Any) -> None:
        self.settings = Settings(database_url=url, pool_size=10, **settings)
        self.database = Database(self.settings, url)
        self.app = create_app(self.database, self.settings)
        self.server = ApiServer(self.app, host="127.0.0.1", port=0)
        self._thread = threading.Thread(target=self.server.run, name="api")
        self._clients: list[httpx.Client] = []

    def __enter__(self) -> Self:
        self._thread.start()
        assert self.server.is_listening.wait(DEADLINE_SECONDS)
        self.url = f"http://127.0.0.1:{self.server.port}"
        return self

    def __exit__(self, *_exc_info: object) -> None:
        for client in self._clients:
            client.close()
        self.server.stop()
        self._thread.join(DEADLINE_SECONDS)
        assert not self._thread.is_alive()
        self.database.close()

    def key(
        self,
        owner: str = "",
        role: KeyRole = KeyRole.USER,
        lifetime: timedelta | None = None,
    ) -> str:
        """A new key, of a new owner unless one is named."""
        with self.database.transaction() as db:
            made = AccessRepository(db).create_key(
                owner or f"owner-{uuid.uuid4()}", role=role, lifetime=lifetime
            )
        return made.text

    def client(self, key: str | None = None, **headers: str) -> httpx.Client:
        """A client that shows this key; closed with the server."""
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        client = httpx.Client(base_url=self.url, headers=headers, timeout=DEADLINE_SECONDS)
        self._clients.append(client)
        return client


@pytest.fixture(scope="session")
def api(shared_database_url: str) -> Iterator[LiveServer]:
    """The server that most tests share; each brings an owner of its own."""
    with LiveServer(
        shared_database_url, keep_alive_seconds=0.5, refusals_per_minute=1_000_000
    ) as server:
        yield server


@pytest.fixture
def make_server(database_url: str) -> Iterator[Callable[..., LiveServer]]:
    """Make servers with settings of their own over this test's own database."""
    servers: list[LiveServer] = []

    def make(**settings: Any) -> LiveServer:
        servers.append(LiveServer(database_url, **settings).__enter__())
        return servers[-1]

    yield make
    for server in servers:
        server.__exit__()


@pytest.fixture
def client(api: LiveServer) -> httpx.Client:
    """A client of a new owner."""
    return api.client(api.key())


@pytest.fixture
def stranger(api: LiveServer) -> httpx.Client:
    """A client of another new owner."""
    return api.client(api.key())


@pytest.fixture
def admin(api: LiveServer) -> httpx.Client:
    """A client with the role admin, of yet another owner."""
    return api.client(api.key(role=KeyRole.ADMIN))


@pytest.fixture
def open_session() -> Callable[..., str]:
    """Open a session with one small document; answers its address."""

    def open_it(client: httpx.Client, **fields: Any) -> str:
        answer = client.post(
            "/api/v1/sessions",
            files=[NOTES],
            data={"auto_advance": "false", **fields},
        )
        assert answer.status_code == 201, answer.text
        return answer.headers["Location"]

    return open_it


@pytest.fixture
def wait_until() -> Callable[..., Any]:
    """Wait for a condition, with a deadline; answers what it answered."""

    def wait(condition: Callable[[], Any], what: str = "it") -> Any:
        end = time.monotonic() + DEADLINE_SECONDS
        while not (answer := condition()):
            assert time.monotonic() < end, f"waited in vain for {what}"
            time.sleep(0.02)
        return answer

    return wait


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """A folder of this test."""
    return tmp_path
