"""Event streams: a snapshot for every change, resumption, and no database load per stream."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock, patch

import anyio
import httpx
import pytest
from chaos.waiting import until
from sqlalchemy import text

from app.api.event_broadcaster import MOST_PENDING, EventBroadcaster, Stream
from app.core.config import Settings
from app.core.database import Database
from app.core.errors import DatabaseUnavailable
from app.models.access import KeyRole
from app.repositories.access_repository import AccessRepository, Principal
from app.repositories.session_queries import SessionQueries
from app.repositories.session_repository import SessionRepository

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from app.repositories.session_snapshot import SessionSnapshot

STREAM_COUNT = 500
DEADLINE_SECONDS = 30.0


class Watcher:
    """A client of events, reading in a thread of its own."""

    def __init__(self, client: httpx.Client, path: str, **headers: str) -> None:
        self.events: list[dict[str, Any]] = []
        self.comments = 0
        self.has_ended = threading.Event()
        self.status = 0
        self._opened = threading.Event()
        self._response: httpx.Response | None = None
        self._thread = threading.Thread(target=self._read, args=(client, path, headers))
        self._thread.start()
        assert self._opened.wait(DEADLINE_SECONDS)

    def _read(self, client: httpx.Client, path: str, headers: dict[str, str]) -> None:
        try:
            with client.stream("GET", path, headers=headers) as response:
                self.status = response.status_code
                self._response = response
                self._opened.set()
                event: dict[str, Any] = {}
                for line in response.iter_lines():
                    if line.startswith(":"):
                        self.comments += 1
                    elif line:
                        name, _, value = line.partition(": ")
                        event[name] = value
                    elif "data" in event:
                        self.events.append(event | {"data": json.loads(event["data"])})
                        event = {}
        except httpx.HTTPError:
            pass  # we closed it ourselves
        finally:
            self._opened.set()
            self.has_ended.set()

    def close(self) -> None:
        """Close the connection."""
        if self._response is not None:
            stream = self._response.extensions["network_stream"]
            with contextlib.suppress(OSError):  # the server closed it first
                stream.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
        self._thread.join(DEADLINE_SECONDS)

    def statuses(self) -> list[Any]:
        """Return the task of each snapshot."""
        return [e["data"]["task"]["status"] for e in self.events if e["event"] == "session"]


def test_stream_begins_with_the_present_and_tells_every_change(
    client: httpx.Client, open_session: Callable[..., str]
) -> None:
    session = open_session(client)
    watcher = Watcher(client, f"{session}/events")
    everything = Watcher(client, "/api/v1/events")
    until(lambda: watcher.statuses() == [None], "the present")
    client.post(f"{session}/task")
    until(lambda: watcher.statuses() == [None, "running"], "the start")
    client.post(f"{session}/task/cancel")
    until(lambda: watcher.statuses()[-1] == "cancelled", "the cancel")
    until(lambda: everything.statuses()[-1:] == ["cancelled"], "it, among all")
    until(lambda: watcher.comments > 2, "a sign of life")
    client.delete(session)
    assert watcher.has_ended.wait(DEADLINE_SECONDS)
    until(lambda: everything.events[-1]["event"] == "deleted", "the end")
    assert watcher.events[-1]["event"] == "deleted"
    everything.close()
    watcher.close()


def test_stream_ends_when_the_session_has_settled_if_asked(
    client: httpx.Client, open_session: Callable[..., str]
) -> None:
    session = open_session(client)
    client.post(f"{session}/task")
    watcher = Watcher(client, f"{session}/events?until=settled")
    until(lambda: watcher.statuses() == ["running"], "the present")
    assert not watcher.has_ended.is_set()
    client.post(f"{session}/task/cancel")
    assert watcher.has_ended.wait(DEADLINE_SECONDS)
    assert watcher.statuses() == ["running", "cancelled"]
    watcher.close()


def test_resumed_stream_repeats_nothing_and_misses_nothing(
    client: httpx.Client, open_session: Callable[..., str]
) -> None:
    session = open_session(client)
    first = Watcher(client, f"{session}/events")
    everything = Watcher(client, "/api/v1/events")
    until(lambda: first.events, "the present")
    client.post(f"{session}/task")
    until(lambda: len(first.events) == 2, "the start")
    until(lambda: everything.events, "the start, among all")
    last, last_of_all = first.events[-1]["id"], everything.events[-1]["id"]
    first.close()
    everything.close()
    same = Watcher(client, f"{session}/events", **{"Last-Event-ID": last})
    until(lambda: same.comments > 1, "a sign of life")
    assert same.events == []
    client.post(f"{session}/task/cancel")
    until(lambda: same.statuses() == ["cancelled"], "what was missed")
    later = Watcher(client, "/api/v1/events", **{"Last-Event-ID": last_of_all})
    until(lambda: later.statuses() == ["cancelled"], "what was missed, among all")
    same.close()
    later.close()


def test_stranger_hears_nothing(
    client: httpx.Client, stranger: httpx.Client, open_session: Callable[..., str]
) -> None:
    session = open_session(client)
    refused = Watcher(stranger, f"{session}/events")
    assert refused.status == 404
    everything = Watcher(stranger, "/api/v1/events")
    mine = Watcher(client, "/api/v1/events")
    assert (everything.status, mine.status) == (200, 200)
    assert client.post(f"{session}/task").status_code == 202
    until(lambda: mine.events, "the start")
    until(lambda: everything.comments > 2, "signs of life")
    assert everything.events == []
    for watcher in (refused, everything, mine):
        watcher.close()


def test_stream_that_comes_while_keys_are_looked_at_goes_on() -> None:
    """A lookup's result does not hold for a key that was created after it."""

    async def watch() -> None:
        broadcaster = EventBroadcaster(Mock(spec=Database), Settings(keep_alive_seconds=0.01))
        revoked = Stream(Principal("me", KeyRole.USER, "revoked"), None)
        late = Stream(Principal("you", KeyRole.USER, "new"), None)

        def look(
            callers: set[Principal], _owners: set[str]
        ) -> tuple[set[Principal], set[uuid.UUID]]:
            anyio.from_thread.run_sync(broadcaster.add, late)
            return callers, set()

        with patch.object(broadcaster, "_look", look), anyio.fail_after(DEADLINE_SECONDS):
            async with anyio.create_task_group() as tasks:
                broadcaster.add(revoked)
                tasks.start_soon(broadcaster._look_again)
                assert len([sent async for sent in revoked.events(DEADLINE_SECONDS)]) == 1
                tasks.cancel_scope.cancel()
        assert not late._is_ending

    anyio.run(watch)


