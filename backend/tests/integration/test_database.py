"""The way to PostgreSQL: opening it, transactions, and the errors that people see."""

from __future__ import annotations

import select
import threading
import uuid
from typing import TYPE_CHECKING, Any, LiteralString
from urllib.parse import quote

import psycopg
import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import IntegrityError

from app.core.config import Settings
from app.core.connections import SingleConnection
from app.core.database import Database, after_commit, current_db_session, driver_connection
from app.core.errors import (
    ConfigurationError,
    DatabaseBusy,
    DatabaseUnavailable,
    DatabaseUnsuitable,
    NoTransaction,
)
from app.core.notifications import CHANNEL, announced_sessions
from app.engines.change_listener import ChangeListener

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from app.models.session import Session

NOBODY_LISTENS = "postgresql://somebody:hunter2@127.0.0.1:1/none"


def divide_by_zero(*_: object) -> None:
    raise ZeroDivisionError


def test_an_embedded_database_is_brought_up_to_date_by_itself(tmp_path: Path) -> None:
    tmp_path.chmod(0o711)
    settings = Settings(data_dir=tmp_path)
    with Database.open(settings) as database, database.transaction() as db:
        assert db.scalar(text("SELECT count(*) FROM session_tasks")) == 0
        assert database.server is not None
        database.revive()
    with Database.open(settings) as database:
        assert database.check_server() >= 15


@pytest.mark.parametrize(
    "url",
    [
        "mysql://localhost/x",
        "nonsense",
        "sqlite:///x.db",
        "postgresql+asyncpg://h/d",
        "postgresql://h/d?pool_size=3",
    ],
)
def test_a_url_that_is_none_of_postgresql_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Database.open(Settings(database_url=url, data_dir=tmp_path))
    assert "postgresql://" in caught.value.next_step


def test_a_refused_connection_says_what_the_server_said(database_url: str, tmp_path: Path) -> None:
    url = make_url(database_url).set(username="nosuch").render_as_string(hide_password=False)
    with pytest.raises(DatabaseUnavailable, match=r"refuses connections: .*nosuch") as caught:
        Database.open(Settings(database_url=url, data_dir=tmp_path))
    assert "pg_hba.conf" in caught.value.next_step


def test_a_url_may_have_several_hosts(database_url: str, tmp_path: Path) -> None:
    url = make_url(database_url)
    host, port = url.query.get("host", url.host), url.query.get("port", url.port)
    several = (
        f"postgresql://{url.username}@localhost:1,{quote(str(host), safe='')}:{port}"
        f"/{url.database}?target_session_attrs=read-write"
    )
    with Database.open(Settings(database_url=several, data_dir=tmp_path)) as database:
        assert database.check_server() >= 15
    with pytest.raises(ConfigurationError, match="not a database URL"):
        Database.open(Settings(database_url="postgresql://a:x,b:y:z/d?e=f", data_dir=tmp_path))


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgresql_urls_may_be_written_in_every_usual_way(
    scheme: str, database_url: str, tmp_path: Path
) -> None:
    url = database_url.replace("postgresql+psycopg", scheme)
    with Database.open(Settings(database_url=url, data_dir=tmp_path)) as database:
        assert database.check_server() >= 15


def test_a_server_that_is_not_there_is_said_so_without_the_password(tmp_path: Path) -> None:
    settings = Settings(database_url=NOBODY_LISTENS, data_dir=tmp_path, connect_timeout_seconds=2)
    with pytest.raises(DatabaseUnavailable) as caught:
        Database.open(settings)
    assert "SESSION_TASKS_DATABASE_URL" in caught.value.next_step
    assert "hunter2" not in f"{caught.value} {caught.value.__cause__} {settings!r}"


def test_a_transaction_is_bound_to_its_block(database: Database) -> None:
    with pytest.raises(NoTransaction):
        current_db_session()
    with database.transaction() as outer:
        assert current_db_session() is outer
        with database.transaction() as inner:
            assert current_db_session() is inner
        assert current_db_session() is outer
    with pytest.raises(NoTransaction):
        current_db_session()


def test_an_error_in_the_block_rolls_back_and_passes_unchanged(database: Database) -> None:
    session_id = uuid.uuid4()
    insert = text("INSERT INTO sessions (id) VALUES (:id)")
    with pytest.raises(IntegrityError), database.transaction() as db:
        db.execute(insert, {"id": session_id})
        db.execute(insert, {"id": session_id})
    with database.transaction() as db:
        assert db.scalar(text("SELECT count(*) FROM sessions")) == 0


def test_every_connection_has_its_timeouts(database: Database) -> None:
    names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    with database.transaction() as db:
        limits = [db.scalar(text(f"SHOW {name}")) for name in (*names, "TimeZone")]
    assert limits == ["30s", "10s", "1min", "UTC"]


