"""Settings that connections inherit change nothing, or the server is refused."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import socketserver
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import typer
from sqlalchemy import URL, make_url, text
from sqlalchemy.exc import ProgrammingError

from app.cli.application import application, run_command
from app.core.config import Settings
from app.core.connections import PINNED_SETTINGS, timeouts
from app.core.database import Database
from app.core.errors import DatabaseUnsuitable
from app.core.notifications import CHANNEL_TO_LISTEN
from app.core.schema_version import newest_revision, upgrade_schema
from app.models.session import TaskType
from app.repositories.session_repository import SessionRepository

HOSTILE = {
    "client_encoding": "LATIN1",
    "DateStyle": "German, DMY",
    "IntervalStyle": "iso_8601",
    "TimeZone": "Asia/Kolkata",
    "standard_conforming_strings": "off",
    "bytea_output": "escape",
    "extra_float_digits": "-5",
    "array_nulls": "off",
    "transform_null_equals": "on",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "enable_seqscan": "on",
    "jit": "on",
    "plan_cache_mode": "force_custom_plan",
    "statement_timeout": "77777",
    "lock_timeout": "77777",
    "idle_in_transaction_session_timeout": "77777",
    "idle_session_timeout": "77777",
}
"""Another value for every setting that is pinned."""

SHOW = (
    "SELECT current_setting(name) FROM unnest(%s::text[]) WITH ORDINALITY AS n (name, i) ORDER BY i"
)
OPTIONS = " ".join(f"-c {name}={value.replace(' ', '')}" for name, value in HOSTILE.items())


def wanted(settings: Settings) -> dict[str, str]:
    units = {"30000": "30s", "10000": "10s", "60000": "1min"}
    limits = {name: units[value] for name, value in timeouts(settings).items()}
    return {**PINNED_SETTINGS, **limits}


def by_the_driver(database: Database) -> Any:
    with database.driver_connection() as connection:
        return connection.execute(SHOW, [list(HOSTILE)]).fetchall()


def in_transaction(database: Database) -> Any:
    with database.transaction() as db:
        return db.connection().exec_driver_sql(SHOW, (list(HOSTILE),)).fetchall()


def by_a_second_pool(database: Database) -> Any:
    with database.second_pool(database.settings) as other:
        return by_the_driver(other)


def awaited(database: Database) -> Any:
    async def ask() -> Any:
        async with await database.connect_async("a test") as connection:
            return await (await connection.execute(SHOW, [list(HOSTILE)])).fetchall()

    return asyncio.run(ask())


KINDS = (by_the_driver, in_transaction, by_a_second_pool, awaited)


def shown(database: Database, ask: Callable[[Database], Any]) -> dict[str, str]:
    return dict(zip(HOSTILE, (row[0] for row in ask(database)), strict=True))


@pytest.fixture
def socket_directory() -> Iterator[Path]:
    """A directory whose path is short enough for a socket in it."""
    with tempfile.TemporaryDirectory(prefix="st-", dir="/tmp") as directory:
        yield Path(directory)


@pytest.fixture
def administer(blank_database_url: str, server_url: URL) -> Iterator[Callable[..., Any]]:
    """Executes statements as the owner of the server, in another database than the test's."""
    url = server_url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection.execute


def test_every_pinned_setting_is_tried() -> None:
    assert set(PINNED_SETTINGS) <= set(HOSTILE)


def test_limits_of_transactions_interrupt_neither_migrations_nor_the_program(
    blank_database_url: str, administer: Any, settings: Settings
) -> None:
    name = make_url(blank_database_url).database
    administer(f"ALTER DATABASE {name} SET idle_in_transaction_session_timeout = '1ms'")
    try:
        administer(f"ALTER DATABASE {name} SET transaction_timeout = '2s'")
        shown_limit = "SHOW transaction_timeout"
    except ProgrammingError:  # PostgreSQL before 17 has none
        shown_limit = "SELECT '0'"
    upgrade_schema(blank_database_url)
    with Database(settings, blank_database_url) as database:
        for _ in range(2):  # the first learns what the server knows
            with database.driver_connection() as one, database.driver_connection() as other:
                assert one.execute(shown_limit).fetchone() == ("0",)
                assert other.execute(shown_limit).fetchone() == ("0",)


