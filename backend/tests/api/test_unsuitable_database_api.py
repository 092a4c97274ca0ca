"""A database that cannot be written: who can fix it, and how, in responses and in readiness."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import URL, make_url, text

from app.core import database_errors
from tests.api.conftest import NOTES
from tests.live_server import LiveServer
from tests.worker_rows import add_worker

FULL = """
CREATE FUNCTION out_of_space() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'could not extend file "base/1/2": No space left on device'
         USING ERRCODE = '53100'; END $$;
CREATE TRIGGER full_disk BEFORE INSERT ON sessions EXECUTE FUNCTION out_of_space()"""


def unready(client: Any) -> dict[str, str]:
    answer = client.get("/readyz")
    assert answer.status_code == (200 if answer.json()["ready"] else 503)
    return {check["name"]: check["detail"] for check in answer.json()["checks"] if not check["ok"]}


def test_a_full_disk_is_an_operators_and_named(
    make_server: Callable[..., LiveServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    api = make_server()
    client = api.client(api.key())
    add_worker(api.database)
    assert unready(client) == {}
    with api.database.transaction() as db:
        db.execute(text(FULL))
    answer = client.post("/api/v1/sessions", files=[NOTES])
    problem = answer.json()
    assert (answer.status_code, problem["category"]) == (507, "admin_required")
    assert problem["type"].endswith(":storage-full")
    assert "disk is full (PostgreSQL's on" in problem["detail"]
    assert "No space left on device" in problem["detail"]
    assert "Make room" in problem["next_step"]
    assert "disk is full" in unready(client)["database"]
    assert client.get("/api/v1/sessions").status_code == 200  # it can be read
    with api.database.transaction() as db:
        db.execute(text("DROP FUNCTION out_of_space CASCADE"))
    assert client.post("/api/v1/sessions", files=[NOTES]).status_code == 201
    monkeypatch.setattr(database_errors, "FULL_SECONDS", 0.0)
    assert unready(client) == {}


@pytest.mark.parametrize("state", ["53200", "53400", "58030", "XX001"])
def test_what_the_server_lacks_is_an_operators(
    make_server: Callable[..., LiveServer], state: str
) -> None:
    api = make_server()
    client = api.client(api.key())
    with api.database.transaction() as db:
        db.execute(text(FULL.replace("53100", state).replace("base/1/2", state)))
    answer = client.post("/api/v1/sessions", files=[NOTES])
    assert (answer.status_code, answer.json()["category"]) == (503, "admin_required")
    assert answer.json()["type"].endswith(":database-unsuitable")
    assert f'could not extend file "{state}"' in answer.json()["detail"]
    assert "PostgreSQL's log" in answer.json()["next_step"]


@pytest.fixture
def set_database(database_url: str, server_url: URL) -> Iterator[Callable[[str], None]]:
    """Sets a setting of this test's database, and ends its connections, as for a failover."""
    name = make_url(database_url).database
    url = server_url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as connection:

        def switch(setting: str) -> None:
            connection.execute(f"ALTER DATABASE {name} SET {setting}")
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
            )

        yield switch
        connection.execute(f"ALTER DATABASE {name} RESET ALL")


def test_a_role_that_lacks_a_right_is_not_ready_and_the_grant_is_said(
    make_server: Callable[..., LiveServer], set_database: Callable[[str], None]
) -> None:
    api = make_server()
    client = api.client(api.key())
    role = f"poor_{uuid.uuid4().hex}"
    with api.database.transaction() as db:
        db.execute(text(f"CREATE ROLE {role}"))
        db.execute(text(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}"))
        db.execute(text(f"REVOKE INSERT ON documents FROM {role}"))
    set_database(f"role = {role}")
    try:
        assert f"GRANT INSERT ON public.documents TO {role}" in unready(client)["database"]
        problem = client.post("/api/v1/sessions", files=[NOTES]).json()
        assert problem["type"].endswith(":database-unsuitable")
        assert "permission denied for table documents" in problem["detail"]
        assert "session-tasks doctor" in problem["next_step"]
    finally:
        set_database("role = none")
        api.database.engine.dispose()
        with api.database.transaction() as db:
            db.execute(text(f"DROP OWNED BY {role}; DROP ROLE {role}"))


def test_a_read_only_server_is_not_ready_and_says_so(
    make_server: Callable[..., LiveServer], set_database: Callable[[str], None]
) -> None:
    api = make_server()
    client = api.client(api.key())
    set_database("default_transaction_read_only = on")
    assert "This server is read-only" in unready(client)["database"]
    answer = client.post("/api/v1/sessions", files=[NOTES])
    assert answer.status_code == 503
    assert answer.json()["category"] == "admin_required"
    assert answer.json()["type"].endswith(":database-unsuitable")
    assert "read-only" in answer.json()["detail"]