def test_a_lock_that_is_not_had_in_time_is_said_so(
    settings: Settings, database: Database, make_session: Callable[..., Session]
) -> None:
    session_id = make_session().id
    hasty = settings.model_copy(update={"lock_timeout_seconds": 0.1})
    lock = text("SELECT FROM sessions WHERE id = :id FOR UPDATE")
    with Database(hasty, database.url) as other, database.transaction() as db:
        db.execute(lock, {"id": session_id})
        with pytest.raises(DatabaseBusy), other.transaction() as waiting:
            waiting.execute(lock, {"id": session_id})
        with pytest.raises(DatabaseBusy), other.driver_connection() as connection:
            connection.execute("SELECT FROM sessions WHERE id = %s FOR UPDATE", [session_id])


def test_a_pool_that_is_empty_is_said_so(settings: Settings, database: Database) -> None:
    small = settings.model_copy(update={"pool_size": 1, "lock_timeout_seconds": 0.1})
    with Database(small, database.url) as narrow, narrow.transaction() as db:
        db.execute(text("SELECT 1"))
        with (
            pytest.raises(DatabaseUnavailable, match="connections") as caught,
            narrow.driver_connection(),
        ):
            pass
    assert "POOL_SIZE" in caught.value.next_step


def test_a_terminated_backend_is_said_so_and_the_next_call_works(database: Database) -> None:
    with database.transaction() as db, pytest.raises(DatabaseUnavailable):  # noqa: SIM117
        with database.driver_connection() as connection:
            db.execute(
                text("SELECT pg_terminate_backend(:pid)"), {"pid": connection.info.backend_pid}
            )
            connection.execute("SELECT 1")
    with database.driver_connection() as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_pool_in_transaction_mode_is_named(database: Database) -> None:
    """As behind one, where another client has prepared a statement of the same name."""
    with pytest.raises(DatabaseUnsuitable) as caught, database.driver_connection() as connection:
        for _ in range(2):
            connection.execute("PREPARE one AS SELECT 1")
    assert "pool_mode = session" in caught.value.next_step


def test_a_single_connection_is_replaced_once_it_is_lost_or_left_by_an_error(
    settings: Settings, database: Database
) -> None:
    single = SingleConnection(settings, database.conninfo)

    def process() -> int:
        with single.driver_connection() as connection:
            connection.execute("SELECT 1")
            return connection.info.backend_pid

    first = process()
    assert process() == first
    with database.driver_connection() as connection:
        connection.execute("SELECT pg_terminate_backend(%s, 10000)", [first])
    second = process()
    assert second != first
    with pytest.raises(psycopg.errors.SyntaxError), single.driver_connection() as connection:
        connection.execute("SELEC")
    assert process() != second
    with pytest.raises(DatabaseUnavailable), single.driver_connection() as connection:
        connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    assert process() > 0
    single.close()


def test_a_transaction_that_was_idle_too_long_lost_its_connection(
    settings: Settings, database_url: str
) -> None:
    """As a process finds it that was paused inside a transaction."""
    hasty = settings.model_copy(update={"idle_in_transaction_timeout_seconds": 0.05})
    with Database(hasty, database_url) as database:
        with pytest.raises(DatabaseUnavailable), database.transaction() as db:
            db.execute(text("SELECT 1"))
            assert select.select([driver_connection(db).fileno()], [], [], 30)[0]
            db.execute(text("SELECT 1"))
        with database.transaction() as db:
            assert db.scalar(text("SELECT 1")) == 1


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_statement_leaves_no_connection_behind_that_is_busy(
    interruption: type[BaseException], settings: Settings, database_url: str
) -> None:
    def interrupted(raw: psycopg.Connection[Any]) -> None:
        raw.pgconn.send_query(b"SELECT pg_sleep(60)")
        raise interruption

    narrow = settings.model_copy(update={"pool_size": 1})
    with Database(narrow, database_url) as database:
        with pytest.raises(interruption), database.driver_connection() as raw:
            interrupted(raw)
        with pytest.raises(interruption), database.transaction() as db:
            interrupted(driver_connection(db))
        assert database.check_server() >= 15


def test_what_a_user_of_the_driver_leaves_open_is_undone_and_the_next_has_a_transaction(
    settings: Settings, database_url: str
) -> None:
    narrow = settings.model_copy(update={"pool_size": 1})
    with Database(narrow, database_url) as database:
        with database.driver_connection() as raw:
            raw.execute("CREATE TABLE kept (number integer)")
            raw.execute("BEGIN")
            raw.execute("INSERT INTO kept VALUES (1)")
        with pytest.raises(ZeroDivisionError), database.transaction() as db:
            db.execute(text("INSERT INTO kept VALUES (2)"))
            divide_by_zero()
        with database.driver_connection() as raw:
            assert raw.execute("SELECT number FROM kept").fetchall() == []


