"""Measurements of Session Tasks alone: table growth, many sessions, an idle worker, a history."""

from __future__ import annotations

import contextlib
import functools
import statistics
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from app.engines.sweeper import Sweeper
from app.repositories.batcher import TransitionBatcher
from benchmarks.race.adapters.session_tasks import in_threads, live, open_database, session_ids
from benchmarks.race.fixtures import RaceServer
from benchmarks.race.workloads import CALLERS, LIVES_PER_SESSION, Figures, ours

TABLES = ["sessions", "session_tasks", "session_task_leases"]
ALONE = "alone"
MANY = "alone_many"


@dataclass(frozen=True, slots=True)
class AloneSize:
    """The size of the measurements.

    Attributes:
        sessions: how many sessions the lives are spread over.
        lives: how many lives, to measure the growth of tables.
        snapshot_seconds: how long an old snapshot is held open.
        many: sessions in the table, besides those that are used.
        pairs: pairs of runs among few and among many sessions.
        reads: reads of one session's state, in each.
        idle_seconds: how long an idle worker is measured.
        checked: sessions in the run that the history checker follows.

    """

    sessions: int
    lives: int
    snapshot_seconds: float
    many: int
    pairs: int
    reads: int
    idle_seconds: int
    checked: int


FULL = AloneSize(1_000, 200_000, 60.0, 1_000_000, 11, 1_700, 60, 2_000)
SHORT = AloneSize(1_000, 12_000, 5.0, 50_000, 3, 170, 10, 200)


def measure(server: RaceServer, size: AloneSize, say: Callable[[str], None]) -> dict[str, Any]:
    """Run all measurements; return their results by name."""
    url = server.fresh(ALONE)
    ours(url, "prepare")
    say("growth")
    figures: dict[str, Any] = {"growth": growth(url, size)}
    say("a history that is checked")
    figures["history"] = ours(checked_url := server.fresh("checked"), "prepare") or ours(
        checked_url, "checked", "--count", size.checked
    )
    server.drop("checked")
    say("an idle worker")
    figures["idle"] = ours(url, "idle", "--count", size.idle_seconds)
    say(f"{size.sessions:,} and {size.many:,} sessions")
    figures["many_sessions"] = many_sessions(server, url, size)
    server.drop(ALONE)
    return figures


def growth(url: str, size: AloneSize) -> dict[str, Any]:
    """Measure bytes and HOT updates after these lives; then while a snapshot is open, and after."""
    ours(url, "plant", "--count", size.sessions)
    ids = session_ids(url)
    with (
        psycopg.connect(url, autocommit=True) as connection,
        open_database(url) as database,
        contextlib.ExitStack() as sweeping,
    ):
        sweeper = Sweeper(database, database.settings)  # it vacuums the leases, as in every worker
        sweeper.start()
        sweeping.callback(sweeper.stop)
        planted = _bytes(connection)
        batcher = TransitionBatcher(database)
        _live(connection, batcher, ids)  # now every session has its row, which later lives update
        connection.execute("SELECT pg_stat_reset()")
        before = _bytes(connection)
        lived = 0
        while lived < size.lives:
            lived += _live(connection, batcher, ids)
        answer: dict[str, Any] = {
            "lives": lived,
            "bytes_planted": planted,
            "bytes_before": before,
            "bytes_after": _bytes(connection),
            "hot_percent": _hot_percent(connection),
        }
        with psycopg.connect(url) as reader:
            reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            reader.execute("SELECT count(*) FROM sessions")
            end, held = time.monotonic() + size.snapshot_seconds, 0
            while time.monotonic() < end:
                held += _live(connection, batcher, ids)
            answer["lives_under_the_snapshot"] = held
            answer["bytes_under_the_snapshot"] = _bytes(connection)
        connection.execute("SELECT pg_stat_reset()")
        for _ in range(4):
            _live(connection, batcher, ids)
        answer["bytes_after_the_snapshot"] = _bytes(connection)
        answer["hot_percent_after_the_snapshot"] = _hot_percent(connection)
        return answer


def _live(
    connection: psycopg.Connection[Any], batcher: TransitionBatcher, ids: Sequence[uuid.UUID]
) -> int:
    """Run three lives of each session, by 64 callers; then reset all sessions."""
    in_threads(CALLERS, ids, functools.partial(live, batcher, uuid.uuid4()))
    connection.execute(
        "UPDATE session_tasks SET task_type = 'processing', status = 'cancelled',"
        " completed_at = NULL"
    )
    return len(ids) * LIVES_PER_SESSION


def _bytes(connection: psycopg.Connection[Any]) -> dict[str, int]:
    """Return the sizes of tables with their indexes."""
    rows = connection.execute(
        "SELECT name, pg_total_relation_size(name::regclass) FROM unnest(%s::text[]) AS name",
        [TABLES],
    )
    return {name: int(size) for name, size in rows}


def _hot_percent(connection: psycopg.Connection[Any]) -> dict[str, float]:
    connection.execute("SELECT pg_stat_force_next_flush()")
    rows = connection.execute(
        "SELECT relname, round(100.0 * n_tup_hot_upd / nullif(n_tup_upd, 0), 2)"
        " FROM pg_stat_user_tables WHERE relname = ANY(%s)",
        [TABLES],
    )
    return {name: float(percent or 0) for name, percent in rows}


def many_sessions(server: RaceServer, url: str, size: AloneSize) -> dict[str, Any]:
    """Run lives of the newest sessions and reads of any, alternately among few and among many.

    A run takes half a second, and two equal ones differ by a fifth: the ratio is the median of many
    pairs.
    """
    urls = {"few": url, "many": server.fresh(MANY)}
    ours(urls["many"], "prepare")
    for its_url in urls.values():
        ours(its_url, "plant", "--count", size.sessions)
    _add_old_sessions(urls["many"], size.many)
    figures = Figures()
    for pair in range(size.pairs):
        for name in sorted(urls, reverse=pair % 2 == 1):
            its_url = urls[name]
            _again(its_url)
            with server.wal():
                done = ours(its_url, "lives", "--callers", CALLERS, "--count", size.sessions)
            reads = ours(its_url, "status-reads", "--count", size.reads)
            figures.add(
                name,
                lives_per_second=done["lives"] / done["seconds"],
                status_read_p50=reads["p50"],
                status_read_p99=reads["p99"],
            )
    server.drop(MANY)
    answer: dict[str, Any] = {**figures.medians()}
    many, few = (figures.values[name]["lives_per_second"] for name in ("many", "few"))
    answer["ratios"] = sorted(one / other for one, other in zip(many, few, strict=True))
    answer["ratio"] = statistics.median(answer["ratios"])
    return answer


def _add_old_sessions(url: str, count: int) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO sessions (id, auto_advance, stage, created_at)"
            " SELECT gen_random_uuid(), false, 'completed', now() - interval '1 day'"
            " FROM generate_series(1, %s)",
            [count],
        )
        connection.execute(
            "INSERT INTO session_tasks (id, session_id, task_type, task_id, status, started_at,"
            " completed_at) SELECT gen_random_uuid(), id, 'adf_validation', gen_random_uuid(),"
            " 'completed', now(), now() FROM sessions WHERE stage = 'completed'"
        )
        connection.execute("VACUUM ANALYZE")


def _again(url: str) -> None:
    """Reset the newest sessions."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "DELETE FROM session_tasks USING sessions WHERE sessions.id = session_id"
            " AND sessions.created_at > now() - interval '12 hours'"
        )
        connection.execute("VACUUM session_tasks")
