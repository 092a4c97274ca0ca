"""The cost of the hot path: only HOT updates, tables that stay small, plans that use indexes."""

from __future__ import annotations

import json
import re
import uuid
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from sqlalchemy import make_url, text

from app.core.config import Settings
from app.core.database import Database, driver_connection
from app.models.session import SessionStage, TaskType
from app.repositories import statements, transitions
from app.repositories.session_queries import SessionFilter, SessionQueries
from app.repositories.transitions import Heartbeat

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SESSIONS = 50
ROUNDS = 20
PAGE = 8192
P = TaskType.PROCESSING
HOT_TABLES = ("sessions", "session_tasks", "session_task_leases")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A server of its own: open transactions of others would keep old row versions."""
    tmp_path.chmod(0o711)
    with Database.open(Settings(data_dir=tmp_path)) as database:
        yield database


@pytest.fixture
def connection(database: Database) -> Iterator[psycopg.Connection[Any]]:
    url = make_url(database.url).set(drivername="postgresql")
    with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        yield connection


def make_sessions(connection: psycopg.Connection[Any], count: int) -> list[uuid.UUID]:
    rows = connection.execute(
        "INSERT INTO sessions (id, auto_advance)"
        " SELECT gen_random_uuid(), false FROM generate_series(1, %s) RETURNING id",
        [count],
    )
    return [row[0] for row in rows]


def test_thousands_of_lives_are_hot_updates_in_tables_that_do_not_grow(
    connection: psycopg.Connection[Any],
) -> None:
    ids = make_sessions(connection, SESSIONS)
    worker = uuid.uuid4()
    lives = 0

    def claim_all() -> list[transitions.Claim]:
        claims = transitions.claim_next(
            connection, worker, task_types=list(TaskType), limit=SESSIONS, lease_seconds=30
        )
        assert len(claims) == SESSIONS
        return claims

    for _ in range(ROUNDS):
        # Each session goes through all transitions, and starts over.
        assert len(transitions.start(connection, [(s, P, uuid.uuid4()) for s in ids])) == SESSIONS
        claims = claim_all()
        for _ in range(2):
            beats = [Heartbeat(claim, 1, 2, "m") for claim in claims]
            assert len(transitions.heartbeat(connection, beats, lease_seconds=30)) == SESSIONS
        failures = [(claim, {"message": "x", "category": "user_fixable"}) for claim in claims]
        assert len(transitions.fail(connection, failures, backoff_seconds=1)) == SESSIONS
        again = [(session_id, None, uuid.uuid4()) for session_id in ids]
        assert len(transitions.retry(connection, again)) == SESSIONS
        assert len(transitions.cancel(connection, [(s, None) for s in ids])) == SESSIONS
        for task_type in TaskType:
            transitions.start(connection, [(s, task_type, uuid.uuid4()) for s in ids])
            assert len(transitions.complete(connection, claim_all())) == SESSIONS
        lives += 5 * SESSIONS
        connection.execute(
            "UPDATE session_tasks SET task_type = 'processing', status = 'cancelled',"
            " completed_at = NULL, retry_count = 0, failure_context = NULL"
        )
        connection.execute("UPDATE sessions SET stage = 'processing'")
    connection.execute("SELECT pg_stat_force_next_flush()")
    for table in HOT_TABLES:
        row = connection.execute(
            "SELECT n_tup_upd, n_tup_hot_upd, pg_relation_size(relid) FROM pg_stat_user_tables"
            " WHERE relname = %s",
            [table],
        ).fetchone()
        assert row is not None
        updated, hot, size = row
        assert updated >= lives >= 5000
        assert hot / updated >= 0.99, f"{table}: {hot} of {updated} updates were HOT"
        if (
            table != "session_task_leases"
        ):  # its rows are replaced all the time, and the sweeper vacuums it
            assert size <= 20 * PAGE, f"{table} has grown to {size} bytes"


@pytest.fixture
def crowded(connection: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    """Create 10,000 sessions, all with a waiting task."""
    make_sessions(connection, 10_000)
    connection.execute(
        "INSERT INTO session_tasks (id, session_id, task_type, task_id, status, started_at)"
        " SELECT gen_random_uuid(), id, 'processing', gen_random_uuid(), 'running', now()"
        " FROM sessions"
    )
    connection.execute(
        "INSERT INTO session_task_leases (session_id, task_id, task_type)"
        " SELECT session_id, task_id, task_type FROM session_tasks"
    )
    return connection


def plan_of(
    connection: psycopg.Connection[Any], statement: str, parameters: dict[str, Any]
) -> list[dict[str, Any]]:
    """Yield all nodes of the plan."""
    row = connection.execute(f"EXPLAIN (FORMAT JSON) {statement}", parameters).fetchone()
    assert row is not None
    return nodes_of((row[0] if isinstance(row[0], list) else json.loads(row[0]))[0]["Plan"])


def nodes_of(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", ()) for node in nodes_of(child))]


@pytest.mark.parametrize("is_analysed", [False, True], ids=["never analysed", "analysed"])
def test_a_claim_walks_the_index_of_waiting_tasks(
    is_analysed: bool, crowded: psycopg.Connection[Any]
) -> None:
    if is_analysed:
        crowded.execute("ANALYZE")
    nodes = plan_of(
        crowded,
        statements.CLAIM_NEXT,
        {
            "worker_id": uuid.uuid4(), "call_id": uuid.uuid4(), "task_types": ["processing"],
            "limit": 10, "lease_seconds": 30,
        },
    )  # fmt: skip
    assert "ix_session_task_leases_enqueued_at" in {node.get("Index Name") for node in nodes}
    assert "Sort" not in {node["Node Type"] for node in nodes}
    read_whole = {node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"}
    assert read_whole <= {"session_task_pauses"}  # which has at most one row for each task type


def test_every_transition_finds_its_rows_by_index(crowded: psycopg.Connection[Any]) -> None:
    crowded.execute("ANALYZE")
    ids = [row[0] for row in crowded.execute("SELECT id FROM sessions LIMIT 64")]
    given = arguments(ids, "processing")
    for name in (
        "START", "RETRY", "CANCEL", "COMPLETE", "FAIL", "RELEASE", "HEARTBEAT", "RESTORE_LEASE",
        "CLAIM_THESE", "STILL_VALID",
    ):  # fmt: skip
        for node in plan_of(crowded, getattr(statements, name), given):
            if node["Node Type"] == "Seq Scan":
                assert node["Relation Name"] not in HOT_TABLES, f"{name} reads a whole table"


def test_plans_that_were_kept_from_when_the_tables_were_small_read_none_of_them_whole(
    database: Database,
) -> None:
    """The tables have not been analysed since they grew; autovacuum runs once a minute."""
    worker_id = uuid.uuid4()

    def sessions(connection: psycopg.Connection[Any], count: int) -> list[uuid.UUID]:
        rows = connection.execute(
            "INSERT INTO sessions (id, auto_advance) SELECT gen_random_uuid(), false"
            " FROM generate_series(1, %s) RETURNING id",
            [count],
        ).fetchall()
        return [row[0] for row in rows]

    def live(connection: psycopg.Connection[Any], ids: list[uuid.UUID]) -> None:
        started = transitions.start(
            connection, [(each, TaskType.PROCESSING, uuid.uuid4()) for each in ids]
        )
        wishes = [
            transitions.ClaimRequest(each.session_id, each.task_id, worker_id) for each in started
        ]
        claims = transitions.claim_these(connection, wishes, lease_seconds=30)
        transitions.heartbeat(
            connection, [transitions.Heartbeat(each) for each in claims], lease_seconds=30
        )
        assert len(transitions.complete(connection, claims)) == len(ids)

    def rows_read(connection: psycopg.Connection[Any]) -> int:
        connection.execute("SELECT pg_stat_force_next_flush()")
        row = connection.execute(
            "SELECT sum(seq_tup_read) FROM pg_stat_user_tables WHERE relname = ANY(%s)",
            [list(HOT_TABLES)],
        ).fetchone()
        assert row is not None
        return int(row[0])

    with database.driver_connection() as connection:
        for _ in range(12):  # prepared, and then given a generic plan
            live(connection, sessions(connection, 2))
        waiting = sessions(connection, 3_000)
        transitions.start(
            connection, [(each, TaskType.PROCESSING, uuid.uuid4()) for each in waiting[64:]]
        )
        before = rows_read(connection)
        live(connection, waiting[:64])
        assert rows_read(connection) - before < 3_000


def test_a_transition_is_planned_once_whatever_has_been_vacuumed_meanwhile(
    database: Database,
) -> None:
    worker_id, lives = uuid.uuid4(), 30
    with database.driver_connection() as connection:
        for number, session_id in enumerate(make_sessions(connection, lives)):
            (started,) = transitions.start(
                connection, [(session_id, TaskType.PROCESSING, uuid.uuid4())]
            )
            wish = transitions.ClaimRequest(session_id, started.task_id, worker_id)
            claims = transitions.claim_these(connection, [wish], lease_seconds=30)
            transitions.heartbeat(connection, [Heartbeat(claims[0])], lease_seconds=30)
            if number % 2:
                transitions.complete(connection, claims)
            else:
                context = {"error": "Boom", "message": "", "category": "user_fixable"}
                transitions.fail(connection, [(claims[0], context)], backoff_seconds=1)
            if number % 10 == 0:
                connection.execute("VACUUM ANALYZE session_task_leases")
        planned = connection.execute(
            "SELECT statement, custom_plans FROM pg_prepared_statements WHERE generic_plans > 5"
        ).fetchall()
    assert len(planned) == 5
    assert [(statement[:60], count) for statement, count in planned if count] == []


def test_a_page_of_the_list_is_planned_for_what_it_asks(database: Database) -> None:
    wanted = SessionFilter(stage=SessionStage.EXPORT)
    for _ in range(12):
        with database.transaction() as db:
            SessionQueries(db, owner="local").page(wanted, limit=5)
            planned = driver_connection(db).execute(
                "SELECT custom_plans FROM pg_prepared_statements"
                " WHERE statement LIKE 'SELECT sessions.id%ORDER BY sessions.created_at DESC%'"
            )
            counts = planned.fetchall()
    # The first five times, PostgreSQL plans for the values, to compare costs (PREPARE, notes).
    assert [count >= 5 for (count,) in counts] == [True]


def test_the_driver_learns_how_to_read_a_statement_once_for_each_connection(
    connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    lookups: list[int] = []
    get_loader = psycopg.adapt.AdaptersMap.get_loader
    monkeypatch.setattr(
        psycopg.adapt.AdaptersMap,
        "get_loader",
        lambda self, oid, *rest: lookups.append(oid) or get_loader(self, oid, *rest),
    )
    for session_id in make_sessions(connection, 20):
        (started,) = transitions.start(
            connection, [(session_id, TaskType.PROCESSING, uuid.uuid4())]
        )
        assert started.session_id == session_id
    assert len(lookups) < 20


STANDING = {
    "START": ("", ""),
    "START of the next": ("completed", ""),
    "RETRY": ("failed", ""),
    "CANCEL": ("running", "claimed"),
    "COMPLETE": ("running", "claimed"),
    "FAIL": ("running", "claimed"),
    "RELEASE": ("running", "claimed"),
    "HEARTBEAT": ("running", "claimed"),
    "CLAIM_THESE": ("running", "waiting"),
    "RESTORE_LEASE": ("running", ""),
}
"""A statement that moves a task, and the state of task and lease before it."""


@pytest.mark.parametrize("is_analysed", [False, True], ids=["never analysed", "analysed"])
@pytest.mark.parametrize("count", [64, 2_000])
def test_a_plan_from_when_the_tables_were_small_handles_little_more_than_it_is_given(
    connection: psycopg.Connection[Any], count: int, is_analysed: bool
) -> None:
    """Limit the rows read: not the grown tables (6,000), and not the batch's square (4,000,000)."""
    connection.execute("SET enable_seqscan = off")
    connection.execute("SET plan_cache_mode = force_generic_plan")
    stand(connection, make_sessions(connection, 40), "completed", "waiting")
    if is_analysed:
        connection.execute("ANALYZE")
    numbers = {name: prepare(connection, name) for name in STANDING}
    given = arguments([], "export")
    for name, places in numbers.items():
        execute(connection, name, places, given)
    crowd = make_sessions(connection, 6_000)
    stand(connection, crowd, "running", "waiting")
    handled = {}
    for name, (task, lease) in STANDING.items():
        with connection.transaction(force_rollback=True):
            ids = make_sessions(connection, count)
            task_ids = stand(connection, ids, task, lease)
            given = arguments(ids, "export" if task else "processing", task_ids)
            nodes = nodes_of(execute(connection, name, numbers[name], given))
        assert sum(node["Actual Rows"] for node in nodes) > count, f"{name} moved nothing"
        handled[name] = sum(
            node["Actual Loops"]
            * sum(value for key, value in node.items() if key == "Actual Rows" or "Removed" in key)
            for node in nodes
        )
    assert {name: rows for name, rows in handled.items() if rows > 40 * count} == {}


