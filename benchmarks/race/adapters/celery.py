"""Celery with the SQLAlchemy result backend on the race's PostgreSQL: a thread pool of 50.

The broker is the one that RACE_BROKER_URL names (RabbitMQ or Redis are what Celery recommends),
else kombu's own, in a directory. Many are enqueued by concurrent calls, as Celery has no other.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from celery import Celery
from sqlalchemy import make_url

from benchmarks.race.adapters import protocol

CONCURRENCY = 50
CALLERS = 20


def _application(url: str) -> Celery:
    parsed = make_url(url)
    backend = parsed.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
    name = f"race-{parsed.database}"
    application = Celery("race", broker=os.environ.get("RACE_BROKER_URL", "filesystem://"))
    application.conf.update(
        result_backend=f"db+{backend}",
        task_default_queue=name,
        worker_prefetch_multiplier=4,
        database_short_lived_sessions=False,
        broker_connection_retry_on_startup=True,
    )
    if "RACE_BROKER_URL" not in os.environ:
        folder = Path(tempfile.gettempdir()) / name
        folder.mkdir(exist_ok=True)
        application.conf.broker_transport_options = {
            "data_folder_in": str(folder),
            "data_folder_out": str(folder),
            "control_folder": str(folder),
        }
    return application


class CeleryPeer(protocol.Peer):
    """See the module."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._celery = _application(url)

        @self._celery.task(name="task")
        def task() -> None:
            protocol.handled()

        self._task = task

    async def prepare(self) -> None:
        """Its tables are made by the first result; its queue is emptied."""
        self._celery.control.purge()

    async def open(self, callers: int) -> None:
        self._threads = ThreadPoolExecutor(max(callers, CALLERS))

    async def enqueue(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._threads, self._task.delay)

    async def enqueue_many(self, count: int) -> None:
        left = iter(range(count))

        async def call() -> None:
            for _ in left:
                await self.enqueue()

        await asyncio.gather(*(call() for _ in range(CALLERS)))

    async def work(self) -> None:
        def serve() -> None:
            self._celery.WorkController(
                pool="threads", concurrency=CONCURRENCY, without_gossip=True,
                without_mingle=True, without_heartbeat=True,
            ).start()  # fmt: skip

        threading.Thread(target=serve, daemon=True).start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    protocol.run(CeleryPeer, "benchmarks.race.adapters.celery")
