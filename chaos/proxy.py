"""A TCP proxy in front of PostgreSQL that cuts connections at chosen moments, or goes silent."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Callable
from typing import Self

READY = b"Z\x00\x00\x00\x05"
"""ReadyForQuery (PostgreSQL, section 55.7): the server has finished the request."""


class _Link:
    """One client's connection and the server's; `cut` ends both at once."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server
        self.is_ready = False
        self.is_silent = False
        self.cut_after = ""

    def cut(self) -> None:
        self.client.transport.abort()
        self.server.transport.abort()


class Proxy:
    """Listens on a free port of 127.0.0.1 while entered; faults may be changed at any time.

    Attributes:
        cut_share: how many of 100 requests are cut, by kind: before and after COMMIT, before and
            after any other request reached the server.
        counts: the faults injected, by kind.

    """

    KINDS = ("before COMMIT", "after COMMIT", "before a statement", "after a statement")

    def __init__(self, socket_path: str, seed: int) -> None:
        self.cut_share: dict[str, float] = {}
        self.counts: Counter[str] = Counter()
        self.port = 0
        self._socket_path = socket_path
        self._random = random.Random(seed)
        self._links: set[_Link] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._is_listening = threading.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        self._is_listening.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def silence(self) -> None:
        """Stop responding on all open connections, but keep reading from them."""
        self._loop.call_soon_threadsafe(self._silence)

    def _silence(self) -> None:
        for link in self._links:
            link.is_silent = True
            self.counts["silenced"] += 1

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._is_listening.set()
        self._loop.run_forever()
        server.close()
        for link in self._links:
            link.cut()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            answers, requests = await asyncio.open_unix_connection(self._socket_path)
        except OSError:
            writer.transport.abort()
            return
        link = _Link(writer, requests)
        self._links.add(link)
        try:
            await asyncio.gather(
                self._pump(reader, requests, link, self._on_request),
                self._pump(answers, writer, link, self._on_answer),
            )
        finally:
            self._links.discard(link)
            link.cut()

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        link: _Link,
        may_pass: Callable[[_Link, bytes], bool],
    ) -> None:
        try:
            while data := await reader.read(1 << 16):
                if link.is_silent:
                    continue
                if not may_pass(link, data):
                    link.cut()
                    return
                writer.write(data)
                await writer.drain()
        except OSError:
            pass  # one side closed its connection: so do we
        link.cut()

    def _on_request(self, link: _Link, data: bytes) -> bool:
        if not link.is_ready:
            return True
        what = "COMMIT" if b"COMMIT" in data else "a statement"
        if self._draws(f"before {what}"):
            return False
        if self._draws(f"after {what}"):
            link.cut_after = what
        return True

    def _on_answer(self, link: _Link, data: bytes) -> bool:
        is_done = READY in data
        link.is_ready = link.is_ready or is_done
        return not (link.cut_after and is_done)

    def _draws(self, kind: str) -> bool:
        drawn = self._random.random() * 100 < self.cut_share.get(kind, 0)
        self.counts[kind] += drawn
        return drawn
