"""Session Tasks itself, as shipped: its batcher, its repository, its worker.

It has the protocol's acts and a few more. Sessions exist before anything is timed, as they do when
users start them; a drain ends when the last outcome is committed.

One file of more than 450 lines: one function for each act.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import os
import queue
import random
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psutil
import psycopg
from chaos import history
from pydantic import SecretStr

from app.core.config import Settings
from app.core.database import Database
from app.core.schema_version import upgrade_schema
from app.engines.memory import collect_garbage_seldom
from app.engines.worker import Worker
from app.models.session import TaskType
from app.repositories import transitions
from app.repositories.batcher import AsyncTransitionBatcher, TransitionBatcher
from app.repositories.session_repository import SessionRepository
from benchmarks.race.adapters.protocol import (
    SECONDS_TO_REST,
    SEED,
    WARM_UPS,
    quantiles,
    worker_process,
)

MODULE = "benchmarks.race.adapters.session_tasks"
CONCURRENCY = 64
PROCESSES = 2
PIPE = "RACE_PIPE"
LIVES = tuple(TaskType)
PATIENCE_SECONDS = 300.0


def nothing(_context: object) -> None:
    """Do nothing, but write the start time to the pipe, if there is one."""
    pipe = _pipe()
    if pipe is not None:
        os.write(pipe, b"%d\n" % time.monotonic_ns())


@functools.cache
def _pipe() -> int | None:
    path = os.environ.get(PIPE)
    return None if path is None else os.open(path, os.O_WRONLY)


def open_database(url: str) -> Database:
    """Open the database as the product does, with default settings except the handlers."""
    handlers = ",".join(f"{each.value}={MODULE}:nothing" for each in TaskType)
    return Database.open(Settings(database_url=SecretStr(url), handlers=handlers))


def plant(url: str, count: int) -> None:
    """Insert this many sessions that do not advance automatically, and delete all others."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DELETE FROM sessions")
        connection.execute(
            "INSERT INTO sessions (id, auto_advance)"
            " SELECT gen_random_uuid(), false FROM generate_series(1, %s)",
            [count],
        )
        connection.execute("VACUUM ANALYZE")


def session_ids(url: str) -> list[uuid.UUID]:
    """Return the ids of all sessions, the newest first."""
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT id FROM sessions ORDER BY created_at DESC")
        return [row[0] for row in rows]


def in_threads(count: int, inputs: Sequence[Any], act: Callable[[Any], object]) -> dict[str, float]:
    """Call `act` for every input in `count` threads; return wall clock and CPU of this process."""
    left: Iterator[Any] = iter(inputs)
    failures: list[BaseException] = []

    def call() -> None:
        try:
            for each in left:
                act(each)
        except BaseException as error:  # noqa: BLE001 - raised below
            failures.append(error)

    threads = [threading.Thread(target=call) for _ in range(count)]
    begun, cpu = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    if failures:
        raise failures[0]
    return {"seconds": seconds, "cpu_seconds": cpu}


def lives(url: str, ids: Sequence[uuid.UUID], callers: int) -> dict[str, float]:
    """Run each session's three tasks: start, claim, complete, each returned after its commit."""
    worker_id = uuid.uuid4()
    with open_database(url) as database:
        act = functools.partial(live, TransitionBatcher(database), worker_id)
        return in_threads(callers, ids, act) | {"lives": len(ids) * len(LIVES)}


def lives_in_a_loop(url: str, ids: Sequence[uuid.UUID], callers: int) -> dict[str, float]:
    """Do the same with callers in one event loop, as the peers' are."""
    worker_id = uuid.uuid4()
    left = iter(ids)

    async def call(batcher: AsyncTransitionBatcher) -> None:
        for session_id in left:
            for task_type in LIVES:
                started = await batcher.start_task(session_id, task_type)
                claim = await batcher.claim_task(session_id, started.task_id, worker_id)
                assert claim is not None
                await batcher.complete_task(claim)

    async def call_all(batcher: AsyncTransitionBatcher) -> dict[str, float]:
        begun, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(call(batcher) for _ in range(callers)))
        return {
            "seconds": time.perf_counter() - begun,
            "cpu_seconds": time.process_time() - cpu,
            "lives": len(ids) * len(LIVES),
        }

    with open_database(url) as database:
        batcher = AsyncTransitionBatcher(database)
        answer = asyncio.run(call_all(batcher))
        batcher.close()
        return answer


