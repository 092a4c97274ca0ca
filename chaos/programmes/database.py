"""The database dies, its connections are cut at the worst moment, it says nothing, it is full."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from sqlalchemy import make_url

from app.core.database import Database
from app.core.embedded import EmbeddedServer
from app.core.errors import (
    DatabaseBusy,
    DatabaseUnavailable,
    TaskConflict,
    TaskValidationError,
)
from app.engines.worker import Worker
from app.models.session import TaskType
from app.repositories import transitions
from app.repositories.combiner import TransitionCombiner
from app.repositories.session_repository import SessionRepository
from app.repositories.transition_errors import unwrap
from app.repositories.transitions import Transition
from chaos.arena import LEASE_SECONDS, LOCK_SECONDS, Arena, Verdict
from chaos.history import RESCUED, Acknowledged
from chaos.proxy import Proxy
from chaos.waiting import until

LIVE_SESSIONS = 12
STARTERS = 4
MOSTLY_COMMITS = {
    "before COMMIT": 6, "after COMMIT": 6, "before a statement": 0.7, "after a statement": 0.7,
}  # fmt: skip
MOSTLY_STATEMENTS = {
    "before COMMIT": 3.0, "after COMMIT": 3.0, "before a statement": 3.0, "after a statement": 3.0,
}  # fmt: skip
"""How many of 100 requests are cut."""
SHARE_OF_STARTS_ALONE = 0.5
LOCKERS = 4
LOCKS: dict[str, tuple[Callable[[psycopg.Connection[Any], UUID], object], float]] = {
    "a row lock": (
        lambda holder, session_id: holder.execute(
            "SELECT FROM sessions WHERE id = %s FOR UPDATE", [session_id]
        ),
        2 * LOCK_SECONDS,
    ),
    "a cancel, taken back": (
        lambda holder, session_id: transitions.cancel(holder, [(session_id, None)]),
        LEASE_SECONDS / 3,
    ),
    "a deletion, taken back": (
        lambda holder, session_id: holder.execute(
            "DELETE FROM sessions WHERE id = %s", [session_id]
        ),
        LEASE_SECONDS / 3,
    ),
}
"""How a session is locked, and how long at most: a lease that is locked cannot be renewed."""

POSTMASTER = "postgresql/cluster/postmaster.pid"


@contextlib.contextmanager
def _load(arena: Arena, database: Database) -> Iterator[Callable[[], int]]:
    """Sessions started all the time by somebody whose connection is no better than the workers'.

    Gives a function that answers how many starts were left in doubt.
    """
    stopped = threading.Event()
    doubtful = 0

    def keep_starting() -> None:
        nonlocal doubtful
        while not stopped.wait(0.05):
            try:
                if arena.live_count() < LIVE_SESSIONS:
                    arena.start(
                        auto_advance=True,
                        seconds=arena.random.uniform(0, 0.2),
                        database=database,
                    )
            except (DatabaseUnavailable, DatabaseBusy):
                doubtful += 1
            except Exception as error:
                if "OperationalError" not in repr(error):  # live_count asks past our translation
                    raise

    thread = threading.Thread(target=keep_starting, name="load")
    thread.start()
    try:
        yield lambda: doubtful
    finally:
        stopped.set()
        thread.join()


def restarts(arena: Arena, server: EmbeddedServer, folder: Path, *, times: int) -> Verdict:
    """Kill the server as `pg_ctl -m immediate` does, under load; leases vanish every time."""
    workers = [arena.worker().until_started() for _ in range(2)]
    rebuilt = 0
    away: list[float] = []
    with _load(arena, arena.database) as doubtful:
        for _ in range(times):
            if arena.is_time_up:
                break
            until(lambda: _claimed(arena) >= 2, "work is under way")
            time.sleep(arena.random.uniform(0, 0.3))
            postmaster = int((folder / POSTMASTER).read_text().splitlines()[0])
            before = arena.rows("SELECT clock_timestamp()")[0][0]
            began = time.monotonic()
            os.kill(postmaster, signal.SIGQUIT)
            until(lambda p=postmaster: not Path(f"/proc/{p}").exists(), "the server dies")  # type: ignore[misc]
            server.ensure_running()
            until(
                lambda b=before: arena.rows(  # type: ignore[misc]
                    "SELECT 1 FROM session_task_lease_sentinel WHERE created_at > :b", b=b
                ),
                "leases are rebuilt",
            )
            rebuilt += 1
            away.append(time.monotonic() - began)
    broken = arena.broken()
    broken += [f"{w.log.name} ended: {w.process.poll()}" for w in workers if not w.is_alive]
    return Verdict(
        "immediate restarts",
        f"{rebuilt} restarts under load",
        {
            "leases lost and rebuilt": f"{rebuilt} times",
            "from kill to rebuilt": f"max {max(away):.1f} s",
            "runs completed": str(arena.outcome_counts().get("completed", 0)),
            "starts left in doubt": str(doubtful()),
        },
        broken,
    )


def _claimed(arena: Arena) -> int:
    try:
        return int(
            arena.rows("SELECT count(*) FROM session_task_leases WHERE claim_token IS NOT NULL")[0][
                0
            ]
        )
    except Exception as error:
        if "OperationalError" not in repr(error):
            raise
        return 0


@contextlib.contextmanager
def _proxied(arena: Arena) -> Iterator[tuple[Proxy, str]]:
    """A proxy in front of the arena's database, and the URL that leads through it."""
    parsed = make_url(arena.url)
    path = f"{parsed.query['host']}/.s.PGSQL.{parsed.query.get('port', '5432')}"
    with Proxy(path, arena.random.randrange(1 << 30)) as proxy:
        yield (
            proxy,
            f"postgresql+psycopg://{parsed.username}@127.0.0.1:{proxy.port}/{parsed.database}",
        )