def test_stream_of_a_revoked_key_ends(api: Any, open_session: Callable[..., str]) -> None:
    key = api.key()
    client = api.client(key)
    watcher = Watcher(client, f"{open_session(client)}/events")
    until(lambda: watcher.events, "the present")
    with api.database.transaction() as db:
        AccessRepository(db).revoke_key(key.removeprefix("st_").partition(".")[0])
    assert watcher.has_ended.wait(DEADLINE_SECONDS)
    watcher.close()


def test_five_hundred_streams_leave_the_pool_at_rest_and_all_hear(
    make_server: Any, open_session: Callable[..., str]
) -> None:
    api = make_server()
    key = api.key()
    client = api.client(key)
    session = open_session(client)
    request = (
        f"GET {session}/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\r\n"
    ).encode()

    async def watch() -> None:
        heard = 0

        async def one(opened: asyncio.Semaphore, go: asyncio.Event) -> None:
            nonlocal heard
            reader, writer = await asyncio.open_connection("127.0.0.1", api.server.port)
            writer.write(request)
            await reader.readuntil(b'"status":null')
            opened.release()
            await go.wait()
            await reader.readuntil(b'"status":"running"')
            heard += 1
            writer.close()
            await writer.wait_closed()

        opened, go = asyncio.Semaphore(0), asyncio.Event()
        streams = [asyncio.create_task(one(opened, go)) for _ in range(STREAM_COUNT)]
        async with asyncio.timeout(DEADLINE_SECONDS):
            for _ in range(STREAM_COUNT):
                await opened.acquire()
        assert len(api.app.state.services.broadcaster) == STREAM_COUNT
        for _ in range(100):
            if api.database.engine.pool.checkedout() == 0:
                break
            await asyncio.sleep(0.05)
        assert api.database.engine.pool.checkedout() == 0
        started = await asyncio.to_thread(client.post, f"{session}/task")
        assert started.status_code == 202
        go.set()
        async with asyncio.timeout(DEADLINE_SECONDS):
            await asyncio.gather(*streams)
        assert heard == STREAM_COUNT

    asyncio.run(watch())
    until(lambda: len(api.app.state.services.broadcaster) == 0, "the streams' end")


