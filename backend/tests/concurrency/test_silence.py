"""All connections go silent at once: one is waited for, not each in turn; nothing is lost."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from chaos.proxy import Proxy
from sqlalchemy import URL, make_url

from app.core import pool
from app.core.database import Database
from app.core.driver import ReadTimeoutConnection
from app.core.errors import DatabaseUnavailable
from app.models.session import TaskStatus, TaskType
from app.repositories.batcher import TransitionBatcher
from app.repositories.session_repository import SessionRepository
from app.repositories.transitions import claim_next
from app.values.claims import Claim
from app.values.results import TaskResults, TicketDraft

if TYPE_CHECKING:
    from app.core.config import Settings

CONNECTIONS = 4
SILENCE_SECONDS = 0.5
RESULTS = TaskResults(
    tickets=[TicketDraft("1", '{"type":"doc","version":1,"content":[]}', "a.md", 1)]
)


@pytest.fixture
def proxy(database_url: str, server_url: URL) -> Iterator[Proxy]:
    if "host" not in server_url.query:
        pytest.skip("the proxy stands in front of a Unix socket, and this server was given by TCP")
    query = make_url(database_url).query
    with Proxy(f"{query['host']}/.s.PGSQL.{query.get('port', '5432')}", 1) as proxy:
        yield proxy


@pytest.fixture
def silenced(database_url: str, settings: Settings, proxy: Proxy) -> Iterator[Database]:
    """A database whose pool is full of connections that have just gone silent."""
    url = make_url(database_url).set(host="127.0.0.1", port=proxy.port, query={})
    with Database(
        settings.model_copy(update={"pool_size": CONNECTIONS}),
        url.render_as_string(hide_password=False),
        read_timeout=SILENCE_SECONDS,
    ) as database:
        _use_all(database)
        proxy.silence()
        yield database


@pytest.fixture
def silences(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Each wait that a silent server ended."""
    ended: list[str] = []
    wait = ReadTimeoutConnection.wait

    def counted(self: ReadTimeoutConnection, *arguments: Any, **options: Any) -> Any:
        try:
            return wait(self, *arguments, **options)
        except Exception as error:
            if "silent for" in str(error):
                ended.append(str(error))
            raise

    monkeypatch.setattr(ReadTimeoutConnection, "wait", counted)
    return ended


def _use_all(database: Database) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(CONNECTIONS):
            stack.enter_context(database.driver_connection()).execute("SELECT 1")


def _claim(database: Database, _: Claim) -> None:
    with database.driver_connection() as connection:
        claim_next(connection, uuid.uuid4(), task_types=list(TaskType), limit=1, lease_seconds=30)


def _complete(database: Database, claim: Claim) -> None:
    TransitionBatcher(database).complete_task(claim)


def _write_results(database: Database, claim: Claim) -> None:
    with database.transaction() as db:
        SessionRepository(db).complete_task(claim, RESULTS)


@pytest.mark.parametrize("act", [_claim, _complete, _write_results])
@pytest.mark.parametrize("trusted_seconds", [60.0, -1.0], ids=["in use", "idle before"])
def test_of_connections_that_went_silent_one_is_waited_for(  # noqa: PLR0913, PLR0917 - fixtures
    act: Callable[[Database, Claim], None],
    trusted_seconds: float,
    monkeypatch: pytest.MonkeyPatch,
    claimed: Callable[..., Claim],
    silenced: Database,
    silences: list[str],
    database: Database,
) -> None:
    monkeypatch.setattr(pool, "TRUSTED_SECONDS", trusted_seconds)
    claim = claimed()
    while True:
        try:
            act(silenced, claim)
            break
        except DatabaseUnavailable:
            continue
    _use_all(silenced)
    assert silences == [f"the server was silent for {SILENCE_SECONDS:g} seconds"]
    with database.transaction() as db:
        task = SessionRepository(db).get(claim.session_id).task
    assert task is not None
    assert task.status is (TaskStatus.RUNNING if act is _claim else TaskStatus.COMPLETED)


def test_a_test_of_a_connection_is_brief(
    monkeypatch: pytest.MonkeyPatch, silenced: Database, silences: list[str]
) -> None:
    monkeypatch.setattr(pool, "TRUSTED_SECONDS", -1.0)
    monkeypatch.setattr(pool, "PING_SECONDS", 0.1)
    with silenced.transaction() as db:
        assert db.connection() is not None
    assert silences == ["the server was silent for 0.1 seconds"]


def test_no_silence_is_borne_for_longer_than_a_lease(settings: Settings, database_url: str) -> None:
    with (
        Database(
            settings.model_copy(update={"lease_seconds": 12.0, "statement_timeout_seconds": 60.0}),
            database_url,
        ) as database,
        database.driver_connection() as connection,
    ):
        assert isinstance(connection, ReadTimeoutConnection)
        assert connection.read_timeout == pytest.approx(12.0)