@pytest.mark.parametrize("path", ["pg_catalog", "nosuch"])
def test_an_upgrade_that_is_not_allowed_says_what_to_grant(
    path: str, blank_database_url: str, administer: Any
) -> None:
    administer(f"ALTER DATABASE {make_url(blank_database_url).database} SET search_path = {path}")
    with pytest.raises(DatabaseUnsuitable, match="cannot be upgraded") as refused:
        upgrade_schema(blank_database_url)
    assert "GRANT CREATE" in str(refused.value.next_step)


def test_a_database_without_triggers_is_refused_with_the_way_out(
    blank_database_url: str, administer: Any, settings: Settings
) -> None:
    upgrade_schema(blank_database_url)
    name = make_url(blank_database_url).database
    administer(f"ALTER DATABASE {name} SET session_replication_role = 'replica'")
    with Database(settings, blank_database_url) as database:
        for ask in KINDS:
            with pytest.raises(DatabaseUnsuitable, match="session_replication_role") as refused:
                ask(database)
            assert "RESET session_replication_role" in str(refused.value.next_step)


@pytest.mark.parametrize("level", ["database", "role", "role in the database"])
def test_settings_of_a_role_or_a_database_change_nothing(
    level: str, blank_database_url: str, administer: Any, settings: Settings
) -> None:
    url = make_url(blank_database_url)
    role = f"hostile_{uuid.uuid4().hex}"
    administer(f"CREATE ROLE {role} LOGIN")
    subject = {
        "database": f"DATABASE {url.database}",
        "role": f"ROLE {role}",
        "role in the database": f"ROLE {role} IN DATABASE {url.database}",
    }[level]
    for name, value in HOSTILE.items():
        administer(f"ALTER {subject} SET {name} = '{value}'")
    try:
        as_role = url.set(username=role).render_as_string(hide_password=False)
        plain = url.set(username=role, drivername="postgresql").render_as_string(False)
        with psycopg.connect(plain) as inherits:
            assert inherits.execute("SHOW statement_timeout").fetchone() == ("77777ms",)
        with Database(settings, as_role) as database:
            for ask in KINDS:
                assert shown(database, ask) == wanted(settings)
    finally:
        administer(f"DROP OWNED BY {role}")
        administer(f"DROP ROLE {role}")


