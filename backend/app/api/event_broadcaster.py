"""One listener for all event streams: a change is read once, and sent to every watcher.

A stream holds no database connection, and no queue either: of each session it keeps the newest
snapshot that was not sent yet, so a slow reader skips what is outdated and costs a bounded amount.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import anyio
import anyio.to_thread
import psycopg
from fastapi.sse import format_sse_event

from app.api.problems import TooManyRequests
from app.api.serializers import etag_of, session_resource
from app.api.snapshot_loader import MOST_SESSIONS_PER_READ
from app.core.database import database_now
from app.core.errors import DatabaseUnavailable
from app.core.notifications import CHANNEL_TO_LISTEN, announced_sessions
from app.repositories.access_repository import AccessRepository
from app.repositories.browser_sessions import BrowserSessions
from app.repositories.session_queries import SessionQueries, read_snapshots_of_owners
from app.repositories.session_snapshot import SessionSnapshot

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from sqlalchemy.orm import Session as DbSession

    from app.core.config import Settings
    from app.core.database import Database
    from app.repositories.access_repository import Principal

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_READS = 0.05
"""What changes meanwhile is read together; a session is sent at most twenty times a second."""

SECONDS_BEFORE_LISTENING_AGAIN = 1.0
MOST_PENDING = 1_000
MOST_KNOWN = 10_000
RESUME_OVERLAP = timedelta(seconds=30)
"""A transaction sets `updated_at` before it commits: resuming reads this much further back."""

RETRY_MILLISECONDS = 2_000
COMMENT = b": still here\n\n"


class Stream:
    """One watching client: of a session, or of all of an owner's (`session_id` None).

    An administrator watches all owners' sessions, or those of `owner`.
    """

    def __init__(
        self,
        principal: Principal,
        session_id: UUID | None,
        *,
        owner: str | None = None,
        until_settled: bool = False,
    ) -> None:
        self.principal = principal
        self.owner = owner if owner is not None else principal.sees
        self.session_id = session_id
        self._until_settled = until_settled
        self._known: dict[UUID, str] = {}
        self._pending: dict[UUID, bytes] = {}
        self._arrived = asyncio.Event()
        self._is_ending = False

    def seen(self, snapshot: SessionSnapshot, etag: str) -> None:
        """Note that the client has this already."""
        self._known[snapshot.session_id] = etag
        self._is_ending |= self._until_settled and snapshot.is_settled
        self._arrived.set()

    def offer(self, snapshot: SessionSnapshot, body: bytes, etag: str) -> None:
        """Queue it, in place of an older queued snapshot of the session."""
        if self._known.get(snapshot.session_id) == etag:
            return
        event_id = (
            etag.strip('"')
            if self.session_id is not None
            else str(int(snapshot.updated_at.timestamp() * 1_000_000))
        )
        self._put(
            snapshot.session_id,
            format_sse_event(data_str=body.decode(), event="session", id=event_id),
        )
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        self.seen(snapshot, etag)

    def send_deleted(self, session_id: UUID) -> None:
        """Send that the session is deleted, if the client has it."""
        if self._known.pop(session_id, None) is None:
            return
        self._put(
            session_id, format_sse_event(data_str=f'{{"id":"{session_id}"}}', event="deleted")
        )
        if self.session_id is not None:
            self.end()

    def end(self) -> None:
        """Send what is queued, and close."""
        self._is_ending = True
        self._arrived.set()

    async def events(self, keep_alive_seconds: float) -> AsyncIterator[bytes]:
        """Yield events as they come, and a comment from time to time."""
        yield format_sse_event(retry=RETRY_MILLISECONDS, comment="Session Tasks")
        while True:
            with anyio.move_on_after(keep_alive_seconds) as waiting:
                await self._arrived.wait()
            if waiting.cancelled_caught:
                yield COMMENT
                continue
            self._arrived.clear()
            pending, self._pending = self._pending, {}
            for event in pending.values():
                yield event
            if self._is_ending and not self._pending:
                return

    def _put(self, session_id: UUID, event: bytes) -> None:
        self._pending.pop(session_id, None)
        self._pending[session_id] = event
        if len(self._pending) > MOST_PENDING:  # so far behind that a new list is shorter
            self._known.clear()
            self._pending = {session_id: format_sse_event(data_str="{}", event="reset")}
        self._arrived.set()


class EventBroadcaster:
    """All streams of this process, and the two tasks that feed them."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._streams: set[Stream] = set()
        self._streams_of: defaultdict[UUID | None, set[Stream]] = defaultdict(set)
        """By the session that they watch; None holds those of all of an owner's."""
        self._dirty: set[UUID] = set()
        self._something_changed = asyncio.Event()
        self._limiter = anyio.CapacityLimiter(1)
        self._look_from: dict[str | None, datetime] = {}  # by owner, and by the database's clock
        self._looked_at = time.monotonic()
        """The start of the last successful poll: later changes may be new to a stream."""
        self._is_ending = False

    def __len__(self) -> int:
        return len(self._streams)

    def add(self, stream: Stream) -> None:
        """Add the stream.

        Raises:
            TooManyRequests: its key has reached the limit.

        """
        key_id = stream.principal.key_id
        if (
            sum(other.principal.key_id == key_id for other in self._streams)
            >= self._settings.streams_per_key
        ):
            raise TooManyRequests(
                "This key has as many streams of events open as it may",
                next_step="Close some, or watch all your sessions with one: GET /api/v1/events.",
            )
        self._streams.add(stream)
        self._streams_of[stream.session_id].add(stream)
        if self._is_ending:
            stream.end()

    def remove(self, stream: Stream) -> None:
        """Remove it; may be called again."""
        self._streams.discard(stream)
        watching = self._streams_of[stream.session_id]
        watching.discard(stream)
        if not watching:
            del self._streams_of[stream.session_id]

    def end_streams(self) -> None:
        """Close all streams, because the server is stopping."""
        self._is_ending = True
        for stream in tuple(self._streams):
            stream.end()

    def end_streams_of(
        self, *, key_id: str | None = None, browser_session: bytes | None = None
    ) -> None:
        """Close the streams that were opened with this key, or in this browser session."""
        for stream in tuple(self._streams):
            caller = stream.principal
            if key_id == caller.key_id or (
                browser_session is not None and browser_session == caller.browser_session
            ):
                stream.end()

    async def run(self) -> None:
        """Feed the streams until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._listen)
            tasks.start_soon(self._send_changes)
            tasks.start_soon(self._look_again)

    async def resume(self, stream: Stream, moment: datetime) -> None:
        """Send the stream the changes since then, including a few that the client may have.

        If more changed than may be queued, the client gets `reset`, and reads everything again.
        """
        for snapshot in await anyio.to_thread.run_sync(
            self._changed_since, stream.owner, moment - RESUME_OVERLAP
        ):
            stream.offer(snapshot, *etag_of(session_resource(snapshot), snapshot.task_id))

    def _changed_since(self, owner: str | None, moment: datetime) -> list[SessionSnapshot]:
        with self._database.transaction() as db:
            return SessionQueries(db, owner=owner).changed_since(moment, limit=MOST_PENDING + 1)

    # -- hearing ----------------------------------------------------------------------------------

    async def _listen(self) -> None:
        while True:
            began = anyio.current_time()
            try:
                connection = await self._database.connect_async("session-tasks events")
                async with connection:
                    found = await connection.execute(CHANNEL_TO_LISTEN)
                    (channel,) = await found.fetchone() or ("",)
                    await connection.execute(f"LISTEN {channel}")
                    self._mark(self._watched())
                    async for notification in connection.notifies():
                        self._mark(announced_sessions(notification))
            except (psycopg.Error, OSError, DatabaseUnavailable) as error:
                # Streams are fed by `_look_again` meanwhile.
                logger.warning("Listening for changes failed, trying again: %s", error)
            # At once where it had listened for a while: an embedded server that died is revived.
            await anyio.sleep(max(0, began + SECONDS_BEFORE_LISTENING_AGAIN - anyio.current_time()))

    def _mark(self, session_ids: Iterable[UUID]) -> None:
        all_of_some_owner = None in self._streams_of
        self._dirty.update(
            session_id
            for session_id in session_ids
            if all_of_some_owner or session_id in self._streams_of
        )
        if self._dirty:
            self._something_changed.set()

    def _watched(self) -> set[UUID]:
        return {session_id for session_id in self._streams_of if session_id is not None}

    async def _look_again(self) -> None:
        """Poll as well, as notifications are only hints; and check whether keys are valid."""
        while True:
            await anyio.sleep(self._settings.keep_alive_seconds)
            if not self._streams:
                self._looked_at = time.monotonic()
                continue
            callers = {stream.principal for stream in self._streams}
            try:
                lost, changed = await anyio.to_thread.run_sync(
                    self._look,
                    callers,
                    {s.owner for s in self._streams if s.session_id is None},
                    limiter=self._limiter,
                )
            except Exception as error:  # noqa: BLE001 - the next poll follows
                logger.warning("Looking for changes failed: %s", error)
                continue
            for stream in tuple(self._streams):
                if stream.principal in lost:
                    stream.end()
            self._mark(self._watched() | changed)

    def _look(
        self, callers: set[Principal], owners: set[str | None]
    ) -> tuple[set[Principal], set[UUID]]:
        """Return the callers that may not listen any more, and the sessions that have changed."""
        changed: set[UUID] = set()
        look_from: dict[str | None, datetime] = {}
        began_at = time.monotonic()
        with self._database.transaction() as db:
            usual = database_now(db) - RESUME_OVERLAP
            before_it_came = usual - timedelta(seconds=time.monotonic() - self._looked_at)
            for owner in owners:
                since = self._look_from.get(owner, before_it_came)
                found = SessionQueries(db, owner=owner).changed_since(since, limit=MOST_PENDING)
                changed.update(snapshot.session_id for snapshot in found)
                look_from[owner] = usual
                if len(found) == MOST_PENDING and found[-1].updated_at > since:
                    look_from[owner] = found[-1].updated_at  # the next poll continues from there
            lost = self._lost(db, callers)
        self._look_from, self._looked_at = look_from, began_at
        return lost, changed

    def _lost(self, db: DbSession, callers: set[Principal]) -> set[Principal]:
        keys = AccessRepository(db).usable({caller.key_id for caller in callers})
        browsers = {c.browser_session for c in callers if c.browser_session is not None}
        if browsers:
            idle = timedelta(hours=self._settings.browser_idle_hours)
            browsers -= BrowserSessions(db, idle=idle).usable(browsers)
        return {c for c in callers if c.key_id not in keys or c.browser_session in browsers}

    # -- telling ----------------------------------------------------------------------------------

    async def _send_changes(self) -> None:
        while True:
            await self._something_changed.wait()
            batch = {
                self._dirty.pop() for _ in range(min(len(self._dirty), MOST_SESSIONS_PER_READ))
            }
            if not self._dirty:
                self._something_changed.clear()
            if batch and self._streams:
                try:
                    found = await anyio.to_thread.run_sync(
                        self._read,
                        batch,
                        {stream.owner for stream in self._streams},
                        limiter=self._limiter,
                    )
                except Exception as error:  # noqa: BLE001 - `_look_again` marks them again
                    logger.warning("Reading what changed failed: %s", error)
                else:
                    self._hand_out(batch, found)
            await anyio.sleep(SECONDS_BETWEEN_READS)

    def _read(self, session_ids: set[UUID], owners: set[str | None]) -> list[SessionSnapshot]:
        with self._database.autocommit_connection() as connection:
            return read_snapshots_of_owners(connection, session_ids, owners)

    def _hand_out(self, batch: set[UUID], found: list[SessionSnapshot]) -> None:
        told = {
            snapshot.session_id: (
                snapshot,
                *etag_of(session_resource(snapshot), snapshot.task_id),
            )
            for snapshot in found
        }
        of_owners = self._streams_of.get(None, set())
        for session_id in batch:
            entry = told.get(session_id)
            for stream in of_owners | self._streams_of.get(session_id, set()):
                if entry is None:
                    stream.send_deleted(session_id)
                elif stream.owner in {None, entry[0].owner}:
                    stream.offer(*entry)
