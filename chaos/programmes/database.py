"""Database faults: connections cut at the worst moment, locked rows, a silent server."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import psycopg
from sqlalchemy import make_url

from app.core.database import Database
from app.core.errors import (
    DatabaseBusy,
    DatabaseUnavailable,
    TaskConflict,
    TaskValidationError,
)
from app.engines.worker import Worker
from app.models.session import TaskType
from app.repositories import transitions
from app.repositories.batcher import TransitionBatcher
from app.repositories.session_repository import SessionRepository
from app.repositories.transition_errors import unwrap
from app.repositories.transitions import Transition
from chaos.history import RESCUED, Acknowledged
from chaos.proxy import Proxy
from chaos.rig import LEASE_SECONDS, LOCK_SECONDS, Rig, Verdict
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
    "a cancel, rolled back": (
        lambda holder, session_id: transitions.cancel(holder, [(session_id, None)]),
        LEASE_SECONDS / 3,
    ),
    "a deletion, rolled back": (
        lambda holder, session_id: holder.execute(
            "DELETE FROM sessions WHERE id = %s", [session_id]
        ),
        LEASE_SECONDS / 3,
    ),
}
"""How a session is locked, and how long at most: a lease that is locked cannot be renewed."""


@contextlib.contextmanager
def load(
    rig: Rig,
    database: Database,
    choose: Callable[[], Mapping[str, Any]] = dict,
    *,
    live: int = LIVE_SESSIONS,
) -> Iterator[Callable[[], int]]:
    """Start sessions all the time, over connections that are cut like the workers'.

    Each has the options that `choose` returns. Yields a function that returns how many starts were
    in doubt.
    """
    stopped = threading.Event()
    doubtful = 0

    def keep_starting() -> None:
        nonlocal doubtful
        while not stopped.wait(0.05):
            try:
                if rig.live_count() < live:
                    rig.start(
                        auto_advance=True,
                        seconds=rig.random.uniform(0, 0.2),
                        database=database,
                        **choose(),
                    )
            except (DatabaseUnavailable, DatabaseBusy):
                doubtful += 1
            except Exception as error:
                if "OperationalError" not in repr(error):  # live_count's errors are not translated
                    raise

    thread = threading.Thread(target=keep_starting, name="load")
    thread.start()
    try:
        yield lambda: doubtful
    finally:
        stopped.set()
        thread.join()


@contextlib.contextmanager
def proxied(rig: Rig) -> Iterator[tuple[Proxy, str]]:
    """Yield a proxy in front of the rig's database, and the URL through it."""
    parsed = make_url(rig.url)
    path = f"{parsed.query['host']}/.s.PGSQL.{parsed.query.get('port', '5432')}"
    with Proxy(path, rig.random.randrange(1 << 30)) as proxy:
        yield (
            proxy,
            f"postgresql+psycopg://{parsed.username}@127.0.0.1:{proxy.port}/{parsed.database}",
        )


def cut_connections(rig: Rig, *, cuts: int, silences: int) -> Verdict:
    """Cut connections before and after COMMIT and around other statements; then be silent."""
    with proxied(rig) as (proxy, url):
        by_proxy = {
            "SESSION_TASKS_DATABASE_URL": url,
            "SESSION_TASKS_STATEMENT_TIMEOUT_SECONDS": "1",
        }
        workers = [rig.worker(environment=by_proxy).until_started() for _ in range(2)]
        silent: list[float] = []
        with (
            Database(rig.settings_for(url), url) as database,
            load(rig, database) as doubtful,
        ):
            proxy.cut_share = MOSTLY_COMMITS
            until(
                lambda: cut_count(proxy) >= cuts or rig.is_time_up,
                f"{cuts} connections are cut",
                60 + cuts * 2,
            )
            proxy.cut_share = {}
            for _ in range(silences):
                began = time.monotonic()
                completed = rig.outcome_counts().get("completed", 0)
                proxy.silence()
                until(
                    lambda c=completed: rig.outcome_counts().get("completed", 0) >= c + 6,  # type: ignore[misc]
                    "work goes on after the silence",
                )
                silent.append(time.monotonic() - began)
        broken = rig.broken()
        broken += [f"{w.log.name} ended: {w.process.poll()}" for w in workers if not w.is_alive]
    kinds = ", ".join(f"{kind} {proxy.counts[kind]}" for kind in Proxy.KINDS)
    figures = {
        "cut": kinds,
        "connections that went silent": str(proxy.counts["silenced"]),
        "runs completed": str(rig.outcome_counts().get("completed", 0)),
        "starts left in doubt": str(doubtful()),
    }
    if silent:
        figures["until 6 more runs were done after a silence"] = f"max {max(silent):.1f} s"
    return Verdict(
        "cut connections", f"{cut_count(proxy)} cuts, {silences} silences", figures, broken
    )


