"""Servers, keys and clients for the tests of the API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from app.models.access import KeyRole
from tests.live_server import LiveServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NOTES = ("documents", ("notes.md", b"# First\n\nSome *text*.\n", "text/markdown"))


@pytest.fixture(scope="session")
def api(shared_database_url: str) -> Iterator[LiveServer]:
    """The server that most tests share; each test uses an owner of its own."""
    with LiveServer(
        shared_database_url, keep_alive_seconds=0.5, refusals_per_minute=1_000_000
    ) as server:
        yield server


@pytest.fixture
def make_server(database_url: str) -> Iterator[Callable[..., LiveServer]]:
    """Make servers with other settings over this test's own database."""
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
    """Open a session with one small document; return its address."""

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
def scratch(tmp_path: Path) -> Path:
    """A folder of this test."""
    return tmp_path
