"""chancy with its asyncio executor and notifications, a queue of concurrency 1,000.

Its documentation recommends the asyncio executor "for running large numbers of IO-bound jobs
without the high overhead of new processes or threads"; `eager_polling` fetches again as soon as a
job ends. Many are enqueued by `push_many`, 1,000 a batch. Concurrency is what a worker fetches at
once: of 50, 200 and 1,000 the last is fastest.
"""

from __future__ import annotations

import asyncio
import importlib
import logging

from chancy import Chancy, Queue, Worker, job

from benchmarks.race.adapters import protocol

MOST_CONNECTIONS = 20

quiet = logging.getLogger("race")
quiet.setLevel(logging.ERROR)


@job()
async def task() -> None:
    """Do nothing but say so."""
    protocol.handled()


class ChancyPeer(protocol.Peer):
    """See the module."""

    async def prepare(self) -> None:
        async with Chancy(self.url, log=quiet) as chancy:
            await chancy.migrate()
            await chancy.declare(
                Queue(
                    "default",
                    concurrency=1_000,
                    executor=Chancy.Executor.Async,
                    eager_polling=True,
                )
            )

    async def open(self, callers: int) -> None:
        self._chancy = Chancy(
            self.url, max_connection_pool_size=min(callers, MOST_CONNECTIONS), log=quiet
        )
        await self._chancy.__aenter__()

    async def enqueue(self) -> None:
        await self._chancy.push(_job())

    async def enqueue_many(self, count: int) -> None:
        async for _ in self._chancy.push_many([_job()] * count):
            pass

    async def work(self) -> None:
        async with Chancy(self.url, log=quiet) as chancy, Worker(chancy) as worker:
            await worker.wait_for_shutdown()
            await asyncio.Event().wait()

    async def close(self) -> None:
        await self._chancy.__aexit__(None, None, None)


def _job() -> object:
    """The task as its worker imports it: this module is `__main__` here."""
    return importlib.import_module("benchmarks.race.adapters.chancy").task.job


if __name__ == "__main__":
    protocol.run(ChancyPeer, "benchmarks.race.adapters.chancy")
