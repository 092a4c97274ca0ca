"""Access: nothing without a key, nothing on others' sessions, and keys that end."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from sqlalchemy import text

from app.cli.serve import _first_key, is_loopback
from app.core.errors import ConfigurationError
from app.models.access import KeyRole
from app.repositories.access_repository import AccessRepository
from tests.worker_rows import add_worker

if TYPE_CHECKING:
    from collections.abc import Callable

SESSIONS = "/api/v1/sessions"
OPEN = {"/healthz", "/readyz", "/metrics"}


def routes(app: Any) -> list[tuple[str, str]]:
    """Yield every (method, path) of the OpenAPI document, and those that it leaves out."""
    documented = [
        (method.upper(), path)
        for path, operations in app.openapi()["paths"].items()
        for method in operations
    ]
    return [*documented, ("GET", "/openapi.json"), ("GET", "/no/such/route"), ("GET", "/")]


def test_everything_but_three_routes_is_closed_without_a_key(make_server: Any) -> None:
    api = make_server(refusals_per_minute=10_000)
    add_worker(api.database)
    client = api.client()
    assert len(routes(api.app)) > 15
    for method, template in routes(api.app):
        path = re.sub(r"\{number\}", "1", template)
        path = re.sub(r"\{\w+\}", str(uuid.uuid4()), path)
        for headers in ({}, {"Authorization": "Bearer st_0000000000000000." + "A" * 43}):
            answer = client.request(method, path, headers=headers)
            if template in OPEN:
                assert answer.status_code == 200, template
            else:
                assert answer.status_code == 401, (method, template)
                assert answer.headers["WWW-Authenticate"].startswith("Bearer")
                assert answer.json()["type"].endswith("not-authenticated")


def test_another_owners_key_sees_and_changes_nothing(
    api: Any, client: httpx.Client, stranger: httpx.Client, open_session: Callable[..., str]
) -> None:
    session = open_session(client)
    client.post(f"{session}/task")
    before = client.get(session).json()
    session_id = session.rsplit("/", 1)[1]
    tried = 0
    for method, template in routes(api.app):
        if "{session_id}" not in template or template.endswith("/reset"):
            continue
        path = template.replace("{number}", "1")
        theirs = stranger.request(method, path.replace("{session_id}", session_id))
        absent = stranger.request(method, path.replace("{session_id}", str(uuid.uuid4())))
        assert theirs.status_code == absent.status_code == 404, (method, template)
        assert _without_ids(theirs.json()) == _without_ids(absent.json())
        tried += 1
    assert tried >= 10
    for path in (SESSIONS, f"{SESSIONS}?q={session_id}"):
        assert stranger.get(path).json()["items"] == []
    assert client.get(session).json() == before


def _without_ids(problem: dict[str, Any]) -> dict[str, Any]:
    unlike = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")
    return {key: unlike.sub("", str(value)) for key, value in problem.items() if key != "trace_id"}


def test_only_admins_manage_keys(admin: httpx.Client, client: httpx.Client, api: Any) -> None:
    for method, path in (("GET", "/keys"), ("POST", "/keys"), ("DELETE", "/keys/abc")):
        answer = client.request(method, f"/api/v1{path}", json={"owner": "me"})
        assert answer.status_code == 403
    made = admin.post("/api/v1/keys", json={"owner": "alice", "expires_in_days": 1})
    assert made.status_code == 201
    key = made.json()["key"]
    assert api.client(key).get(SESSIONS).status_code == 200
    listed = admin.get("/api/v1/keys").text
    assert made.json()["id"] in listed
    assert key.partition(".")[2] not in listed
    assert admin.delete(f"/api/v1/keys/{made.json()['id']}").status_code == 204
    assert api.client(key).get(SESSIONS).status_code == 401  # at once, in this process
    assert admin.delete(f"/api/v1/keys/{made.json()['id']}").status_code == 404


def test_expired_and_altered_keys_are_refused(api: Any) -> None:
    good = api.key()
    for bad in (
        api.key(lifetime=timedelta(microseconds=1)),
        good[:-1] + ("A" if good[-1] != "A" else "B"),
        good.upper(),
        good + "A",
        good + "\u00e9",
        "st_.",
    ):
        answer = httpx.get(
            f"{api.url}{SESSIONS}", headers={b"Authorization": f"Bearer {bad}".encode()}
        )
        assert answer.status_code == 401, bad


def test_secret_is_kept_only_as_its_hash(api: Any) -> None:
    key = api.key()
    secret = key.partition(".")[2]
    with api.database.transaction() as db:
        rows = db.execute(text("SELECT api_keys::text FROM api_keys")).scalars().all()
        assert AccessRepository(db).recognise(key) is not None
    assert rows
    assert not any(secret in row or secret.encode().hex() in row for row in rows)


def test_ready_link_lets_a_browser_in_and_other_origins_cannot_use_it(
    api: Any, open_session: Callable[..., str]
) -> None:
    key = api.key()
    session = open_session(api.client(key))
    browser = api.client()
    opened = {"Sec-Fetch-Site": "none"}
    assert browser.get("/login", params={"key": key[:-2]}, headers=opened).status_code == 401
    answer = browser.get("/login", params={"key": key}, headers=opened)
    assert answer.status_code == 303
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert browser.get(session).status_code == 200
    for headers in (
        {},
        {"Origin": "http://evil.example"},
        {"Origin": "http://localhost:1"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        assert browser.post(f"{session}/task", headers=headers).status_code == 403
    same = {"Sec-Fetch-Site": "same-origin"}
    assert browser.post(f"{session}/task", headers=same).status_code == 202


def test_guessing_is_slowed_down_and_keys_have_limits(make_server: Any) -> None:
    api = make_server(refusals_per_minute=3, requests_per_minute=3)
    client = api.client(api.key())
    for caller, expected in ((api.client(), 401), (client, 200)):
        codes = [caller.get(SESSIONS).status_code for _ in range(9)]
        assert codes[0] == expected
        assert codes[-1] == 429
    refused = client.get(SESSIONS)
    assert int(refused.headers["Retry-After"]) >= 1
    assert refused.json()["category"] == "temporary"


@pytest.mark.parametrize("is_trusted", [True, False])
def test_a_proxy_that_is_trusted_tells_who_the_client_is(
    make_server: Any, is_trusted: bool
) -> None:
    proxies = "127.0.0.1" if is_trusted else "192.0.2.1"
    api = make_server(refusals_per_minute=2, trusted_proxies=proxies)
    by_https = {"X-Forwarded-Proto": "https", "Sec-Fetch-Site": "none"}
    key = api.key()
    signed_in = api.client().get("/login", params={"key": key}, headers=by_https)
    assert ("Secure" in signed_in.headers["set-cookie"]) == is_trusted
    codes = [
        api.client().get(SESSIONS, headers={"X-Forwarded-For": f"198.51.100.{number}"}).status_code
        for number in range(5)
    ]
    assert codes == ([401] * 5 if is_trusted else [401, 401, 429, 429, 429])


def test_off_loopback_needs_a_key_and_loopback_makes_the_first(database: Any) -> None:
    assert is_loopback("127.0.0.1")
    assert is_loopback("::1")
    assert is_loopback("localhost")
    for host in ("0.0.0.0", "::", "192.168.1.2", "example.org"):
        assert not is_loopback(host)
    with pytest.raises(ConfigurationError, match="no API key") as refused:
        _first_key(database, is_loopback=False)
    assert "keys create" in refused.value.next_step
    first = _first_key(database, is_loopback=True)
    assert first is not None
    with database.transaction() as db:
        principal = AccessRepository(db).recognise(first)
    assert principal is not None
    assert (principal.owner, principal.role) == ("local", KeyRole.ADMIN)
    assert _first_key(database, is_loopback=True) is None
    assert _first_key(database, is_loopback=False) is None


def test_headers_that_protect_browsers_are_on_every_answer(api: Any, client: httpx.Client) -> None:
    for answer in (
        api.client().get("/healthz"),
        api.client().get(SESSIONS),
        client.get(SESSIONS),
        client.get("/nothing"),
    ):
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert "Server" not in answer.headers
    other = client.get(SESSIONS, headers={"Host": "evil.example"})
    assert other.status_code == 422


def test_key_appears_neither_in_logs_nor_in_answers_metrics_or_rows(
    api: Any, caplog: pytest.LogCaptureFixture, open_session: Callable[..., str]
) -> None:
    for logger in (None, "app"):
        caplog.set_level("DEBUG", logger)
    key = api.key()
    secret = key.partition(".")[2]
    client = api.client(key)
    session = open_session(client, label="canary")
    for site in ("none", "cross-site"):
        client.get("/login", params={"key": key}, headers={"Sec-Fetch-Site": site})
    texts = [
        client.get(path).text for path in (session, f"{session}/task", SESSIONS, "/metrics", "/no")
    ]
    texts.append(client.get(session, headers={"If-None-Match": key}).text)
    texts.append(client.post(f"{session}/task", json={key: key}).text)
    texts.append(client.get(SESSIONS, params={"page_token": key}).text)
    with api.database.transaction() as db:
        for table in ("sessions", "session_tasks", "api_keys", "idempotency_records"):
            texts += db.execute(text(f"SELECT t::text FROM {table} t")).scalars().all()
    assert len(texts) > 8
    assert not [told for told in texts if secret in told]
    records = [record for record in caplog.records if record.name.startswith(("app", "uvicorn"))]
    assert not [record for record in records if secret in record.getMessage()]