def prepare(connection: psycopg.Connection[Any], name: str) -> list[str]:
    """Prepare the statement; return the names of its parameters, in order."""
    numbers: dict[str, int] = {}
    statement = re.sub(
        r"%\((\w+)\)s",
        lambda found: f"${numbers.setdefault(found[1], len(numbers) + 1)}",
        getattr(statements, name.split(maxsplit=1)[0]),
    )
    connection.execute(f'PREPARE "{name}" AS {statement}')
    return list(numbers)


def execute(
    connection: psycopg.Connection[Any], name: str, places: list[str], given: dict[str, Any]
) -> dict[str, Any]:
    """Return the plan of the prepared statement, as executed."""
    cursor = psycopg.ClientCursor(connection)
    cursor.execute(
        f'EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE "{name}"({", ".join(["%s"] * len(places))})',
        [given[place] for place in places],
    )
    row = cursor.fetchone()
    assert row is not None
    plan: dict[str, Any] = row[0][0]["Plan"]
    return plan


def arguments(
    ids: list[uuid.UUID], task_type: str, task_ids: list[uuid.UUID] | None = None
) -> dict[str, Any]:
    new = [uuid.uuid4() for _ in ids]
    return {
        "session_ids": ids, "task_ids": task_ids or new, "claim_tokens": ids,
        "expected_task_ids": task_ids or new, "worker_ids": new,
        "task_types": [task_type] * len(ids), "contexts": ["{}"] * len(ids),
        "currents": [1] * len(ids), "totals": [1] * len(ids), "messages": ["m"] * len(ids),
        "owner": None, "backoff_seconds": 1.0, "lease_seconds": 30.0,
    }  # fmt: skip


