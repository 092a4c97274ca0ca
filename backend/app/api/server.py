"""uvicorn with bounds: of headers in bytes and time, of bodies and responses in time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import threading
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.core.errors import ConfigurationError, ErrorCategory
from app.core.signals import handled
from app.engines.memory import collect_garbage_seldom

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from fastapi import FastAPI

MOST_HEADER_BYTES = 64 * 1024
HEADER_SECONDS = 15.0
SHUTDOWN_SECONDS = 10
GATHERED_BYTES = 64 * 1024
BACKLOG = 1024
"""Connections that may wait to be taken."""


class GatheredWrites:
    """A transport whose writes of one turn of the event loop leave together.

    An answer's head and body are one packet and one system call then, not two. Everything but
    writing and closing is the transport's own.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._pieces: list[bytes] = []
        self._size = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send it at the end of this turn, or now if a packet's worth has come together."""
        if not self._pieces:
            self._loop.call_soon(self._flush)
        self._pieces.append(data)
        self._size += len(data)
        if self._size >= GATHERED_BYTES:
            self._flush()

    def close(self) -> None:
        """Send what was written, then close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        if data and not self._transport.is_closing():
            self._transport.write(data)


class BoundedConfig(uvicorn.Config):
    """uvicorn's, and how long an answer may lie unread."""

    def __init__(self, app: FastAPI, *, stalled_answer_seconds: float, **options: Any) -> None:
        super().__init__(app, http=BoundedHttpProtocol, **options)
        self.stalled_answer_seconds = stalled_answer_seconds


class BoundedHttpProtocol(HttpToolsProtocol):
    """HTTP/1.1 with read, write and idle timeouts.

    Headers must be small, and there in time; and of an answer that waits to be read, some must
    have been read whenever `stalled_answer_seconds` have gone by.
    """

    config: BoundedConfig

    _header_bytes = 0
    _is_in_headers = True
    _deadline: asyncio.TimerHandle | None = None
    _stall: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Wait for the first headers."""
        transport.set_write_buffer_limits(high=0)  # whatever was not taken is waited for
        super().connection_made(GatheredWrites(transport, self.loop))  # type: ignore[arg-type]
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._headers_are_there()
        self._answer_is_read()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Wait for the client to read."""
        super().pause_writing()
        self._expect_reading(unread=self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """Go on: everything has been taken."""
        self._answer_is_read()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        """Take a packet, while headers stay small."""
        if self._is_in_headers:
            self._header_bytes += len(data)
            # What follows the headers in the same packet counts too; a packet is not that large.
            if self._header_bytes > MOST_HEADER_BYTES + 256 * 1024:
                self.transport.abort()
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Wait for this request's headers."""
        self._is_in_headers = True
        self._header_bytes = 0
        self._expect_headers()
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, while they stay small."""
        if sum(len(n) + len(v) for n, v in self.headers) + len(value) > MOST_HEADER_BYTES:
            self.send_400_response("The headers are too large.")
            self.transport.abort()
            return
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Wait no more for headers."""
        self._headers_are_there()
        super().on_headers_complete()

    def _unsupported_upgrade_warning(self) -> None:
        """Log nothing, in place of advice to install packages: the request guard responds."""

    def _expect_headers(self) -> None:
        self._headers_are_there()
        self._is_in_headers = True
        self._deadline = self.loop.call_later(HEADER_SECONDS, self._close_if_idle)

    def _headers_are_there(self) -> None:
        self._is_in_headers = False
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expect_reading(self, unread: int) -> None:
        self._answer_is_read()
        self._stall = self.loop.call_later(
            self.config.stalled_answer_seconds, self._abort_if_stalled, unread
        )

    def _answer_is_read(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _abort_if_stalled(self, unread: int) -> None:
        still_unread = self.transport.get_write_buffer_size()
        if still_unread >= unread:
            self.transport.abort()
        else:
            self._expect_reading(still_unread)

    def _close_if_idle(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()


def listen_on(host: str, port: int) -> socket.socket:
    """A socket that listens there (port 0: on any free one); connections wait until it is served.

    Raises:
        ConfigurationError: the port is taken, or this machine has no such address.

    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConfigurationError(
            f"Nothing can listen on {host}, port {port}: "
            f"{(error.strerror or str(error)).partition(' (while')[0]}",
            ErrorCategory.USER_FIXABLE,
            next_step="Choose another: --port, --host.",
        ) from error


class ApiServer(uvicorn.Server):
    """A server that ends its streams at shutdown, and then returns."""

    def __init__(self, app: FastAPI, *, host: str, port: int) -> None:
        settings = app.state.services.settings
        super().__init__(
            BoundedConfig(
                app,
                stalled_answer_seconds=settings.stalled_answer_seconds,
                host=host,
                port=port,
                ws="none",
                access_log=False,
                log_config=None,
                server_header=False,
                proxy_headers=bool(settings.trusted_proxies),
                forwarded_allow_ips=settings.trusted_proxies,
                timeout_keep_alive=30,
                timeout_graceful_shutdown=SHUTDOWN_SECONDS,
                backlog=BACKLOG,
            )
        )
        # An address may hold a key (/login), and what is counted is in /metrics.
        logging.getLogger("uvicorn.access").disabled = True
        self._app = app
        self._loop: asyncio.AbstractEventLoop | None = None
        self.is_listening = threading.Event()

    async def startup(self, sockets: Any = None) -> None:
        """Listen; `is_listening` is set once requests are taken."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        collect_garbage_seldom()
        if self.started:
            self.is_listening.set()

    @property
    def port(self) -> int:
        """The port that it listens on; what was given may have been 0."""
        return int(self.servers[0].sockets[0].getsockname()[1])

    def stop(self) -> None:
        """Have it stop, from any thread or signal handler: streams end, requests are finished."""
        self.should_exit = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._app.state.services.broadcaster.end_streams)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGTERM, SIGINT and SIGHUP stop it, a second one at once; none is raised again after."""
        with handled((signal.SIGTERM, signal.SIGINT, signal.SIGHUP), self._on_signal):
            yield

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self.should_exit:
            self.force_exit = True
        self.stop()
