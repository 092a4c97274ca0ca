"""pgqueuer on asyncpg, its recommended driver; large batches, a pool for concurrent producers.

Its reference on drivers names asyncpg the fastest. One statement enqueues a list; a worker takes
`batch_size` jobs a query, and writes their outcomes in batches of the same size: its guide to
performance has more for short jobs, and vacuum settings of its own. Of 50, 250 and 1,000 the last
is fastest.
"""

from __future__ import annotations

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries

from benchmarks.race.adapters import protocol

BATCH = 1_000
MOST_CONNECTIONS = 20


class Pgqueuer(protocol.Peer):
    """See the module."""

    async def prepare(self) -> None:
        connection = await asyncpg.connect(self.url)
        queries = Queries(AsyncpgDriver(connection))
        await queries.install()
        await queries.optimize_autovacuum()
        await connection.close()

    async def open(self, callers: int) -> None:
        size = min(callers, MOST_CONNECTIONS)
        self._pool = await asyncpg.create_pool(self.url, min_size=size, max_size=size)
        self._queries = Queries(AsyncpgPoolDriver(self._pool))

    async def enqueue(self) -> None:
        await self._queries.enqueue("task", None)

    async def enqueue_many(self, count: int) -> None:
        await self._queries.enqueue(["task"] * count, [None] * count, [0] * count)

    async def work(self) -> None:
        worker = PgQueuer(AsyncpgDriver(await asyncpg.connect(self.url)))

        @worker.entrypoint("task")
        async def task(_job: Job) -> None:
            protocol.handled()

        await worker.run(batch_size=BATCH)

    async def close(self) -> None:
        await self._pool.close()


if __name__ == "__main__":
    protocol.run(Pgqueuer, "benchmarks.race.adapters.pgqueuer")