def live(batcher: TransitionBatcher, worker_id: uuid.UUID, session_id: uuid.UUID) -> None:
    """Run one session's three tasks."""
    for task_type in LIVES:
        started = batcher.start_task(session_id, task_type)
        claim = batcher.claim_task(session_id, started.task_id, worker_id)
        assert claim is not None
        batcher.complete_task(claim)


def lives_in_transactions(url: str, ids: Sequence[uuid.UUID], callers: int) -> dict[str, float]:
    """Do the same, each transition in a transaction of its caller."""
    worker_id = uuid.uuid4()
    with open_database(url) as database:

        def live(session_id: uuid.UUID) -> None:
            for task_type in LIVES:
                with database.transaction() as db:
                    started = SessionRepository(db).start_task(session_id, task_type)
                with database.transaction() as db:
                    claim = SessionRepository(db).claim_task(session_id, started.task_id, worker_id)
                assert claim is not None
                with database.transaction() as db:
                    SessionRepository(db).complete_task(claim)

        return in_threads(callers, ids, live) | {"lives": len(ids) * len(LIVES)}


def singles(url: str, callers: int) -> dict[str, float]:
    """Start each session once."""
    with open_database(url) as database:
        batcher = TransitionBatcher(database)
        return in_threads(
            callers, session_ids(url), lambda each: batcher.start_task(each, TaskType.PROCESSING)
        )


def whole(url: str, ids: Sequence[uuid.UUID], how: str) -> dict[str, float]:
    """Start all sessions by one call, for a running worker in a process of its own.

    From the call until the last outcome is committed; a first task shows that the worker runs.
    """
    command = (MODULE, f"finish-{how}", "--url", url, "--count", str(len(ids)))
    with open_database(url) as database, worker_process(*command) as next_moment:
        batcher = TransitionBatcher(database)
        collect_garbage_seldom()  # as the command `serve` does
        batcher.start_task(ids[0], TaskType.PROCESSING)
        next_moment()
        time.sleep(SECONDS_TO_REST)
        begun = time.monotonic_ns()
        outcomes = batcher.start_tasks([(each, TaskType.PROCESSING) for each in ids[1:]])
        assert all(isinstance(outcome, transitions.Transition) for outcome in outcomes)
        return {"seconds": (next_moment() - begun) / 1e9}


def finish(url: str, count: int, *, threads: bool) -> None:
    """Run the worker of `whole`: print when the first task has ended, and when the last."""
    slots = CONCURRENCY if threads else PROCESSES
    with open_database(url) as database:
        worker = Worker(database, database.settings, concurrency=slots, threads=threads)
        collect_garbage_seldom()  # as the command `worker` does
        worker.start()
        for some in (1, count):
            _wait_for(worker, some)
            os.write(1, b"%d\n" % time.monotonic_ns())
        worker.stop()


def _wait_for(worker: Worker, count: int) -> None:
    """Wait, with short polls, until the worker has completed this many."""
    latest = time.monotonic() + PATIENCE_SECONDS
    while worker.outcome_counts["completed"] < count:
        if time.monotonic() > latest:
            raise TimeoutError(str(worker.outcome_counts))
        time.sleep(0.002)


def bulk_and_drain(url: str, ids: Sequence[uuid.UUID], *, threads: bool = True) -> dict[str, float]:
    """Start all sessions by one call, in one transaction, for one running worker.

    The drain begins with the commit, and ends with that of the last outcome.
    """
    starts = [(each, TaskType.PROCESSING) for each in ids]
    slots = CONCURRENCY if threads else PROCESSES
    with open_database(url) as database:
        worker = Worker(database, database.settings, concurrency=slots, threads=threads)
        collect_garbage_seldom()  # as the command `worker` does
        worker.start()
        while worker.idle_slot_count < slots:
            time.sleep(0.01)
        me = psutil.Process()
        begun = time.perf_counter()
        with database.transaction() as db:
            SessionRepository(db).start_tasks(starts)
        committed, cpu = time.perf_counter(), _cpu_of(me)
        _wait_for(worker, len(starts))
        answer = {
            "bulk_seconds": committed - begun,
            "drain_seconds": time.perf_counter() - committed,
            "cpu_seconds": _cpu_of(me) - cpu,
        }
        worker.stop()
        return answer


