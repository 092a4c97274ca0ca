"""The cache of API keys: one lookup for all, renewed early, never kept longer than promised."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from app.api import api_key_cache
from app.api.api_key_cache import SECONDS_REMEMBERED, ApiKeyCache
from app.repositories.access_repository import AccessRepository

if TYPE_CHECKING:
    from app.core.database import Database
    from app.repositories.access_repository import Principal


class CountingCache(ApiKeyCache):
    """A cache that counts its lookups, and whose next lookup can be blocked."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.questions = 0
        self.has_asked = threading.Event()
        self.may_answer = threading.Event()
        self.may_answer.set()

    def _ask(self, key: str) -> Principal | None:
        self.questions += 1
        found = super()._ask(key)
        self.has_asked.set()
        assert self.may_answer.wait(30)
        return found


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The cache's time, in seconds; only the test advances it."""
    now = [1_000.0]
    monkeypatch.setattr(api_key_cache.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def key(database: Database) -> tuple[str, str]:
    """A key's text and its id."""
    with database.transaction() as db:
        made = AccessRepository(db).create_key("somebody")
    return made.text, made.record.id


def revoke_elsewhere(database: Database, key_id: str) -> None:
    with database.transaction() as db:
        AccessRepository(db).revoke_key(key_id)


def test_requests_that_arrive_together_ask_once(database: Database, key: Any) -> None:
    async def arrive() -> None:
        cache = CountingCache(database)
        found = await asyncio.gather(*(cache.recognise(key[0]) for _ in range(50)))
        assert {principal.owner for principal in found if principal} == {"somebody"}
        assert cache.questions == 1
        assert await cache.recognise(key[0]) == found[0]
        assert cache.questions == 1

    asyncio.run(arrive())


def test_key_in_use_is_asked_for_again_before_its_time_is_up(
    database: Database, key: Any, clock: list[float]
) -> None:
    async def use() -> None:
        cache = CountingCache(database)
        await cache.recognise(key[0])
        clock[0] += SECONDS_REMEMBERED * 0.6
        cache.may_answer.clear()
        assert await cache.recognise(key[0])  # returned although the new lookup has not finished
        assert await cache.recognise(key[0])
        await asyncio.to_thread(cache.has_asked.wait, 30)
        cache.may_answer.set()
        await asyncio.gather(*cache._lookups.values())
        assert cache.questions == 2
        clock[0] += SECONDS_REMEMBERED * 0.6  # the first result has expired
        assert await cache.recognise(key[0])

    asyncio.run(use())


def test_key_revoked_elsewhere_is_refused_within_the_promised_time(
    database: Database, key: Any, clock: list[float]
) -> None:
    async def use() -> None:
        cache = CountingCache(database)
        assert await cache.recognise(key[0])
        revoke_elsewhere(database, key[1])
        clock[0] += SECONDS_REMEMBERED
        assert await cache.recognise(key[0]) is None

    asyncio.run(use())


def test_key_revoked_here_is_refused_at_once_even_while_it_is_being_asked_for(
    database: Database, key: Any
) -> None:
    async def use() -> None:
        cache = CountingCache(database)
        cache.may_answer.clear()
        early = asyncio.create_task(cache.recognise(key[0]))
        await asyncio.to_thread(cache.has_asked.wait, 30)
        revoke_elsewhere(database, key[1])
        cache.forget(key[1])
        cache.may_answer.set()
        assert await early  # its lookup finished before
        assert await cache.recognise(key[0]) is None

    asyncio.run(use())


def test_question_that_fails_is_told_to_who_waits_and_then_asked_anew(
    database: Database, key: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_cache: ApiKeyCache, _key: str) -> None:
        message = "away"
        raise ConnectionError(message)

    async def use() -> None:
        cache = ApiKeyCache(database)
        with monkeypatch.context() as broken:
            broken.setattr(ApiKeyCache, "_ask", fail)
            outcomes = await asyncio.gather(
                *(cache.recognise(key[0]) for _ in range(3)), return_exceptions=True
            )
        assert [type(outcome) for outcome in outcomes] == [ConnectionError] * 3
        assert await cache.recognise(key[0])

    asyncio.run(use())
