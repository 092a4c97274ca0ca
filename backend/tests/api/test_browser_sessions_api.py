"""A browser's cookie is worth nothing as a key, and nothing once its session has ended."""

from __future__ import annotations

import asyncio
import hashlib
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from app.api import api_key_cache
from app.api.api_key_cache import SECONDS_REMEMBERED, ApiKeyCache
from app.core.errors import KeyNotFound
from app.engines.sweeper import sweep_once
from app.models.access import KeyRole
from app.repositories.access_repository import AccessRepository
from app.repositories.browser_sessions import MOST_PER_KEY, BrowserSessions
from tests.api.test_events_api import Watcher, until

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from app.core.database import Database

SESSIONS = "/api/v1/sessions"
DAY = timedelta(days=1)


def signed_in(api: Any, key: str, **headers: str) -> httpx.Client:
    browser: httpx.Client = api.client(None, origin=api.url, **headers)
    assert browser.post("/sign-in", data={"key": key}).status_code == 303
    return browser


def cookie_of(browser: httpx.Client) -> tuple[str, str]:
    ((name, value),) = browser.cookies.items()
    return name, value


def replayed(api: Any, cookie: tuple[str, str]) -> int:
    """The status for a client that has copied the cookie."""
    answer = api.client(None, cookie="=".join(cookie)).get(SESSIONS)
    return int(answer.status_code)


def test_cookie_is_no_key_and_a_key_is_no_cookie(api: Any) -> None:
    key = api.key()
    browser = signed_in(api, key)
    name, token = cookie_of(browser)
    assert browser.get(SESSIONS).status_code == 200
    assert name == f"session_tasks_{api.server.port}"
    secret = key.partition(".")[2]
    assert secret not in token
    assert api.client(token).get(SESSIONS).status_code == 401
    for wrong in (key, secret, token + "A", token[:-1], ""):
        assert replayed(api, (name, wrong)) == 401, wrong
    for other in ("session_tasks_key", "session_tasks", "session_tasks_1", f"__Host-{name}"):
        assert replayed(api, (other, token)) == replayed(api, (other, key)) == 401, other


def test_only_the_hash_of_a_token_is_kept(api: Any) -> None:
    _, token = cookie_of(signed_in(api, api.key()))
    with api.database.transaction() as db:
        rows = db.execute(text("SELECT b::text FROM browser_sessions b")).scalars().all()
    assert hashlib.sha256(token.encode()).hexdigest() in "".join(rows)
    assert not any(token in row or token.encode().hex() in row for row in rows)


def test_sign_in_never_takes_a_token_that_was_there_before(api: Any) -> None:
    browser = signed_in(api, api.key("before"))
    planted = cookie_of(browser)
    assert browser.post("/sign-in", data={"key": api.key("after")}).status_code == 303
    assert cookie_of(browser) != planted
    assert browser.get(SESSIONS).status_code == 200
    assert replayed(api, planted) == 401


def test_sign_out_ends_the_session_for_every_copy_of_the_cookie(
    api: Any, open_session: Callable[..., str]
) -> None:
    key = api.key()
    session = open_session(api.client(key))
    browser, other = signed_in(api, key), signed_in(api, key)
    cookie = cookie_of(browser)
    watcher = Watcher(browser, f"{session}/events")
    others_watcher = Watcher(other, f"{session}/events")
    until(lambda: watcher.events and others_watcher.events, "the present")
    answer = browser.post("/sign-out")
    assert answer.status_code == 303
    assert "Max-Age=0" in answer.headers["Set-Cookie"]
    assert replayed(api, cookie) == 401
    assert watcher.has_ended.wait(30)
    assert not others_watcher.has_ended.is_set()
    assert other.get(SESSIONS).status_code == 200
    assert api.client(key).get(SESSIONS).status_code == 200
    for one in (watcher, others_watcher):
        one.close()