def local_starts(rig: Rig, *, starts: int) -> Verdict:
    """Start tasks in the process of the worker that runs them, over connections that are cut."""
    with (
        proxied(rig) as (proxy, url),
        Database(rig.settings_for(url), url) as database,
        Worker(database, database.settings, concurrency=STARTERS, threads=True) as worker,
        ThreadPoolExecutor(STARTERS) as starters,
    ):
        until(lambda: worker.idle_slot_count == STARTERS, "the worker is idle")
        proxy.cut_share = MOSTLY_STATEMENTS
        batcher = TransitionBatcher(database)
        doubts = list(starters.map(lambda _: _start_for_sure(rig, batcher), range(starts)))
        proxy.cut_share = {}
        broken = rig.broken()
    figures = {
        "starts left in doubt": str(sum(doubts)),
        "runs that were lost and rescued": str(rig.outcome_counts().get("failed", 0)),
        "as the worker counts them": ", ".join(
            f"{name} {count}" for name, count in sorted(worker.outcome_counts.items())
        ),
    }
    begun = sum(rig.outcome_counts().get(name, 0) for name in ("completed", "failed"))
    return Verdict("local starts", f"{begun} runs, {cut_count(proxy)} cuts", figures, broken)


def named_sessions(rig: Rig, *, rounds: int) -> Verdict:
    """Run named sessions to their end, as `run` does, over connections that are cut."""
    with proxied(rig) as (proxy, url):
        for _ in range(rounds):
            if rig.is_time_up:
                break
            proxy.cut_share = {}
            named = [rig.start(auto_advance=True, seconds=0) for _ in range(STARTERS)]
            with (
                Database(rig.settings_for(url), url) as database,
                Worker(
                    database,
                    database.settings,
                    concurrency=STARTERS,
                    threads=True,
                    session_ids=named,
                ),
            ):
                proxy.cut_share = MOSTLY_STATEMENTS
                rig.settle()
        broken = rig.broken()
    counts = rig.outcome_counts()
    failed = counts.get("failed", 0)
    lost = rig.rows(
        "SELECT count(*) FROM history_tasks"
        " WHERE new_status = 'failed' AND starts_with(message, :rescued)",
        rescued=RESCUED,
    )[0][0]
    figures = {
        "runs completed": str(counts.get("completed", 0)),
        "runs that were lost and rescued": str(lost),
        "runs whose handler was interrupted, and retried": str(failed - lost),
    }
    sessions = rig.rows("SELECT count(*) FROM sessions")[0][0]
    return Verdict(
        "named sessions", f"{sessions} sessions, {cut_count(proxy)} cuts", figures, broken
    )


def locked_sessions(rig: Rig, *, locks: int) -> Verdict:
    """Lock sessions with running tasks, as an open transaction or a forgotten console does.

    No run may be lost by that, and other sessions must continue meanwhile.
    """
    workers = [rig.worker().until_started() for _ in range(2)]
    url = make_url(rig.url).set(drivername="postgresql").render_as_string(hide_password=False)
    held: Counter[str] = Counter()
    broken: list[str] = []

    def lock_one(number: int) -> None:
        if rig.is_time_up:
            return
        way, (lock, longest) = list(LOCKS.items())[number % len(LOCKS)]
        seconds = rig.random.uniform(0, longest)
        with psycopg.connect(url) as holder:
            session_id = until(lambda: _running(holder), "a task runs")
            lock(holder, session_id)
            before = _completed_elsewhere(rig, session_id)
            time.sleep(seconds)
            if seconds > 1 and _completed_elsewhere(rig, session_id) == before:
                broken.append(f"nothing was completed while {session_id} was locked: {seconds} s")
            holder.rollback()
        held[way] += 1

    with load(rig, rig.database), ThreadPoolExecutor(LOCKERS) as lockers:
        list(lockers.map(lock_one, range(locks)))
    broken += rig.broken()
    broken += [
        f"{row.session_id} failed for a lock: {row.message}"
        for row in rig.rows(
            "SELECT session_id, message FROM history_tasks WHERE new_status = 'failed'"
        )
    ]
    broken += [f"{w.log.name} ended: {w.process.poll()}" for w in workers if not w.is_alive]
    figures = {
        "held": ", ".join(f"{way} {count}" for way, count in held.items()),
        "runs completed": str(rig.outcome_counts().get("completed", 0)),
    }
    return Verdict("locked sessions", f"{held.total()} locks", figures, broken)