def cut_connections(arena: Arena, *, cuts: int, silences: int) -> Verdict:
    """Cut connections before and after COMMIT and around other statements; then say nothing."""
    with _proxied(arena) as (proxy, url):
        by_proxy = {
            "SESSION_TASKS_DATABASE_URL": url,
            "SESSION_TASKS_STATEMENT_TIMEOUT_SECONDS": "1",
        }
        workers = [arena.worker(environment=by_proxy).until_started() for _ in range(2)]
        silent: list[float] = []
        with Database(arena.settings_for(url), url) as database, _load(arena, database) as doubtful:
            proxy.cut_share = MOSTLY_COMMITS
            until(
                lambda: _cuts(proxy) >= cuts or arena.is_time_up,
                f"{cuts} connections are cut",
                60 + cuts * 2,
            )
            proxy.cut_share = {}
            for _ in range(silences):
                began = time.monotonic()
                completed = arena.outcome_counts().get("completed", 0)
                proxy.silence()
                until(
                    lambda c=completed: arena.outcome_counts().get("completed", 0) >= c + 6,  # type: ignore[misc]
                    "work goes on after the silence",
                )
                silent.append(time.monotonic() - began)
        broken = arena.broken()
        broken += [f"{w.log.name} ended: {w.process.poll()}" for w in workers if not w.is_alive]
    kinds = ", ".join(f"{kind} {proxy.counts[kind]}" for kind in Proxy.KINDS)
    figures = {
        "cut": kinds,
        "connections that went silent": str(proxy.counts["silenced"]),
        "runs completed": str(arena.outcome_counts().get("completed", 0)),
        "starts left in doubt": str(doubtful()),
    }
    if silent:
        figures["until 6 more runs were done after a silence"] = f"max {max(silent):.1f} s"
    return Verdict("cut connections", f"{_cuts(proxy)} cuts, {silences} silences", figures, broken)


