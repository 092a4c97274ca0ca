"""DBOS Transact: a workflow on a queue that polls every 10 ms, enqueued by its client.

A step-less workflow is the least that DBOS can run durably. Its client enqueues one at a time, so
many are enqueued by concurrent calls. Logs off, no admin server, the pool widened to 20.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from dbos import DBOS, DBOSClient, DBOSConfig
from sqlalchemy import make_url

from benchmarks.race.adapters import protocol

CONCURRENCY = 50
MOST_CONNECTIONS = 20
POLLING_SECONDS = 0.01
VERSION = "race"


@DBOS.workflow(name="task")
def task() -> None:
    """Do nothing but say so."""
    protocol.handled()


class Dbos(protocol.Peer):
    """See the module."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        parsed = make_url(url).set(drivername="postgresql+psycopg")
        self._sqlalchemy_url = parsed.render_as_string(hide_password=False)

    def _launch(self) -> None:
        DBOS(
            config=DBOSConfig(
                name="race",
                system_database_url=self._sqlalchemy_url,
                application_version=VERSION,
                run_admin_server=False,
                sys_db_pool_size=MOST_CONNECTIONS,
                max_executor_threads=CONCURRENCY,
                log_level="ERROR",
            )
        )
        DBOS.launch()
        DBOS.register_queue(
            "default", worker_concurrency=CONCURRENCY, polling_interval_sec=POLLING_SECONDS
        )

    async def prepare(self) -> None:
        await asyncio.to_thread(self._launch)

    async def open(self, callers: int) -> None:
        self._threads = ThreadPoolExecutor(max(callers, MOST_CONNECTIONS))
        self._client = DBOSClient(system_database_url=self._sqlalchemy_url)

    def _enqueue(self) -> None:
        self._client.enqueue(
            {"queue_name": "default", "workflow_name": "task", "app_version": VERSION}
        )

    async def enqueue(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._threads, self._enqueue)

    async def enqueue_many(self, count: int) -> None:
        left = iter(range(count))

        async def call() -> None:
            for _ in left:
                await self.enqueue()

        await asyncio.gather(*(call() for _ in range(MOST_CONNECTIONS)))

    async def work(self) -> None:
        await asyncio.to_thread(self._launch)
        await asyncio.Event().wait()


if __name__ == "__main__":
    protocol.run(Dbos, "benchmarks.race.adapters.dbos")