def test_what_follows_a_commit_runs_after_it_and_one_failure_stops_no_other(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[str] = []
    with database.transaction() as db:
        after_commit(db, lambda: ran.append("before anything was sent"))
        db.execute(text("SELECT 1"))
        after_commit(db, divide_by_zero)
        after_commit(db, lambda: ran.append("last"))
        assert ran == []
    assert ran == ["before anything was sent", "last"]
    assert "the commit stands" in caplog.text
    with pytest.raises(ZeroDivisionError), database.transaction() as db:
        after_commit(db, lambda: ran.append("never"))
        divide_by_zero()
    assert "never" not in ran


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 1 AS one, 'é' AS \"é\", NULL::uuid[]",
        "SELECT",
        "SELECT 1 WHERE false",
        "SET jit = off",
    ],
)
def test_columns_are_described_as_by_the_driver_as_far_as_anybody_reads_it(
    database: Database, statement: LiteralString
) -> None:
    with database.driver_connection() as connection:
        described = connection.execute(statement).description
        by_the_driver = psycopg.Cursor(connection).execute(statement).description
    assert (described is None) == (by_the_driver is None)
    assert [column[:2] for column in described or ()] == [
        column[:2] for column in by_the_driver or ()
    ]


def test_changes_are_notified_in_batches_after_the_commit(database: Database) -> None:
    url = make_url(database.url).set(drivername="postgresql")
    ids = {uuid.uuid4() for _ in range(450)}
    heard: set[uuid.UUID] = set()
    with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as listener:
        listener.execute(f"LISTEN {CHANNEL}")
        database.announce(ids)
        for notification in listener.notifies(timeout=30):
            heard |= announced_sessions(notification)
            if heard == ids:
                break
    assert heard == ids


def test_what_changes_after_a_quiet_moment_is_notified_by_the_connection_at_hand(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.core.notifications.SECONDS_BETWEEN_NOTIFICATIONS", 3600.0)
    url = make_url(database.url).set(drivername="postgresql")
    first, second = uuid.uuid4(), uuid.uuid4()
    with psycopg.connect(url.render_as_string(False), autocommit=True) as listener:
        listener.execute(f"LISTEN {CHANNEL}")
        with database.driver_connection() as connection:
            database.announce([first], connection=connection)
            (told,) = listener.notifies(timeout=30, stop_after=1)
            database.announce([second], connection=connection)  # too soon: it waits
            assert list(listener.notifies(timeout=0)) == []
            assert told.pid == connection.info.backend_pid
            assert announced_sessions(told) == {first}
            assert database.is_own(told)
        database.close()  # which sends what waits
        (told,) = listener.notifies(timeout=30, stop_after=1)
        assert announced_sessions(told) == {second}


def test_what_a_process_announces_it_hears_once_and_not_at_all_if_it_knows(
    settings: Settings, database: Database
) -> None:
    known, own, other = (frozenset({uuid.uuid4()}) for _ in range(3))
    heard: list[frozenset[uuid.UUID]] = []
    heard_other = threading.Event()

    def hear(changed: frozenset[uuid.UUID]) -> None:
        heard.append(changed)
        if changed == other:
            heard_other.set()

    url = make_url(database.url).set(drivername="postgresql")
    wakeups = ChangeListener(database, database, hear)
    with (
        psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as listener,
        Database(settings, database.url) as another,
    ):
        listener.execute(f"LISTEN {CHANNEL}")
        wakeups.start()
        while not heard_other.is_set():  # until it listens
            another.announce(other)
            heard_other.wait(0.1)
        database.announce(known, exclude=hear)
        database.announce(own)
        notified: set[uuid.UUID] = set()
        for notification in listener.notifies(timeout=30):
            notified |= announced_sessions(notification)
            if known | own <= notified:
                break
        heard_other.clear()
        another.announce(other)
        assert heard_other.wait(30)
        wakeups.stop()
    assert [changed for changed in heard if changed != other] == [own]


def test_a_listener_that_fails_hurts_nobody(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[Any] = []
    database.subscribe(divide_by_zero)
    end = database.subscribe(heard.append)
    changed = frozenset({uuid.uuid4()})
    database.announce(changed)
    assert heard == [changed]
    assert "A listener failed" in caplog.text
    end()
    database.announce(changed)
    assert heard == [changed]


def test_closing_ends_the_announcing_thread(settings: Settings, database_url: str) -> None:
    before = set(threading.enumerate())
    database = Database(settings, database_url)
    database.announce([uuid.uuid4()])
    database.close()
    database.close()
    assert set(threading.enumerate()) <= before


def test_a_connection_in_use_while_the_database_closes_is_closed_when_it_is_returned(
    database_url: str, tmp_path: Path
) -> None:
    database = Database.open(Settings(database_url=database_url, data_dir=tmp_path))
    with database.driver_connection() as connection:
        database.close()
        assert not connection.closed
    assert connection.closed
    with database.transaction() as db:
        connection = driver_connection(db)
        database.close()
    assert connection.closed
