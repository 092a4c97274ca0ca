"""procrastinate on psycopg's asynchronous pool, concurrency 50, listening for notifications.

Many are enqueued by `batch_defer_async`, one statement for all.
"""

from __future__ import annotations

from procrastinate import App, PsycopgConnector

from benchmarks.race.adapters import protocol

CONCURRENCY = 50
MOST_CONNECTIONS = 20


class Procrastinate(protocol.Peer):
    """See the module."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._app = App(
            connector=PsycopgConnector(conninfo=url, min_size=4, max_size=MOST_CONNECTIONS)
        )

        @self._app.task(name="task")
        async def task() -> None:
            protocol.handled()

        self._task = task

    async def prepare(self) -> None:
        async with self._app.open_async():
            await self._app.schema_manager.apply_schema_async()

    async def open(self, callers: int) -> None:  # noqa: ARG002 - its pool has its own size
        await self._app.open_async().__aenter__()

    async def enqueue(self) -> None:
        await self._task.defer_async()

    async def enqueue_many(self, count: int) -> None:
        await self._task.batch_defer_async(*({} for _ in range(count)))

    async def work(self) -> None:
        async with self._app.open_async():
            await self._app.run_worker_async(concurrency=CONCURRENCY, install_signal_handlers=False)

    async def close(self) -> None:
        await self._app.close_async()


if __name__ == "__main__":
    protocol.run(Procrastinate, "benchmarks.race.adapters.procrastinate")