def _running(connection: psycopg.Connection[Any]) -> UUID | None:
    """Return any session whose task is running."""
    row = connection.execute(
        "SELECT session_id FROM session_tasks WHERE status = 'running' ORDER BY random() LIMIT 1"
    ).fetchone()
    connection.rollback()
    return None if row is None else row[0]


def _completed_elsewhere(rig: Rig, session_id: UUID) -> int:
    row = rig.rows(
        "SELECT count(*) FROM history_tasks WHERE new_status = 'completed' AND session_id <> :id",
        id=session_id,
    )[0]
    return int(row[0])


def _start_for_sure(rig: Rig, batcher: TransitionBatcher) -> int:
    """Start a session's task, and repeat that while it is in doubt; return how often it was."""
    if rig.is_time_up:
        return 0
    with rig.database.transaction() as db:
        options = {"behaviour": "work", "seconds": 0}
        session_id = SessionRepository(db).create_session(options=options, auto_advance=False).id
    for doubts in itertools.count():
        try:
            moved = _start_some_way(rig, batcher, session_id)
        except (DatabaseUnavailable, DatabaseBusy):
            continue
        except (TaskConflict, TaskValidationError):  # it had begun, or has ended by now
            return doubts
        rig.acknowledged.append(Acknowledged("started", moved.session_id, moved.task_id))
        return doubts
    raise AssertionError


def _start_some_way(rig: Rig, batcher: TransitionBatcher, session_id: UUID) -> Transition:
    if rig.random.random() < SHARE_OF_STARTS_ALONE:
        return batcher.start_task(session_id, TaskType.PROCESSING)
    (outcome,) = batcher.start_tasks([(session_id, TaskType.PROCESSING)])
    return unwrap(outcome)


def cut_count(proxy: Proxy) -> int:
    return sum(proxy.counts[kind] for kind in Proxy.KINDS)


def terminated_backends(rig: Rig, *, backends: int) -> Verdict:
    """Call `pg_terminate_backend` on the workers' connections."""
    workers = [rig.worker().until_started() for _ in range(2)]
    ended = 0
    with load(rig, rig.database):
        while ended < backends and not rig.is_time_up:
            ended += len([row for row in _terminate_one(rig) if row[0]])
            time.sleep(rig.random.uniform(0, 0.1))
    broken = rig.broken()
    broken += [f"{w.log.name} ended: {w.process.poll()}" for w in workers if not w.is_alive]
    completed = rig.outcome_counts().get("completed", 0)
    return Verdict(
        "terminated backends", f"{ended} backends", {"runs completed": str(completed)}, broken
    )


def _terminate_one(rig: Rig) -> list[tuple[bool]]:
    with rig.database.driver_connection() as connection:
        return connection.execute(
            "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity"
            " WHERE application_name = 'session-tasks' AND datname = current_database()"
            " AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1) AS one"
        ).fetchall()


def exhausted_pool(rig: Rig, *, sessions: int) -> Verdict:
    """Run eight tasks at a time, whose outcomes must all be written over one connection."""
    rig.worker("--threads", "--concurrency", "8", environment={"SESSION_TASKS_POOL_SIZE": "1"})
    for _ in range(sessions):
        rig.start(auto_advance=True, seconds=0)
    broken = rig.broken()
    counts = rig.outcome_counts()
    if counts.get("failed"):
        broken.append(f"{counts['failed']} runs failed for lack of a connection")
    completed = str(counts.get("completed", 0))
    return Verdict("pool exhausted", f"{sessions} sessions", {"runs completed": completed}, broken)