def test_revoking_a_key_signs_its_browsers_out(api: Any, admin: httpx.Client) -> None:
    key = api.key()
    browser = signed_in(api, key)
    watcher = Watcher(browser, "/api/v1/events")
    assert watcher.status == 200
    key_id = key.removeprefix("st_").partition(".")[0]
    assert admin.delete(f"/api/v1/keys/{key_id}").status_code == 204
    refused = browser.get(SESSIONS)
    assert (refused.status_code, refused.json()["detail"]) == (
        401,
        "This browser is no longer signed in",
    )
    assert watcher.has_ended.wait(30)
    watcher.close()
    with api.database.transaction() as db:
        left = db.scalar(
            text("SELECT count(*) FROM browser_sessions WHERE key_id = :id"), {"id": key_id}
        )
    assert left == 0


def test_streams_of_a_browser_that_another_process_signed_out_end(api: Any) -> None:
    browser = signed_in(api, api.key())
    watcher = Watcher(browser, "/api/v1/events")
    assert watcher.status == 200
    with api.database.transaction() as db:
        digest = hashlib.sha256(cookie_of(browser)[1].encode()).digest()
        BrowserSessions(db, idle=DAY).end(digest)
    assert watcher.has_ended.wait(30)
    watcher.close()


def test_behind_https_the_cookie_is_of_this_very_host(make_server: Any) -> None:
    api = make_server(trusted_proxies="127.0.0.1")
    https = {"X-Forwarded-Proto": "https"}
    browser = api.client(None, origin=api.url.replace("http:", "https:"), **https)
    answer = browser.post("/sign-in", data={"key": api.key()})
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("__Host-session_tasks=")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=strict"} <= set(cookie.split("; "))
    assert "Domain" not in cookie
    token = cookie.partition(";")[0]
    assert api.client(None, cookie=token, **https).get(SESSIONS).status_code == 200
    assert api.client(None, cookie=token).get(SESSIONS).status_code == 401
    gone = api.client(None, cookie=token, origin=api.url, **https).post(
        "/sign-out", headers={"Sec-Fetch-Site": "same-origin"}
    )
    cookies = gone.headers.get_list("Set-Cookie")
    (emptied,) = [one for one in cookies if one.startswith('__Host-session_tasks="";')]
    assert {"Max-Age=0", "Secure", "Path=/"} <= set(emptied.split("; "))
    assert all(one.startswith("__Host-") for one in cookies)


def test_browsers_forget_the_cookie_of_earlier_versions_which_held_a_key(api: Any) -> None:
    key = api.key()
    answer = api.client(None, cookie=f"a=b; session_tasks_key={key}").get("/sign-in")
    assert answer.headers["Set-Cookie"] == "session_tasks_key=; Max-Age=0; Path=/"
    assert "Set-Cookie" not in api.client().get("/sign-in").headers


