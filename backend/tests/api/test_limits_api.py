"""Limits of one key, other origins' pages, and what logs of a worker must not tell."""

from __future__ import annotations

import uuid
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from chaos.waiting import until
from sqlalchemy import text

from app.core.config import Settings
from app.engines.worker import Worker
from tests.worker_rows import add_worker

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

ORIGIN = "https://app.example"
SESSIONS = "/api/v1/sessions"


def test_only_the_origins_that_are_named_may_read_answers(make_server: Any) -> None:
    api = make_server(cors_origins=f"{ORIGIN}, https://other.example:8443")
    client = api.client(api.key())

    def allowed(origin: str) -> str | None:
        preflight = client.options(
            SESSIONS,
            headers={
                "Origin": origin,
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "authorization,idempotency-key,if-none-match",
            },
        )
        answer = client.get(SESSIONS, headers={"Origin": origin})
        assert answer.status_code == 200  # what may be read is the browser's business
        told = answer.headers.get("Access-Control-Allow-Origin")
        assert preflight.headers.get("Access-Control-Allow-Origin") == told
        assert (preflight.status_code == 200) == (told is not None)
        assert "Access-Control-Allow-Credentials" not in answer.headers
        return told

    assert allowed(ORIGIN) == ORIGIN
    assert allowed("https://other.example:8443") == "https://other.example:8443"
    for origin in (
        "http://app.example",
        "https://app.example:444",
        "https://app.example.evil.example",
        "https://evil.example/https://app.example",
        "https://sub.app.example",
        "https://other.example",
        "null",
        "*",
    ):
        assert allowed(origin) is None, origin
    shown = client.get(SESSIONS, headers={"Origin": ORIGIN}).headers
    assert "ETag" in shown["Access-Control-Expose-Headers"]
    refused = api.client().get(SESSIONS, headers={"Origin": ORIGIN})
    assert refused.status_code == 401
    assert refused.headers["Access-Control-Allow-Origin"] == ORIGIN  # a page can tell why


def test_key_has_its_streams_and_no_more(
    make_server: Any, open_session: Callable[..., str]
) -> None:
    api = make_server(streams_per_key=2)
    key = api.key()
    client = api.client(key)
    events = f"{open_session(client)}/events"
    with ExitStack() as streams:
        for path in (events, "/api/v1/events"):
            assert streams.enter_context(client.stream("GET", path)).status_code == 200
        for path in (events, "/api/v1/events"):
            refused = client.get(path)
            assert refused.status_code == 429
            assert int(refused.headers["Retry-After"]) >= 1
        other = streams.enter_context(api.client(api.key()).stream("GET", "/api/v1/events"))
        assert other.status_code == 200
        assert client.get(SESSIONS).status_code == 200
        assert "session_tasks_sse_clients 3.0" in client.get("/metrics").text

    def may_again() -> bool:
        with client.stream("GET", events) as stream:
            return stream.status_code == 200

    until(may_again, "a stream's place")


def test_lease_that_ended_is_no_alarm_until_sweeps_have_missed_it(make_server: Any) -> None:
    api = make_server(sweep_seconds=10)  # patience: three sweeps and five seconds
    client = api.client()

    def lease_ended(seconds_ago: float) -> int:
        add_worker(api.database)
        with api.database.transaction() as db:
            session_id = uuid.uuid4()
            db.execute(text("DELETE FROM session_task_leases"))
            db.execute(text("INSERT INTO sessions (id) VALUES (:id)"), {"id": session_id})
            db.execute(
                text(
                    "INSERT INTO session_task_leases"
                    " (session_id, task_id, task_type, claimed_at, leased_until)"
                    " VALUES (:id, gen_random_uuid(), 'processing', clock_timestamp(),"
                    " clock_timestamp() - make_interval(secs => :ago))"
                ),
                {"id": session_id, "ago": seconds_ago},
            )
        return client.get("/readyz").status_code

    assert lease_ended(-30) == 200  # held
    assert lease_ended(1) == 200
    assert lease_ended(60) == 503


def test_text_of_documents_and_keys_is_in_no_log_of_a_worker(
    make_server: Any,
    open_session: Callable[..., str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    for logger in (None, "app"):
        caplog.set_level("DEBUG", logger)
    canary = f"canary-{uuid.uuid4().hex}"
    api = make_server()
    key = api.key()
    client: httpx.Client = api.client(key)
    sessions = [
        open_session(client, label="works"),
        client.post(
            SESSIONS,
            files=[("documents", ("bad.csv", f"title,b\n{canary},{'>' * 2_000}x\n".encode()))],
            data={"auto_advance": "false"},
        ).headers["Location"],
        client.post(
            SESSIONS,
            files=[("documents", ("good.md", f"# {canary}\n\n{canary}\n".encode()))],
        ).headers["Location"],
    ]
    with Worker(api.database, api.settings, concurrency=2, threads=True):
        for session in sessions:
            client.post(f"{session}/task")
            until(lambda session=session: client.get(f"{session}/task").json()["is_settled"], "it")
    told = [
        f"{record.getMessage()} {record.__dict__}"
        for record in caplog.records
        if record.name.startswith(("app", "uvicorn"))
    ]
    assert any("processing" in line for line in told)
    for secret in (canary, key.partition(".")[2]):
        assert not [line for line in told if secret in line]


def test_nesting_that_could_not_be_kept_is_no_setting() -> None:
    assert Settings(max_nesting=120).max_nesting == 120
    with pytest.raises(ValueError, match="less than or equal to 120"):
        Settings(max_nesting=121)