def local_starts(arena: Arena, *, starts: int) -> Verdict:
    """Start tasks beside the worker that is handed them, over connections that are cut."""
    with (
        _proxied(arena) as (proxy, url),
        Database(arena.settings_for(url), url) as database,
        Worker(database, database.settings, concurrency=STARTERS, threads=True) as worker,
        ThreadPoolExecutor(STARTERS) as starters,
    ):
        until(lambda: worker.idle_slot_count == STARTERS, "the worker is idle")
        proxy.cut_share = MOSTLY_STATEMENTS
        combiner = TransitionCombiner(database)
        doubts = list(starters.map(lambda _: _start_for_sure(arena, combiner), range(starts)))
        proxy.cut_share = {}
        broken = arena.broken()
    figures = {
        "starts left in doubt": str(sum(doubts)),
        "runs that were lost and rescued": str(arena.outcome_counts().get("failed", 0)),
        "as the worker counts them": ", ".join(
            f"{name} {count}" for name, count in sorted(worker.outcome_counts.items())
        ),
    }
    begun = sum(arena.outcome_counts().get(name, 0) for name in ("completed", "failed"))
    return Verdict("local starts", f"{begun} runs, {_cuts(proxy)} cuts", figures, broken)


def named_sessions(arena: Arena, *, rounds: int) -> Verdict:
    """Run named sessions to their ends, as `run` does, over connections that are cut."""
    with _proxied(arena) as (proxy, url):
        for _ in range(rounds):
            if arena.is_time_up:
                break
            proxy.cut_share = {}
            named = [arena.start(auto_advance=True, seconds=0) for _ in range(STARTERS)]
            with (
                Database(arena.settings_for(url), url) as database,
                Worker(
                    database,
                    database.settings,
                    concurrency=STARTERS,
                    threads=True,
                    session_ids=named,
                ),
            ):
                proxy.cut_share = MOSTLY_STATEMENTS
                arena.settle()
        broken = arena.broken()
    counts = arena.outcome_counts()
    failed = counts.get("failed", 0)
    lost = arena.rows(
        "SELECT count(*) FROM history_tasks"
        " WHERE new_status = 'failed' AND starts_with(message, :rescued)",
        rescued=RESCUED,
    )[0][0]
    figures = {
        "runs completed": str(counts.get("completed", 0)),
        "runs that were lost and rescued": str(lost),
        "runs whose handler was cut off, and tried again": str(failed - lost),
    }
    sessions = arena.rows("SELECT count(*) FROM sessions")[0][0]
    return Verdict("named sessions", f"{sessions} sessions, {_cuts(proxy)} cuts", figures, broken)


def locked_sessions(arena: Arena, *, locks: int) -> Verdict:
    """Lock sessions whose tasks run, as an open transaction or a console that was left does.

    No run may be lost by that, and the others must go on meanwhile.
    """
    workers = [arena.worker().until_started() for _ in range(2)]
    url = make_url(arena.url).set(drivername="postgresql").render_as_string(hide_password=False)
    held: Counter[str] = Counter()
    broken: list[str] = []

    def lock_one(number: int) -> None:
        if arena.is_time_up:
            return
        way, (lock, longest) = list(LOCKS.items())[number % len(LOCKS)]
        seconds = arena.random.uniform(0, longest)
        with psycopg.connect(url) as holder:
            session_id = until(lambda: _running(holder), "a task runs")
            lock(holder, session_id)
            before = _completed_elsewhere(arena, session_id)
            time.sleep(seconds)
            if seconds > 1 and _completed_elsewhere(arena, session_id) == before:
                broken.append(f"nothing was completed while {session_id} was locked: {seconds} s")
            holder.rollback()
        held[way] += 1

    with _load(arena, arena.database), ThreadPoolExecutor(LOCKERS) as lockers:
        list(lockers.map(lock_one, range(locks)))
    broken += arena.broken()
    broken += [
        f"{row.session_id} failed for a lock: {row.message}"
        for row in arena.rows(
            "SELECT session_id, message FROM history_tasks WHERE new_status = 'failed'"
        )
    ]
    broken += [f"{w.log.name} ended: {w.process.poll()}" for w in workers if not w.is_alive]
    figures = {
        "held": ", ".join(f"{way} {count}" for way, count in held.items()),
        "runs completed": str(arena.outcome_counts().get("completed", 0)),
    }
    return Verdict("locked sessions", f"{held.total()} locks", figures, broken)