def stand(
    connection: psycopg.Connection[Any], ids: list[uuid.UUID], task: str, lease: str
) -> list[uuid.UUID] | None:
    """Give each session such a task and lease; a claim's token is the session's id."""
    if not task:
        return None
    task_ids = dict(
        connection.execute(
            "INSERT INTO session_tasks (id, session_id, task_type, task_id, status,"
            "   started_at, completed_at, failed_at, failure_context)"
            " SELECT gen_random_uuid(), id, 'processing', gen_random_uuid(), %(status)s::text,"
            "   now(), CASE WHEN %(status)s::text = 'completed' THEN now() END,"
            "   CASE WHEN %(status)s::text = 'failed' THEN now() END,"
            "   CASE WHEN %(status)s::text = 'failed' THEN '{}'::jsonb END"
            " FROM unnest(%(ids)s) AS id RETURNING session_id, task_id",
            {"ids": ids, "status": task},
        ).fetchall()
    )
    if lease:
        connection.execute(
            "INSERT INTO session_task_leases"
            "   (session_id, task_id, task_type, claim_token, claimed_at, leased_until)"
            " SELECT session_id, task_id, task_type, CASE WHEN %(lease)s::text = 'claimed' THEN"
            "   session_id END, now(), now() + interval '1 hour'"
            " FROM session_tasks WHERE session_id = ANY(%(ids)s)",
            {"ids": ids, "lease": lease},
        )
    return [task_ids[each] for each in ids]


def test_nothing_that_moves_has_an_index(database: Database) -> None:
    """Any index, even a partial one, would prevent HOT updates."""
    with database.transaction() as db:
        names = db.scalars(
            text("SELECT indexname FROM pg_indexes WHERE tablename = ANY(:tables)"),
            {"tables": list(HOT_TABLES)},
        ).all()
    assert set(names) == {
        "pk_sessions",
        "ix_sessions_created_at_id",
        "ix_sessions_owner_created_at_id",
        "pk_session_tasks",
        "uq_session_tasks_session_id",
        "pk_session_task_leases",
        "ix_session_task_leases_enqueued_at",
    }
