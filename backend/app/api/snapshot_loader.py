"""Session snapshots read for many requests by one query: the status read and new streams."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg

from app.core.errors import DatabaseUnavailable, TaskError
from app.repositories.session_snapshot import SNAPSHOTS_SQL, SessionSnapshot, snapshot_of_row

if TYPE_CHECKING:
    from app.core.database import Database

logger = logging.getLogger(__name__)

_Wanted = tuple[UUID, str | None]

MOST_SESSIONS_PER_READ = 200


class SnapshotLoader:
    """Reads snapshots for many requests at once: what arrives during one query goes with the next.

    No timer: a single request waits for nothing, and a thousand share a few queries. It awaits a
    connection of its own: a thread would fight the event loop for the interpreter at every read.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: dict[_Wanted, list[asyncio.Future[SessionSnapshot | None]]] = {}
        self._task: asyncio.Task[None] | None = None
        self._connection: psycopg.AsyncConnection[Any] | None = None

    async def read(self, session_id: UUID, owner: str | None) -> SessionSnapshot | None:
        """The session as it stands after this call began; None if the owner has none of that id.

        Without an owner, it is any owner's.

        Raises:
            DatabaseUnavailable: the server cannot be reached, or does not answer in time.

        """
        future: asyncio.Future[SessionSnapshot | None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault((session_id, owner), []).append(future)
        if self._task is None:
            self._task = asyncio.create_task(self._answer_all())
        return await future

    async def stop(self) -> None:
        """Cancel the read that is under way, and close the connection."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self.close()

    async def close(self) -> None:
        """Let go of the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _answer_all(self) -> None:
        try:
            while self._waiting:
                keys = list(self._waiting)[:MOST_SESSIONS_PER_READ]
                batch = {key: self._waiting.pop(key) for key in keys}
                await self._answer(batch)
        finally:
            self._task = None

    async def _answer(
        self, batch: dict[_Wanted, list[asyncio.Future[SessionSnapshot | None]]]
    ) -> None:
        try:
            found = await self._read(list(batch))
        except BaseException as error:
            await self.close()
            told = error if isinstance(error, TaskError) else _unavailable(error)
            for future in (future for futures in batch.values() for future in futures):
                if not future.done():
                    future.set_exception(told)
            if not isinstance(error, Exception):
                raise
            return
        for key, futures in batch.items():
            for future in futures:
                if not future.done():
                    future.set_result(found.get(key))

    async def _read(self, wanted: list[_Wanted]) -> dict[_Wanted, SessionSnapshot]:
        parameters = {
            "session_ids": [session_id for session_id, _ in wanted],
            "owners": [owner for _, owner in wanted],
        }
        async with asyncio.timeout(self._database.settings.statement_timeout_seconds):
            try:
                rows = await self._ask(parameters)
            except psycopg.OperationalError:
                # The server may have closed a connection that lay idle: once more, on a new one.
                await self.close()
                rows = await self._ask(parameters)
        found: dict[_Wanted, SessionSnapshot] = {}
        for row in rows:
            found[row[0], row[1]] = found[row[0], None] = snapshot_of_row(row)
        return found

    async def _ask(self, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
        if self._connection is None:
            self._connection = await self._database.connect_async("session-tasks reads")
        cursor = self._connection.cursor(binary=True)
        await cursor.execute(SNAPSHOTS_SQL, parameters)
        return await cursor.fetchall()


def _unavailable(error: BaseException) -> DatabaseUnavailable:
    logger.warning("Reading failed: %s", type(error).__name__, exc_info=error)
    return DatabaseUnavailable(
        "The database did not answer", next_step="Try again in a moment: GET /readyz."
    )
