"""oban on psycopg's asynchronous pool, one queue of 200, many by `enqueue_many`.

Its free edition; the extension that batches acknowledgements is not on the public index.
"""

from __future__ import annotations

import asyncio

import oban
from oban import Oban, worker
from oban.schema import install

from benchmarks.race.adapters import protocol

LIMIT = 200
MOST_CONNECTIONS = 20


@worker(queue="default")
class Task:
    """Does nothing but say so."""

    async def process(self, _job: oban.Job) -> None:
        protocol.handled()


class ObanPeer(protocol.Peer):
    """See the module."""

    async def prepare(self) -> None:
        pool = await Oban.create_pool(self.url, min_size=1, max_size=2)
        await install(pool)
        await pool.close()

    async def open(self, callers: int) -> None:
        self._pool = await Oban.create_pool(
            self.url, min_size=1, max_size=max(2, min(callers, MOST_CONNECTIONS))
        )
        self._oban = Oban(pool=self._pool)
        await self._oban.start()

    async def enqueue(self) -> None:
        await self._oban.enqueue(Task.new({}))

    async def enqueue_many(self, count: int) -> None:
        await self._oban.enqueue_many([Task.new({}) for _ in range(count)])

    async def work(self) -> None:
        pool = await Oban.create_pool(self.url, min_size=4, max_size=MOST_CONNECTIONS)
        async with Oban(pool=pool, queues={"default": LIMIT}):
            await asyncio.Event().wait()

    async def close(self) -> None:
        await self._oban.stop()
        await self._pool.close()


if __name__ == "__main__":
    protocol.run(ObanPeer, "benchmarks.race.adapters.oban")
