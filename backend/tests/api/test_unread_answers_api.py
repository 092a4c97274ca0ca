"""Clients that do not read their responses: disconnected, and limited in number."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any, cast

import pytest
from chaos.waiting import until

from app.api.server import GATHERED_BYTES, BoundedHttpProtocol, GatheredWrites

if TYPE_CHECKING:
    from collections.abc import Iterator

REQUESTS = 200
"""Requests for a document of over 100 KB: together several times the kernel's socket buffer."""


@pytest.fixture
def unread() -> Iterator[Any]:
    """Open a connection that sends requests and does not read."""
    opened: list[socket.socket] = []

    def ask(api: Any, key: str) -> socket.socket:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        connection.settimeout(30)
        connection.connect(("127.0.0.1", api.server.port))
        opened.append(connection)
        head = (
            f"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\r\n"
        )
        connection.sendall(head.encode() * REQUESTS)
        return connection

    yield ask
    for connection in opened:
        connection.close()


def stalled(api: Any) -> int:
    """Return how many connections have data that their clients do not read."""
    return sum(
        protocol.transport.get_write_buffer_size() > 0
        for protocol in tuple(api.server.server_state.connections)
    )


def test_client_that_never_reads_is_hung_up_on(make_server: Any, unread: Any) -> None:
    api = make_server(stalled_answer_seconds=0.3)
    unread(api, api.key())
    until(lambda: stalled(api), "waiting responses")
    until(lambda: not api.server.server_state.connections, "the end of the connection")
    assert api.server.server_state.total_requests < REQUESTS


def test_answers_that_lie_unread_count_as_requests_in_flight(make_server: Any, unread: Any) -> None:
    api = make_server(requests_at_once=2)
    key = api.key()
    for _ in range(2):
        unread(api, key)
    until(lambda: stalled(api) == 2, "waiting responses")
    assert api.client(key).get("/api/v1/sessions").status_code == 429
    assert api.client(api.key()).get("/api/v1/sessions").status_code == 200


class FakeTransport:
    """The part of a transport that a protocol uses."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.unread = 0
        self.is_aborted = False
        self.is_closed = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def get_write_buffer_size(self) -> int:
        return self.unread

    def abort(self) -> None:
        self.is_aborted = True

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed


def test_client_that_reads_slowly_is_borne_with_while_it_reads() -> None:
    transport = FakeTransport()
    waits: list[int] = []
    protocol = BoundedHttpProtocol.__new__(BoundedHttpProtocol)
    protocol.transport = cast("asyncio.Transport", transport)
    vars(protocol)["_expect_reading"] = waits.append
    for left in (900, 10, 1):
        transport.unread = left
        protocol._abort_if_stalled(1_000 if not waits else waits[-1])
    assert waits == [900, 10, 1]
    assert not transport.is_aborted
    protocol._abort_if_stalled(1)
    assert transport.is_aborted


def test_writes_of_one_turn_leave_together_and_in_order() -> None:
    async def write() -> None:
        transport = FakeTransport()
        gathered = GatheredWrites(cast("asyncio.Transport", transport), asyncio.get_running_loop())
        gathered.write(b"head ")
        gathered.write(b"body")
        assert transport.written == []
        await asyncio.sleep(0)
        assert transport.written == [b"head body"]
        gathered.write(b"x" * GATHERED_BYTES)  # nothing grows for long
        assert len(transport.written) == 2
        gathered.write(b"last")
        gathered.close()
        assert transport.written[2:] == [b"last"]
        gathered.write(b"too late")
        await asyncio.sleep(0)
        assert len(transport.written) == 3

    asyncio.run(write())