@pytest.mark.parametrize(
    "environment",
    [
        {"PGCLIENTENCODING": "LATIN1"},
        {"PGDATESTYLE": "German"},
        {"PGTZ": "Asia/Kolkata"},
        {"PGOPTIONS": OPTIONS},
        {"PGCLIENTENCODING": "LATIN1", "PGDATESTYLE": "SQL", "PGTZ": "EST", "PGOPTIONS": OPTIONS},
    ],
    ids="+".join,
)
def test_the_environment_changes_nothing(
    environment: dict[str, str],
    blank_database_url: str,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with Database(settings, blank_database_url) as database:
        for ask in KINDS:
            assert shown(database, ask) == wanted(settings)


def test_options_of_the_user_apply_to_what_is_not_pinned(
    blank_database_url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def commits(url: str) -> Any:
        with Database(settings, url) as database, database.driver_connection() as connection:
            assert shown(database, by_the_driver) == wanted(settings)
            return connection.execute("SHOW synchronous_commit").fetchone()

    in_url = make_url(blank_database_url).update_query_dict(
        {"options": f"-c synchronous_commit=off {OPTIONS}"}
    )
    assert commits(in_url.render_as_string(hide_password=False)) == ("off",)
    monkeypatch.setenv("PGOPTIONS", "-c synchronous_commit=local")
    assert commits(blank_database_url) == ("local",)


def test_processes_of_different_settings_hear_each_other(
    database_url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def channel() -> Any:
        with Database(settings, database_url) as database, database.driver_connection() as raw:
            return raw.execute(CHANNEL_TO_LISTEN).fetchone()

    usual = channel()
    monkeypatch.setenv("PGOPTIONS", "-c quote_all_identifiers=on")
    assert channel() == usual


def test_a_whole_life_leaves_no_trace_of_hostile_settings(
    blank_database_url: str, administer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    name = make_url(blank_database_url).database
    for setting, value in HOSTILE.items():
        administer(f"ALTER DATABASE {name} SET {setting} = '{value}'")
    administer(f"ALTER DATABASE {name} SET statement_timeout = '1ms'")  # Alembic pins it, too
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    upgrade_schema(blank_database_url)
    settings = Settings(database_url=blank_database_url, data_dir=tmp_path)
    with Database.open(settings) as database:
        with database.transaction() as db:
            sessions = SessionRepository(db)
            session = sessions.create_session(label="→ žluťoučký …")
            started = sessions.start_task(session.id, TaskType.PROCESSING)
        with database.transaction() as db:
            claim = SessionRepository(db).claim_task(
                session.id, started.task_id, uuid.uuid4(), lease_seconds=30
            )
            assert claim is not None
            SessionRepository(db).fail_task(claim, {"error": "ValueError", "message": "… 中文"})
    monkeypatch.setenv("SESSION_TASKS_DATABASE_URL", blank_database_url)
    assert run_command(["show", str(session.id), "--json"]) == 0
    assert "中文" in capsys.readouterr().out
    assert run_command(["list"]) == 0


# -- servers that cannot be used ------------------------------------------------------------------


@contextlib.contextmanager
def other_database(administer: Any, server_url: URL, options: str) -> Iterator[str]:
    name = f"other_{uuid.uuid4().hex}"
    administer(f"CREATE DATABASE {name} TEMPLATE template0 {options}")
    try:
        yield server_url.set(database=name).render_as_string(hide_password=False)
    finally:
        administer(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., tuple[int, str]]:
    """Runs a command on this database; returns its exit code and all that it wrote."""
    for name in [name for name in os.environ if name.startswith("SESSION_TASKS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.md").write_text("# One\n")

    def run(url: str, *arguments: str) -> tuple[int, str]:
        monkeypatch.setenv("SESSION_TASKS_DATABASE_URL", url)
        capsys.readouterr()
        code = run_command(arguments)
        return code, "".join(capsys.readouterr())

    return run


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_is_not_utf8_is_refused_with_the_way_out(
    encoding: str, administer: Any, server_url: URL, command: Callable[..., tuple[int, str]]
) -> None:
    with other_database(administer, server_url, f"ENCODING '{encoding}' LOCALE 'C'") as url:
        for arguments in (["db", "upgrade"], ["db", "check"], ["doctor"], ["list"]):
            code, said = command(url, *arguments)
            assert code == 5
            assert f"is encoded in {encoding}" in said
            assert "createdb --encoding=UTF8" in said


def test_what_the_role_may_not_do_and_what_is_locked_is_said(
    blank_database_url: str, administer: Any, command: Callable[..., tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    upgrade_schema(blank_database_url)
    role = f"poor_{uuid.uuid4().hex}"
    administer(f"CREATE ROLE {role} LOGIN")
    try:
        poor = make_url(blank_database_url).set(username=role).render_as_string(False)
        for arguments in (["list"], ["worker"]):
            code, said = command(poor, *arguments)
            assert (code, arguments) == (5, arguments)
            assert "permission denied for table session_tasks_version" in said
            assert "GRANT SELECT, INSERT, UPDATE, DELETE" in said
    finally:
        administer(f"DROP ROLE {role}")
    plain = make_url(blank_database_url).set(drivername="postgresql").render_as_string(False)
    with psycopg.connect(plain) as locking:
        locking.execute("LOCK TABLE session_tasks_version, sessions IN ACCESS EXCLUSIVE MODE")
        monkeypatch.setenv("SESSION_TASKS_LOCK_TIMEOUT_SECONDS", "0.1")
        command(blank_database_url, "doctor")  # waits for the lock as long as a long one takes
        _, said = command(blank_database_url, "doctor")
        assert f"pg_terminate_backend({locking.info.backend_pid})" in said
    assert "Another transaction has locked what this needs" in said


@pytest.fixture
def poor_url(blank_database_url: str, administer: Any) -> Iterator[str]:
    """The database at the newest migration, for a role without any rights, named `poor_…`."""
    upgrade_schema(blank_database_url)
    role = f"poor_{uuid.uuid4().hex}"
    administer(f"CREATE ROLE {role} LOGIN")
    yield make_url(blank_database_url).set(username=role).render_as_string(False)
    with owner(blank_database_url) as connection:
        connection.execute(f"DROP OWNED BY {role}")
    administer(f"DROP ROLE {role}")


def owner(url: str) -> psycopg.Connection[Any]:
    plain = make_url(url).set(drivername="postgresql").render_as_string(False)
    return psycopg.connect(plain, autocommit=True)


def test_what_starts_work_refuses_a_role_that_may_only_read(
    poor_url: str, blank_database_url: str, command: Callable[..., tuple[int, str]]
) -> None:
    role = make_url(poor_url).username
    with owner(blank_database_url) as connection:
        connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    assert command(poor_url, "list")[0] == 0
    for arguments in (
        ["serve", "--port", "0"], ["worker"], ["sweep"], ["run", "notes.md", "--project", "DEMO"],
        ["retry", "abc"], ["db", "check"], ["doctor"],
    ):  # fmt: skip
        code, said = command(poor_url, *arguments)
        assert (code, arguments) == (5, arguments)
        assert "lacks rights: GRANT INSERT, UPDATE, DELETE ON public.api_keys, " in said


@pytest.mark.parametrize(
    "change",
    [
        "REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {role}",
        "REVOKE INSERT ON documents FROM {role}",
        "REVOKE SELECT ON session_tasks_version FROM {role}",
        "REVOKE USAGE ON SCHEMA public FROM PUBLIC",
        "ALTER TABLE sessions ENABLE ROW LEVEL SECURITY",
    ],
)
def test_what_doctor_says_of_missing_rights_mends_them(
    change: str, poor_url: str, blank_database_url: str, command: Callable[..., tuple[int, str]]
) -> None:
    role = make_url(poor_url).username
    with owner(blank_database_url) as connection:
        connection.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
        assert command(poor_url, "db", "check")[0] == 0
        connection.execute(change.format(role=role))
        assert "lacks rights: " in command(poor_url, "db", "check")[1]
        connection.execute("SET search_path = pg_catalog")  # another one than ours
        code, said = command(poor_url, "doctor", "--json")
        (found,) = [check for check in json.loads(said)["checks"] if check["verdict"] == "failed"]
        assert (code, found["name"]) == (5, "rights")
        for statement in found["found"].partition("lacks rights: ")[2].split("; "):
            connection.execute(statement)
        assert command(poor_url, "db", "check")[0] == 0


COMMANDS = [
    ["list"], ["show", "abc"], ["watch", "abc"], ["cancel", "abc"], ["retry", "abc"],
    ["export", "abc", "--out", "x"], ["run", "notes.md", "--project", "DEMO"],
    ["serve", "--port", "0"], ["worker"], ["sweep"], ["cleanup"], ["keys", "list"],
    ["keys", "create", "--owner", "x"], ["login"], ["workers"], ["workers", "check"],
    ["pause"], ["resume"],
    ["db", "check"], ["db", "upgrade"], ["doctor"],
]  # fmt: skip


NEED_NO_DATABASE = {"jira"}


def test_every_command_says_that_a_server_is_read_only(
    database_url: str, monkeypatch: pytest.MonkeyPatch, command: Callable[..., tuple[int, str]]
) -> None:
    every = set(typer.main.get_group(application).commands) - NEED_NO_DATABASE
    assert {arguments[0] for arguments in COMMANDS} == every
    monkeypatch.setenv("PGOPTIONS", "-c default_transaction_read_only=on")
    for arguments in COMMANDS:
        code, said = command(database_url, *arguments)
        assert (code, arguments) == (5, arguments)
        assert "This server is read-only" in said


def test_a_server_that_becomes_read_only_is_left_for_one_that_takes_writes(
    blank_database_url: str, administer: Any, settings: Settings
) -> None:
    upgrade_schema(blank_database_url)
    name = make_url(blank_database_url).database
    insert = text("INSERT INTO sessions (id) VALUES (gen_random_uuid())")
    narrow = settings.model_copy(update={"pool_size": 1})
    with Database(narrow, blank_database_url) as database:
        with database.driver_connection() as connection:
            connection.execute("SET default_transaction_read_only = on")
        with pytest.raises(DatabaseUnsuitable, match="read-only"):
            database.check_server()
        with pytest.raises(DatabaseUnsuitable, match="read-only"), database.transaction() as db:
            db.execute(insert)
        with database.transaction() as db:  # the connection was given up
            db.execute(insert)
        with database.driver_connection() as connection:
            connection.execute("SET default_transaction_read_only = on")
        with (
            pytest.raises(DatabaseUnsuitable, match="read-only"),
            database.driver_connection() as connection,
        ):
            connection.execute("INSERT INTO sessions (id) VALUES (gen_random_uuid())")
        administer(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        with pytest.raises(DatabaseUnsuitable, match="read-only"), database.transaction() as db:
            db.execute(text("SELECT 1"))
        administer(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        assert database.check_server() >= 15


# -- poolers --------------------------------------------------------------------------------------


class Pooler(socketserver.ThreadingUnixStreamServer):
    """Refuses `options` in the startup packet, as PgBouncer does, and passes all else on."""

    daemon_threads = True
    refused = 0

    def __init__(self, directory: Path, target: str) -> None:
        self.target = target
        super().__init__(str(directory / ".s.PGSQL.5432"), _Relay)


class _Relay(socketserver.BaseRequestHandler):
    server: Pooler

    def handle(self) -> None:
        length = int.from_bytes(self.request.recv(4, socket.MSG_PEEK), "big")
        startup = self.request.recv(length, socket.MSG_WAITALL)
        if b"\0options\0" in startup:
            self.server.refused += 1
            fields = b"SERROR\0C08P01\0Munsupported startup parameter: options\0\0"
            self.request.sendall(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)
            return
        with socket.socket(socket.AF_UNIX) as server:
            server.connect(self.server.target)
            server.sendall(startup)
            back = threading.Thread(target=_copy, args=[server, self.request], daemon=True)
            back.start()
            _copy(self.request, server)
            back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def test_a_pooler_that_refuses_options_gets_them_as_a_statement(
    blank_database_url: str,
    settings: Settings,
    socket_directory: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = make_url(blank_database_url)
    if not isinstance(url.query.get("host"), str):
        pytest.skip("the tests' server has no Unix socket")
    target = f"{url.query['host']}/.s.PGSQL.{url.query.get('port', '5432')}"
    monkeypatch.setenv("PGTZ", "Asia/Kolkata")
    monkeypatch.setenv("PGOPTIONS", "-cDateStyle=German")
    with Pooler(socket_directory, target) as pooler:
        threading.Thread(target=pooler.serve_forever, daemon=True).start()
        by_pooler = url.update_query_dict({"host": str(socket_directory)}).render_as_string(False)
        with Database(settings, by_pooler) as database:
            for ask in KINDS:
                assert shown(database, ask) == wanted(settings)
        assert pooler.refused == 2  # once by each of the two pools, and not again
        in_schema = settings.model_copy(update={"database_schema": "our_tasks"})
        with_options = f"{by_pooler}&options=-cDateStyle%3DGerman"
        with Database(in_schema, with_options) as database, database.transaction() as db:
            assert db.scalar(text("SHOW search_path")) == "our_tasks"
        upgrade_schema(by_pooler)
        pooler.shutdown()
    with Database(settings, blank_database_url) as database, database.transaction() as db:
        assert db.scalar(text("SELECT version_num FROM session_tasks_version")) == newest_revision()