def _cpu_of(process: psutil.Process) -> float:
    everyone = [process, *process.children(recursive=True)]
    return sum(sum(each.cpu_times()[:2]) for each in everyone)


def pickup(url: str, count: int, how: str) -> dict[str, float]:
    """Measure the time from a start's commit to its handler's start, on a quiet system.

    The commit is the moment when the driver has the statement's result: the call itself announces
    the start before it returns, and a handler may begin meanwhile.
    """
    source = random.Random(SEED)
    read, write = os.pipe()
    os.set_inheritable(write, True)
    os.environ[PIPE] = f"/proc/{os.getpid()}/fd/{write}"
    moments: queue.SimpleQueue[int] = queue.SimpleQueue()

    def listen() -> None:
        with os.fdopen(read) as lines:
            for line in lines:
                moments.put(int(line))

    threading.Thread(target=listen, daemon=True).start()
    latencies = []
    committed = _note_commits_of_starts()
    with open_database(url) as database:
        batcher = TransitionBatcher(database)
        worker: Worker | None = None
        process: subprocess.Popen[bytes] | None = None
        if how == "same-process":
            worker = Worker(database, database.settings, concurrency=4, threads=True)
            worker.start()
        else:
            process = subprocess.Popen([sys.executable, "-m", MODULE, f"serve-{how}", "--url", url])
        try:
            for number, session_id in enumerate(session_ids(url)[: WARM_UPS + count]):
                batcher.start_task(session_id, TaskType.PROCESSING)
                moment = moments.get(timeout=PATIENCE_SECONDS)
                if number >= WARM_UPS:
                    latencies.append((moment - committed[-1]) / 1e6)
                time.sleep(source.uniform(0.02, 0.08))
        finally:
            if worker is not None:
                worker.stop()
            if process is not None:
                process.terminate()
                process.wait()
    return quantiles(latencies)


def _note_commits_of_starts() -> list[int]:
    """Record when the driver has the result of each start in this process."""
    moments: list[int] = []

    def noted(start: Callable[..., Any]) -> Callable[..., Any]:
        def start_and_note(*arguments: Any, **options: Any) -> Any:
            moved = start(*arguments, **options)
            moments.append(time.monotonic_ns())
            return moved

        return start_and_note

    transitions.start = noted(transitions.start)
    transitions.start_claimed = noted(transitions.start_claimed)  # beside a worker of this process
    return moments


def serve(url: str, *, threads: bool) -> None:
    """Run the worker process of `pickup` and `idle`."""
    with open_database(url) as database:
        Worker(
            database, database.settings, concurrency=4 if threads else PROCESSES, threads=threads
        ).run_until_stopped()


def idle(url: str, seconds: int) -> dict[str, float]:
    """Measure an idle worker: CPU share, and transactions a second.

    The server's own (autovacuum's) are counted for as long without the worker, and subtracted.
    """
    with psycopg.connect(url, autocommit=True) as connection:

        def transactions_per_second() -> float:
            before, begun = transactions(), time.perf_counter()
            time.sleep(seconds)
            return (transactions() - before) / (time.perf_counter() - begun)

        def transactions() -> int:
            connection.execute("SELECT pg_stat_force_next_flush()")
            row = connection.execute(
                "SELECT xact_commit + xact_rollback FROM pg_stat_database"
                " WHERE datname = current_database()"
            ).fetchone()
            assert row is not None
            return int(row[0])

        alone = transactions_per_second()
        process = subprocess.Popen([sys.executable, "-m", MODULE, "serve-processes", "--url", url])
        try:
            watched = psutil.Process(process.pid)
            time.sleep(10)
            cpu, begun = _cpu_of(watched), time.perf_counter()
            with_worker = transactions_per_second()
            cpu, passed = _cpu_of(watched) - cpu, time.perf_counter() - begun
        finally:
            process.terminate()
            process.wait()
    return {
        "transactions_per_second": with_worker - alone,
        "transactions_per_second_without": alone,
        "cpu_percent_of_a_core": 100 * cpu / passed,
    }


