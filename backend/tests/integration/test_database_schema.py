"""`SESSION_TASKS_DATABASE_SCHEMA`: everything works in a schema of its own, beside other tables."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from chaos.waiting import until
from pydantic import ValidationError
from sqlalchemy import create_engine, make_url, text

from app.cli.application import run_command
from app.core.config import Settings
from app.core.database import Database
from app.core.errors import SchemaOutdated
from app.core.notifications import CHANNEL, CHANNEL_TO_LISTEN, announced_sessions
from app.core.schema_version import upgrade_schema
from app.engines.vacuum import VACUUM_LEASES
from app.engines.worker import Worker
from app.models.session import TaskType
from app.repositories.session_repository import SessionRepository
from app.repositories.statistics import Statistics
from tests.live_server import LiveServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from sqlalchemy import Connection

SCHEMA = "our_tasks"
THEIRS = {"sessions", "documents", "exports", "api_keys", "alembic_version"}
EXAMPLE = Path(__file__).parents[3] / "examples" / "click-readme.md"

RELATIONS = """
SELECT relnamespace::regnamespace::text, relname FROM pg_class
 WHERE relnamespace IN ('public'::regnamespace, 'our_tasks'::regnamespace) AND relkind = 'r'"""


@pytest.fixture
def url(blank_database_url: str) -> str:
    """A database in which another program has tables of our names."""
    with elsewhere(blank_database_url) as connection:
        for name in THEIRS:
            connection.execute(text(f"CREATE TABLE {name} (theirs integer)"))
            connection.execute(text(f"INSERT INTO {name} VALUES (1)"))
    return blank_database_url


@contextmanager
def elsewhere(url: str) -> Iterator[Connection]:
    """A transaction of another program, which knows nothing of our schema."""
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def opened(url: str, tmp_path: Path, schema: str | None) -> Database:
    return Database.open(Settings(database_url=url, data_dir=tmp_path, database_schema=schema))


def started(database: Database) -> UUID:
    with database.transaction() as db:
        session_id = SessionRepository(db).create_session([]).id
        SessionRepository(db).start_task(session_id, TaskType.PROCESSING)
        return session_id


def test_every_command_works_in_a_schema_and_leaves_the_rest_alone(
    url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SESSION_TASKS_DATABASE_URL", url)
    monkeypatch.setenv("SESSION_TASKS_DATABASE_SCHEMA", SCHEMA)
    monkeypatch.setenv("SESSION_TASKS_JIRA_PROJECT", "TASK")
    monkeypatch.chdir(tmp_path)

    def command(*arguments: object) -> Any:
        code = run_command([*map(str, arguments), "--json"])
        out, err = capsys.readouterr()
        assert code == 0, (arguments, out, err)
        return json.loads(out)

    assert run_command(["list"]) == 5
    assert "db upgrade" in capsys.readouterr().err
    command("db", "upgrade")
    assert command("db", "check")["is_current"]
    session_id = command("run", EXAMPLE)["session"]["id"]
    command("list")
    command("show", session_id)
    command("export", session_id, "--out", tmp_path / "out")
    command("sweep")
    command("keys", "create", "--owner", "ada")
    looked = command("doctor")["checks"]
    assert {each["verdict"] for each in looked if each["name"] != "settings"} == {"ok"}
    monkeypatch.setenv("SESSION_TASKS_RETENTION_DAYS", "0.0000001")
    assert command("cleanup")["deleted"] == 1

    with opened(url, tmp_path, SCHEMA) as database:
        started(database)
        with database.driver_connection() as connection:
            connection.execute(VACUUM_LEASES)
        with database.transaction() as db:
            assert Statistics(db, owner="local").standing().counts.running == 1
    with elsewhere(url) as connection:
        tables = connection.execute(text(RELATIONS)).all()
        assert {name for schema, name in tables if schema == "public"} == THEIRS
        assert THEIRS - {"alembic_version"} < {name for schema, name in tables if schema == SCHEMA}
        for name in THEIRS:
            assert connection.scalars(text(f"SELECT theirs FROM {name}")).all() == [1]


def test_the_api_and_its_worker_work_in_a_schema(url: str) -> None:
    upgrade_schema(url, schema=SCHEMA)
    with LiveServer(url, database_schema=SCHEMA) as server:
        client = server.client(server.key())
        note = ("documents", ("notes.md", b"# First\n", "text/markdown"))
        session = client.post("/api/v1/sessions", files=[note], data={"project_key": "DEMO"})
        assert session.status_code == 201, session.text
        assert client.post(f"{session.headers['Location']}/task").status_code == 202
        with Worker(server.database, server.settings, concurrency=1):
            until(lambda: client.get("/readyz").status_code == 200, "a live worker")
            until(
                lambda: client.get(session.headers["Location"]).json()["stage"] == "completed",
                "completion",
            )


@pytest.fixture
def two(url: str, tmp_path: Path) -> Iterator[tuple[Database, Database]]:
    """Two installations in one database."""
    upgrade_schema(url, schema="one")
    upgrade_schema(url, schema="two")
    with opened(url, tmp_path, "one") as one, opened(url, tmp_path, "two") as other:
        yield one, other


def test_two_installations_in_one_database_hear_only_their_own(
    two: tuple[Database, Database], database: Database
) -> None:
    one, other = two
    with one.driver_connection() as hearing, other.driver_connection() as other_hearing:
        for connection in (hearing, other_hearing):
            (channel,) = connection.execute(CHANNEL_TO_LISTEN).fetchone() or ("",)
            connection.execute(f"LISTEN {channel}")
        session_id = started(one)
        first = next(hearing.notifies(timeout=10, stop_after=1))
        assert announced_sessions(first) == {session_id}
        assert list(other_hearing.notifies(timeout=0)) == []
        hearing.execute("UNLISTEN *")
        other_hearing.execute("UNLISTEN *")
    with database.driver_connection() as connection:
        assert connection.execute(CHANNEL_TO_LISTEN).fetchone() == (CHANNEL,)


def test_a_search_path_in_the_url_is_heeded(blank_database_url: str, tmp_path: Path) -> None:
    with elsewhere(blank_database_url) as connection:
        connection.execute(text(f"CREATE SCHEMA {SCHEMA}"))
    searching = make_url(blank_database_url).update_query_dict(
        {"options": f"-csearch_path={SCHEMA}"}
    )
    url = searching.render_as_string(hide_password=False)
    with pytest.raises(SchemaOutdated, match="migration none"):
        opened(url, tmp_path, None)
    upgrade_schema(url)
    with pytest.raises(SchemaOutdated, match="but in the schema our_tasks, which") as refused:
        opened(blank_database_url, tmp_path, None)
    assert f"Set SESSION_TASKS_DATABASE_SCHEMA to {SCHEMA}" in refused.value.next_step
    with opened(url, tmp_path, None) as database:
        started(database)
        with database.transaction() as db:
            tables = {name for schema, name in db.execute(text(RELATIONS)) if schema == "public"}
            assert tables == set()


def test_a_session_that_another_program_deletes_takes_its_lease_along(
    url: str, tmp_path: Path
) -> None:
    upgrade_schema(url, schema=SCHEMA)
    with opened(url, tmp_path, SCHEMA) as database:
        started(database)
        with elsewhere(url) as connection:
            connection.execute(text(f"DELETE FROM {SCHEMA}.sessions"))
        with database.transaction() as db:
            assert db.scalar(text("SELECT count(*) FROM session_task_leases")) == 0


@pytest.mark.parametrize("name", ["Upper", "two words", "a,public", "1st", '"x"', "a" * 64, ""])
def test_a_schema_s_name_needs_no_quotes(name: str) -> None:
    with pytest.raises(ValidationError):
        Settings(database_schema=name)