def _running(connection: psycopg.Connection[Any]) -> UUID | None:
    """A session whose task runs; any."""
    row = connection.execute(
        "SELECT session_id FROM session_tasks WHERE status = 'running' ORDER BY random() LIMIT 1"
    ).fetchone()
    connection.rollback()
    return None if row is None else row[0]


def _completed_elsewhere(arena: Arena, session_id: UUID) -> int:
    row = arena.rows(
        "SELECT count(*) FROM history_tasks WHERE new_status = 'completed' AND session_id <> :id",
        id=session_id,
    )[0]
    return int(row[0])


def _start_for_sure(arena: Arena, combiner: TransitionCombiner) -> int:
    """Start a session's task, again for as long as that is in doubt; answers how often it was."""
    if arena.is_time_up:
        return 0
    with arena.database.transaction() as db:
        options = {"behaviour": "work", "seconds": 0}
        session_id = SessionRepository(db).create_session(options=options, auto_advance=False).id
    for doubts in itertools.count():
        try:
            moved = _start_some_way(arena, combiner, session_id)
        except (DatabaseUnavailable, DatabaseBusy):
            continue
        except (TaskConflict, TaskValidationError):  # it had begun, or has ended by now
            return doubts
        arena.acknowledged.append(Acknowledged("started", moved.session_id, moved.task_id))
        return doubts
    raise AssertionError


def _start_some_way(arena: Arena, combiner: TransitionCombiner, session_id: UUID) -> Transition:
    if arena.random.random() < SHARE_OF_STARTS_ALONE:
        return combiner.start_task(session_id, TaskType.PROCESSING)
    (outcome,) = combiner.start_tasks([(session_id, TaskType.PROCESSING)])
    return unwrap(outcome)


def _cuts(proxy: Proxy) -> int:
    return sum(proxy.counts[kind] for kind in Proxy.KINDS)


def terminated_backends(arena: Arena, *, backends: int) -> Verdict:
    """`pg_terminate_backend` on whatever the workers have open."""
    workers = [arena.worker().until_started() for _ in range(2)]
    ended = 0
    with _load(arena, arena.database):
        while ended < backends and not arena.is_time_up:
            ended += len([row for row in _terminate_one(arena) if row[0]])
            time.sleep(arena.random.uniform(0, 0.1))
    broken = arena.broken()
    broken += [f"{w.log.name} ended: {w.process.poll()}" for w in workers if not w.is_alive]
    completed = arena.outcome_counts().get("completed", 0)
    return Verdict(
        "terminated backends", f"{ended} backends", {"runs completed": str(completed)}, broken
    )


def _terminate_one(arena: Arena) -> list[tuple[bool]]:
    with arena.database.driver_connection() as connection:
        return connection.execute(
            "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity"
            " WHERE application_name = 'session-tasks' AND datname = current_database()"
            " AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1) AS one"
        ).fetchall()


def exhausted_pool(arena: Arena, *, sessions: int) -> Verdict:
    """Eight tasks at a time, whose outcomes must all go through one connection."""
    arena.worker("--threads", "--concurrency", "8", environment={"SESSION_TASKS_POOL_SIZE": "1"})
    for _ in range(sessions):
        arena.start(auto_advance=True, seconds=0)
    broken = arena.broken()
    counts = arena.outcome_counts()
    if counts.get("failed"):
        broken.append(f"{counts['failed']} runs failed for want of a connection")
    completed = str(counts.get("completed", 0))
    return Verdict("pool exhausted", f"{sessions} sessions", {"runs completed": completed}, broken)