def status_reads(url: str, count: int) -> dict[str, float]:
    """Read the state of random sessions, each in a transaction of the caller."""
    source = random.Random(SEED)
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT id FROM sessions LIMIT 200000").fetchall()
    latencies = []
    with open_database(url) as database:
        for number in range(count + WARM_UPS):
            session_id = source.choice(rows)[0]
            begun = time.perf_counter()
            with database.transaction() as db:
                SessionRepository(db).get(session_id)
            if number >= WARM_UPS:
                latencies.append(1000 * (time.perf_counter() - begun))
    return quantiles(latencies)


def checked(url: str, count: int) -> dict[str, Any]:
    """Run lives and bulk starts while PostgreSQL records every version of every row.

    Returns how many there were, and the violations.
    """
    plant(url, count)
    with psycopg.connect(url, autocommit=True) as connection:
        history.install(connection)
        ids = session_ids(url)
        half, quarter = len(ids) // 2, len(ids) // 4
        lives(url, ids[:half], CONCURRENCY)
        bulk_and_drain(url, ids[half : half + quarter])
        whole(url, ids[half + quarter :], "threads")
        record = history.read(connection)
    return {
        "recorded_versions": len(record.tasks) + len(record.leases) + len(record.commits),
        "violations": history.violations(record),
    }


ACTS: dict[str, Callable[[str, int, int], dict[str, Any] | None]] = {
    "prepare": lambda url, _count, _callers: upgrade_schema(_sqlalchemy(url)),
    "plant": lambda url, count, _callers: plant(url, count),
    "lives-in-a-loop": lambda url, count, callers: lives_in_a_loop(
        url, session_ids(url)[: count or None], callers
    ),
    "lives": lambda url, count, callers: lives(url, session_ids(url)[: count or None], callers),
    "lives-in-transactions": lambda url, count, callers: lives_in_transactions(
        url, session_ids(url)[: count or None], callers
    ),
    "singles": lambda url, _count, callers: singles(url, callers),
    "bulk-and-drain-threads": lambda url, _count, _callers: bulk_and_drain(url, session_ids(url)),
    "bulk-and-drain-processes": lambda url, _count, _callers: bulk_and_drain(
        url, session_ids(url), threads=False
    ),
    "whole-threads": lambda url, _count, _callers: whole(url, session_ids(url), "threads"),
    "whole-processes": lambda url, _count, _callers: whole(url, session_ids(url), "processes"),
    "finish-threads": lambda url, count, _callers: finish(url, count, threads=True),
    "finish-processes": lambda url, count, _callers: finish(url, count, threads=False),
    "serve-threads": lambda url, _count, _callers: serve(url, threads=True),
    "serve-processes": lambda url, _count, _callers: serve(url, threads=False),
    "pickup-same-process": lambda url, count, _callers: pickup(url, count, "same-process"),
    "pickup-threads": lambda url, count, _callers: pickup(url, count, "threads"),
    "pickup-processes": lambda url, count, _callers: pickup(url, count, "processes"),
    "idle": lambda url, count, _callers: idle(url, count),
    "status-reads": lambda url, count, _callers: status_reads(url, count),
    "checked": lambda url, count, _callers: checked(url, count),
}


def main() -> None:
    """Run the act that the command line names, and print one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("act", choices=ACTS)
    parser.add_argument("--url", required=True)
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--callers", type=int, default=CONCURRENCY)
    options = parser.parse_args()
    answer = ACTS[options.act](options.url, options.count, options.callers)
    print(json.dumps(answer or {}), flush=True)


def _sqlalchemy(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://", 1)


if __name__ == "__main__":
    main()
