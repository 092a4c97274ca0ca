"""A server that died is started again by the first process that fails to reach it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from chaos.waiting import until
from sqlalchemy import text

from app.core.config import Settings
from app.core.database import Database
from app.core.embedded import EmbeddedServer
from app.core.embedded.cluster import _postmaster
from app.core.errors import DatabaseUnavailable, DatabaseUnsuitable
from tests.integration.embedded.users import is_running, leave, user_process

QUESTION = "SELECT 42"


@pytest.fixture
def open_database(data_dir: Path) -> Iterator[Database]:
    with Database.open(Settings(data_dir=data_dir, pool_size=4)) as database:
        yield database


def kill(database: Database) -> None:
    assert database.server is not None
    place = database.server._directory
    os.kill(_postmaster(place) or 0, signal.SIGKILL)
    until(lambda: _postmaster(place) is None, "the server is gone")


def in_transaction(database: Database) -> Any:
    with database.transaction() as db:
        return db.scalar(text(QUESTION))


def by_the_driver(database: Database) -> Any:
    with database.driver_connection() as connection:
        return connection.execute(QUESTION).fetchone()[0]  # type: ignore[index]


def outside_of_transactions(database: Database) -> Any:
    with database.autocommit_connection() as connection:
        return connection.scalar(text(QUESTION))


def awaited(database: Database) -> Any:
    async def ask() -> Any:
        async with await database.connect_async("a test") as connection:
            return (await (await connection.execute(QUESTION)).fetchone())[0]  # type: ignore[index]

    return asyncio.run(ask())


def by_a_pool_of_its_own(database: Database) -> Any:
    with database.second_pool(database.settings) as other:
        return in_transaction(other)


@pytest.mark.parametrize(
    "ask", [in_transaction, by_the_driver, outside_of_transactions, awaited, by_a_pool_of_its_own]
)
def test_every_kind_of_connection_revives_a_killed_server(
    open_database: Database, ask: Callable[[Database], Any]
) -> None:
    assert ask(open_database) == 42
    kill(open_database)
    assert ask(open_database) == 42


def test_many_threads_and_processes_revive_it_once(data_dir: Path, open_database: Database) -> None:
    with user_process(data_dir) as other, ThreadPoolExecutor(4) as threads:
        other.stdout.readline()
        kill(open_database)
        started = "SELECT pg_postmaster_start_time()"

        def ask(_number: int) -> Any:
            with open_database.driver_connection() as connection:
                return connection.execute(started).fetchone()

        assert len(set(threads.map(ask, range(8)))) == 1
        leave(other)
    assert in_transaction(open_database) == 42


def test_a_process_that_closed_its_database_revives_nothing(data_dir: Path) -> None:
    database = Database.open(Settings(data_dir=data_dir))
    database.close()
    with pytest.raises(DatabaseUnavailable):
        in_transaction(database)
    assert database.server is not None
    assert not is_running(database.server)


def test_a_standby_is_refused_as_read_only(data_dir: Path) -> None:
    with EmbeddedServer.acquire(data_dir) as server:
        cluster = server.home / "cluster"
    (cluster / "standby.signal").touch()
    with pytest.raises(DatabaseUnsuitable, match="read-only: it is a standby"):
        Database.open(Settings(data_dir=data_dir))