def test_hub_hears_what_other_processes_do_and_survives_losing_its_connection(
    make_server: Any, open_session: Callable[..., str]
) -> None:
    api = make_server(keep_alive_seconds=60)
    client = api.client(api.key())
    session = open_session(client)
    watcher = Watcher(client, f"{session}/events")
    until(lambda: watcher.events, "the present")
    listening = "FROM pg_stat_activity WHERE application_name = 'session-tasks events'"
    with api.database.driver_connection() as connection:
        query = f"SELECT count(*) {listening} AND datname = current_database()"
        assert connection.execute(query).fetchone() == (1,)  # one, however many watch
        connection.execute(
            f"SELECT pg_terminate_backend(pid) {listening} AND datname = current_database()"
        )
    client.post(f"{session}/task")  # notified while nothing listens
    until(lambda: watcher.statuses()[-1] == "running", "what was missed")
    watcher.close()


def _snapshots(database: Any, count: int) -> Iterator[SessionSnapshot]:
    with database.transaction() as db:
        session = SessionRepository(db, owner="me").create_session(label="slow")
        snapshot = SessionQueries(db, owner="me").snapshot(session.id)
    assert snapshot is not None
    for _ in range(count):
        yield snapshot


def test_slow_reader_gets_the_newest_snapshot_and_costs_a_bounded_amount(database: Any) -> None:
    (snapshot,) = _snapshots(database, 1)

    async def read_late() -> None:
        stream = Stream(Principal("me", KeyRole.USER, "k"), None)
        for number in range(1_000):
            stream.offer(snapshot, b'{"number":%d}' % number, f'"{number}"')
        assert list(stream._pending) == [snapshot.session_id]
        stream.end()
        sent = [event async for event in stream.events(60)]
        assert b'data: {"number":999}' in sent[-1]
        assert len(sent) == 2
        behind = Stream(Principal("me", KeyRole.USER, "k"), None)
        for _ in range(MOST_PENDING + 1):
            behind._put(uuid.uuid4(), b"event")
        assert len(behind._pending) == 1
        assert b"event: reset" in next(iter(behind._pending.values()))

    anyio.run(read_late)


class TestLooking:
    """The broadcaster finds changes by polling if no notification came."""

    def change(self, database: Database, label: str, session_id: uuid.UUID) -> None:
        with database.transaction() as db:
            db.execute(
                text(
                    "UPDATE sessions SET label = :label, updated_at = clock_timestamp()"
                    " WHERE id = :id"
                ),
                {"label": label, "id": session_id},
            )

    @pytest.mark.parametrize("looks_before", [0, 1])
    def test_a_change_is_found_although_looks_failed(
        self, database: Database, monkeypatch: pytest.MonkeyPatch, looks_before: int
    ) -> None:
        monkeypatch.setattr("app.api.event_broadcaster.RESUME_OVERLAP", timedelta(0))
        with database.transaction() as db:
            session_id = SessionRepository(db, owner="me").create_session().id
        settings = database.settings.model_copy(update={"keep_alive_seconds": 0.05})
        broadcaster = EventBroadcaster(database, settings)
        stream = Stream(Principal("me", KeyRole.USER, "k"), None)
        looks = iter(range(looks_before + 3))

        def usable(_repository: AccessRepository, key_ids: set[str]) -> set[str]:
            number = next(looks, None)
            if number == looks_before:
                self.change(database, "without a notification", session_id)
            if number is not None and number >= looks_before:
                raise DatabaseUnavailable("away")
            return key_ids

        monkeypatch.setattr(AccessRepository, "usable", usable)

        async def main() -> None:
            async with anyio.create_task_group() as tasks:
                broadcaster.add(stream)
                tasks.start_soon(broadcaster.run)
                with anyio.fail_after(DEADLINE_SECONDS):
                    async for event in stream.events(DEADLINE_SECONDS):
                        if b"without a notification" in event:
                            break
                tasks.cancel_scope.cancel()

        anyio.run(main)

    def test_more_changes_than_one_look_takes_are_found_by_the_next(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.api.event_broadcaster.MOST_PENDING", 2)
        with database.transaction() as db:
            sessions = SessionRepository(db, owner="me")
            ids = [sessions.create_session().id for _ in range(5)]
        broadcaster = EventBroadcaster(database, database.settings)
        found = [broadcaster._look(set(), {"me"})[1] for _ in range(5)]
        assert set().union(*found) == set(ids)

    def test_a_client_that_missed_more_than_it_can_be_sent_is_told_to_read_anew(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.api.event_broadcaster.MOST_PENDING", 2)
        with database.transaction() as db:
            for _ in range(3):
                SessionRepository(db, owner="me").create_session()
        broadcaster = EventBroadcaster(database, database.settings)
        stream = Stream(Principal("me", KeyRole.USER, "k"), None)

        async def main() -> list[bytes]:
            await broadcaster.resume(stream, datetime.now(UTC))
            stream.end()
            return [event async for event in stream.events(DEADLINE_SECONDS)]

        assert b"event: reset" in anyio.run(main)[-1]
