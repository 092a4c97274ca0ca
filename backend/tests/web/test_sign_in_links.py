"""Links that sign a browser in: once, and never by another page without the person's knowledge."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from app.engines.sweeper import sweep_once
from app.repositories.access_repository import AccessRepository
from app.repositories.sign_in_codes import SignInCodes
from tests.web.conftest import HTML

if TYPE_CHECKING:
    import httpx

    from app.core.database import Database
    from tests.live_server import LiveServer

OPENED = {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"}
BEHIND = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "none", "Sec-Purpose": "prefetch;prerender"},
    {},
]


@pytest.fixture
def browser(server: LiveServer) -> httpx.Client:
    return server.client(None, accept=HTML, origin=server.url)


def code_of(server: LiveServer, key: str) -> str:
    with server.database.transaction() as db:
        return SignInCodes(db).create(key.removeprefix("st_").partition(".")[0])


def owner_of(browser: httpx.Client) -> str:
    found = re.search(r'aria-label="Sign out ([^"]+)"', browser.get("/sessions").text)
    return found[1] if found else ""


def test_link_signs_in_once_and_then_says_how_to_get_another(
    server: LiveServer, browser: httpx.Client
) -> None:
    code = code_of(server, server.key("ada"))
    answer = browser.get("/login", params={"code": code}, headers=OPENED)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    assert owner_of(browser) == "ada"
    assert code not in str(dict(browser.cookies))
    other = server.client(None, accept=HTML, origin=server.url)
    for refused in (
        other.get("/login", params={"code": code}, headers=OPENED),
        other.post("/login", data={"code": code}),
        other.get("/login", params={"code": code}),
    ):
        assert refused.status_code == 401
        assert "This link was used before, or has expired" in refused.text
        assert "session-tasks login" in refused.text
        assert "Set-Cookie" not in refused.headers


def test_sign_in_address_without_a_link_shows_the_form(browser: httpx.Client) -> None:
    assert browser.get("/login").headers["Location"] == "/sign-in"


@pytest.mark.parametrize("secret", ["code", "key"])
@pytest.mark.parametrize("headers", BEHIND)
def test_link_that_the_person_did_not_open_only_asks(
    server: LiveServer, browser: httpx.Client, headers: dict[str, str], secret: str
) -> None:
    key = server.key("mallory")
    given = {secret: key if secret == "key" else code_of(server, key)}
    asked = browser.get("/login", params=given, headers=headers)
    assert asked.status_code == 200
    assert "Sign in as mallory?" in asked.text
    assert "Set-Cookie" not in asked.headers
    assert "frame-ancestors 'none'" in asked.headers["Content-Security-Policy"]
    for forged in (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
    ):
        refused = browser.post("/login", data=given, headers=forged)
        assert refused.status_code == 403
    assert owner_of(browser) == ""
    assert browser.post("/login", data=given).status_code == 303
    assert owner_of(browser) == "mallory"


def test_nobody_becomes_another_owner_without_being_asked(
    server: LiveServer, browser: httpx.Client
) -> None:
    """A page that a person opened may redirect here: browsers say `none` then, too."""
    browser.post("/sign-in", data={"key": server.key("ada")})
    for given in (
        {"key": server.key("mallory")},
        {"code": code_of(server, server.key("mallory"))},
    ):
        asked = browser.get("/login", params=given, headers=OPENED)
        assert asked.status_code == 200
        assert "signed in as" in asked.text
        assert owner_of(browser) == "ada"
    again = browser.get("/login", params={"key": server.key("ada")}, headers=OPENED)
    assert again.status_code == 303


def test_asking_spends_no_code(server: LiveServer, browser: httpx.Client) -> None:
    code = code_of(server, server.key())
    for _ in range(3):
        assert browser.get("/login", params={"code": code}).status_code == 200
    assert browser.head("/login", params={"code": code}, headers=OPENED).status_code == 405
    assert browser.get("/login", params={"code": code}, headers=OPENED).status_code == 303


def test_of_many_that_open_one_link_at_once_one_is_let_in(server: LiveServer) -> None:
    code = code_of(server, server.key())

    def follow(_number: int) -> int:
        browser = server.client(None, accept=HTML)
        return browser.get("/login", params={"code": code}, headers=OPENED).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(follow, range(8)))
    assert statuses == [303, *[401] * 7]


@pytest.mark.parametrize("wrong", ["x", "A" * 43, "A" * 300, "st_0000000000000000." + "A" * 43])
@pytest.mark.parametrize("secret", ["code", "key"])
def test_what_is_no_code_and_no_key_lets_nobody_in(
    browser: httpx.Client, secret: str, wrong: str
) -> None:
    for answer in (
        browser.get("/login", params={secret: wrong}, headers=OPENED),
        browser.post("/login", data={secret: wrong}),
    ):
        assert answer.status_code == 401
        assert "Set-Cookie" not in answer.headers


class TestCodes:
    def make(self, database: Database, lifetime: timedelta | None = None) -> tuple[str, str]:
        with database.transaction() as db:
            key = AccessRepository(db).create_key("ada", lifetime=lifetime)
            return SignInCodes(db).create(key.record.id), key.record.id

    def redeem(self, database: Database, code: str) -> Any:
        with database.transaction() as db:
            codes = SignInCodes(db)
            seen = codes.look_at(code)
            assert codes.redeem(code) == seen
            return seen

    def test_it_ends_with_its_time(self, database: Database) -> None:
        code, _ = self.make(database)
        with database.transaction() as db:
            db.execute(text("UPDATE sign_in_codes SET expires_at = clock_timestamp()"))
        assert self.redeem(database, code) is None
        sweep_once(database, database.settings)
        with database.transaction() as db:
            assert db.scalar(text("SELECT count(*) FROM sign_in_codes")) == 0

    def test_it_ends_with_its_key(self, database: Database) -> None:
        code, key_id = self.make(database)
        with database.transaction() as db:
            AccessRepository(db).revoke_key(key_id)
        assert self.redeem(database, code) is None
        expired, _ = self.make(database, timedelta(microseconds=1))
        assert self.redeem(database, expired) is None

    def test_only_its_hash_is_kept(self, database: Database) -> None:
        code, key_id = self.make(database)
        with database.transaction() as db:
            row = db.scalar(text("SELECT c::text FROM sign_in_codes c"))
        assert key_id in row
        assert code not in row
        assert code.encode().hex() not in row
