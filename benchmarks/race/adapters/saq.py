"""saq on PostgreSQL, concurrency 50, with LISTEN/NOTIFY; it has no statement that enqueues many.

So many are enqueued by concurrent single calls, which is what its `map` does.
"""

from __future__ import annotations

import asyncio

from saq import Worker
from saq.queue.postgres import PostgresQueue

from benchmarks.race.adapters import protocol

CONCURRENCY = 50
MOST_CONNECTIONS = 20


async def task(_context: object) -> None:
    """Do nothing but say so."""
    protocol.handled()


class Saq(protocol.Peer):
    """See the module."""

    async def prepare(self) -> None:
        await self.open(1)
        await self.close()

    async def open(self, callers: int) -> None:
        self._queue = PostgresQueue.from_url(
            self.url, min_size=4, max_size=max(4, min(callers, MOST_CONNECTIONS))
        )
        await self._queue.connect()

    async def enqueue(self) -> None:
        await self._queue.enqueue("task")

    async def enqueue_many(self, count: int) -> None:
        left = iter(range(count))

        async def call() -> None:
            for _ in left:
                await self.enqueue()

        await asyncio.gather(*(call() for _ in range(CONCURRENCY)))

    async def work(self) -> None:
        queue = PostgresQueue.from_url(self.url, min_size=4, max_size=MOST_CONNECTIONS)
        await queue.connect()
        await Worker(queue, [("task", task)], concurrency=CONCURRENCY).start()

    async def close(self) -> None:
        await self._queue.disconnect()


if __name__ == "__main__":
    protocol.run(Saq, "benchmarks.race.adapters.saq")