def test_signing_in_and_out_is_logged_without_the_token(
    api: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", logger="app")
    key = api.key("somebody")
    browser = signed_in(api, key)
    _, token = cookie_of(browser)
    browser.post("/sign-out")
    told = [record.getMessage() for record in caplog.records if record.name == "app.audit"]
    assert [one for one in told if one.startswith("Browser signed in")]
    assert [one for one in told if one.startswith("Browser signed out")]
    assert token not in json.dumps(told)


class TestEnds:
    """How a browser session ends, by the database's clock and by the cache's."""

    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        now = [1_000.0]
        monkeypatch.setattr(api_key_cache.time, "monotonic", lambda: now[0])
        return now

    def start(
        self, database: Database, lifetime: timedelta = DAY, key_lifetime: timedelta | None = None
    ) -> tuple[str, str]:
        with database.transaction() as db:
            key = AccessRepository(db).create_key(
                "somebody", role=KeyRole.USER, lifetime=key_lifetime
            )
            return BrowserSessions(db, idle=DAY).start(key.record.id, lifetime=lifetime), (
                key.record.id
            )

    def owner(self, database: Database, token: str, idle: timedelta = DAY) -> str | None:
        with database.transaction() as db:
            principal = BrowserSessions(db, idle=idle).recognise(token)
        return principal.owner if principal is not None else None

    def age(self, database: Database, column: str, seconds: float) -> None:
        with database.transaction() as db:
            db.execute(
                text(
                    f"UPDATE browser_sessions SET {column} = {column} - make_interval(secs => :s)"
                ),
                {"s": seconds},
            )

    def test_it_ends_after_its_time_however_used(self, database: Database) -> None:
        token, _ = self.start(database)
        self.age(database, "expires_at", DAY.total_seconds() - 5)
        assert self.owner(database, token) == "somebody"
        self.age(database, "expires_at", 5)
        assert self.owner(database, token) is None

    def test_it_ends_without_use_and_use_keeps_it(self, database: Database) -> None:
        token, _ = self.start(database)
        for _ in range(3):
            self.age(database, "last_used_at", 3000)
            assert self.owner(database, token, timedelta(hours=1)) == "somebody"
        self.age(database, "last_used_at", 3601)
        assert self.owner(database, token, timedelta(hours=1)) is None
        assert self.owner(database, token, timedelta(hours=2)) == "somebody"

    def test_it_ends_with_its_key(self, database: Database) -> None:
        token, _ = self.start(database, key_lifetime=timedelta(hours=1))
        assert self.owner(database, token) == "somebody"
        with database.transaction() as db:
            db.execute(text("UPDATE api_keys SET expires_at = clock_timestamp()"))
        assert self.owner(database, token) is None

    def test_no_browser_is_signed_in_with_a_key_that_was_revoked_meanwhile(
        self, database: Database
    ) -> None:
        _, key_id = self.start(database)
        with database.transaction() as db:
            AccessRepository(db).revoke_key(key_id)
        with database.transaction() as db, pytest.raises(KeyNotFound):
            BrowserSessions(db, idle=DAY).start(key_id, lifetime=DAY)

    def test_revoked_elsewhere_it_is_refused_as_soon_as_the_key(
        self, database: Database, clock: list[float]
    ) -> None:
        token, key_id = self.start(database)

        async def use() -> None:
            cache = ApiKeyCache(database)
            assert await cache.recognise_browser(token)
            with database.transaction() as db:
                AccessRepository(db).revoke_key(key_id)
            clock[0] += SECONDS_REMEMBERED
            assert await cache.recognise_browser(token) is None

        asyncio.run(use())

    def test_it_is_remembered_no_longer_than_it_or_its_key_lasts(
        self, database: Database, clock: list[float]
    ) -> None:
        short, _ = self.start(database, lifetime=timedelta(seconds=1))
        of_short_key, _ = self.start(database, key_lifetime=timedelta(seconds=1))

        async def use() -> None:
            cache = ApiKeyCache(database)
            for token in (short, of_short_key):
                await cache.recognise_browser(token)
                assert all(known.until <= clock[0] + 1 for known in cache._known.values())
                clock[0] += 1
                until(lambda token=token: self.owner(database, token) is None, "its end")
                assert await cache.recognise_browser(token) is None

        asyncio.run(use())

    def test_signed_out_while_it_is_being_asked_for_it_is_not_remembered(
        self, database: Database
    ) -> None:
        token, _ = self.start(database)
        ask = ApiKeyCache._ask_browser

        async def use() -> None:
            cache = ApiKeyCache(database)

            def ask_and_sign_out(asked: str) -> Any:
                found = ask(cache, asked)
                with database.transaction() as db:
                    BrowserSessions(db, idle=DAY).end(found.browser_session)
                cache.forget_browser_session(found.browser_session)
                return found

            cache._ask_browser = ask_and_sign_out  # type: ignore[method-assign]
            assert await cache.recognise_browser(token)  # it was looked up before
            del cache._ask_browser
            assert await cache.recognise_browser(token) is None

        asyncio.run(use())

    def test_a_key_signs_in_so_many_browsers_and_no_more(self, database: Database) -> None:
        first, key_id = self.start(database)
        with database.transaction() as db:
            sessions = BrowserSessions(db, idle=DAY)
            second = sessions.start(key_id, lifetime=DAY)
            for _ in range(MOST_PER_KEY - 1):
                sessions.start(key_id, lifetime=DAY)
        assert self.owner(database, first) is None
        assert self.owner(database, second) == "somebody"

    def test_what_has_ended_is_swept_up(self, database: Database) -> None:
        self.start(database, lifetime=timedelta(seconds=-1))
        token, _ = self.start(database)
        sweep_once(database, database.settings)
        with database.transaction() as db:
            assert db.scalar(text("SELECT count(*) FROM browser_sessions")) == 1
        assert self.owner(database, token) == "somebody"
