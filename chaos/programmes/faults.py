"""Poison tasks, racing cancels, sessions deleted mid-task, SIGTERM at any moment, wrong clocks."""

from __future__ import annotations

import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import psutil

from app.core.config import Settings
from app.core.errors import TaskValidationError
from app.repositories.session_repository import SessionRepository
from chaos.history import Acknowledged
from chaos.rig import BY_COMMAND, Rig, Verdict
from chaos.waiting import until

MOST_WHEN_IDLE = 0.01
PACES = ("LEASE_SECONDS", "HEARTBEAT_SECONDS", "SWEEP_SECONDS", "POLL_SECONDS")
AS_SHIPPED = {
    f"SESSION_TASKS_{name}": str(Settings.model_fields[name.lower()].default) for name in PACES
}

WAYS = ("SIGKILL", "exit", "segmentation fault", "abort")


def poison(rig: Rig, *, times: int, with_workers: bool = True) -> Verdict:
    """Run handlers that kill their process, or their whole worker: failed after three attempts."""
    worker = rig.worker()
    poisoned = [rig.start("poison", way=WAYS[number % len(WAYS)]) for number in range(times)]
    for session_id in poisoned:
        until(
            lambda s=session_id: rig.status(s) == ("failed", 3),  # type: ignore[misc]
            "failed after three",
            60 + 10 * times,  # each death costs the start of a process
        )
    healthy = rig.start(auto_advance=True)
    rig.until_status(healthy, "completed")
    broken = [] if worker.is_alive else ["the worker died of its tasks"]
    if not with_workers:
        broken += rig.broken()
        figures = {"ways": ", ".join(WAYS[:times])}
        return Verdict("poison", f"{times} that kill their process", figures, broken)
    worker.kill()
    deadly = rig.start("poison", way="whole worker")
    workers = 0
    while rig.status(deadly) != ("failed", 3):
        if not worker.is_alive:
            worker = rig.worker("--concurrency", "1")
            workers += 1
        time.sleep(0.05)
        if workers > 10:
            broken.append("a task killed more than ten workers")
            break
    broken += rig.broken()
    return Verdict(
        "poison",
        f"{times} that kill their process, 1 that kills its worker",
        {"ways": ", ".join(WAYS), "workers it killed": str(sum(
            w.process.poll() == -signal.SIGKILL for w in rig.workers[1:]))},
        broken,
    )  # fmt: skip


def cancel_races(rig: Rig, *, cancels: int) -> Verdict:
    """Cancel around a claim, a run or its completion: each caller must get the true result."""
    rig.worker("--concurrency", "4").until_started()
    rig.start(seconds=0)
    rig.warm_up()
    delays = [(rig.random.uniform(0, 0.05), rig.random.uniform(0, 0.2)) for _ in range(cancels)]

    def race(delay: tuple[float, float]) -> str:
        session_id = rig.start(seconds=delay[0])
        time.sleep(delay[1])  # so that it falls at a random moment of the run
        try:
            with rig.database.transaction() as db:
                moved = SessionRepository(db).cancel_task(session_id)
        except TaskValidationError:
            return "too late"
        rig.acknowledged.append(Acknowledged("cancelled", session_id, moved.task_id))
        return "cancelled"

    with ThreadPoolExecutor(4) as pool:
        counts = Counter(pool.map(race, delays))
    broken = rig.broken()
    cancelled = rig.outcome_counts().get("cancelled", 0)
    if cancelled != counts["cancelled"]:
        broken.append(f"{cancelled} rows cancelled, acknowledged to {counts['cancelled']} callers")
    return Verdict("cancel races", f"{cancels} cancels", {k: str(v) for k, v in counts.items()},
                   broken)  # fmt: skip


def deleted_sessions(rig: Rig, *, sessions: int) -> Verdict:
    """Delete sessions while their task runs: no row is left, and the worker continues."""
    worker = rig.worker("--concurrency", "4").until_started()
    for _ in range(0, sessions, 4):
        some = [rig.start("listen") for _ in range(4)]
        for session_id in some:
            rig.until_begun(session_id)
        with rig.database.transaction() as db:
            for session_id in sorted(some):
                SessionRepository(db).delete_session(session_id)
    healthy = rig.start(auto_advance=True)
    rig.until_status(healthy, "completed")
    broken = rig.broken()
    if not worker.is_alive:
        broken.append("the worker died of a deleted session")
    left = [
        f"{count} rows left in {table}"
        for table in ("sessions", "session_tasks", "session_task_leases", "session_task_retries")
        if (
            count := rig.rows(f"SELECT count(*) FROM {table} WHERE {_id(table)} <> :healthy",
                                healthy=healthy)[0][0]
        )
    ]  # fmt: skip
    done = (sessions + 3) // 4 * 4
    return Verdict("deleted mid-task", f"{done} sessions", {"rows left": str(len(left))},
                   broken + left)  # fmt: skip


def _id(table: str) -> str:
    return "id" if table == "sessions" else "session_id"


def terminations(rig: Rig, *, times: int, at_once: int = 4) -> Verdict:
    """Send SIGTERM at any moment of a worker's life: exit 0, no attempt spent, nothing lost."""
    codes: Counter[str] = Counter()
    broken: list[str] = []
    waiting: list[UUID] = []
    for first in range(0, times, at_once):
        if rig.is_time_up:
            break
        workers = [rig.worker(command=BY_COMMAND) for _ in range(min(at_once, times - first))]
        for _ in range(4 * len(workers)):
            waiting += [rig.start(auto_advance=True, seconds=rig.random.uniform(0, 2))]
        for worker in workers:
            worker.until_started()
            time.sleep(rig.random.uniform(0, 1.0))  # so that it falls into a random phase
            worker.process.terminate()
        for worker in workers:
            code = worker.process.wait(30)
            codes[f"exit {code}"] += 1
            if code != 0:
                broken.append(f"{worker.log.name}: exit {code} after SIGTERM")
    running = rig.rows("SELECT count(*) FROM session_task_leases WHERE claim_token IS NOT NULL")
    if running[0][0]:
        broken.append(f"{running[0][0]} claims kept by workers that have exited")
    rig.worker("--concurrency", "8", "--threads")
    broken += rig.broken()
    failed = rig.outcome_counts().get("failed", 0)
    if failed:
        broken.append(f"{failed} attempts spent by a shutdown")
    figures = {code: str(count) for code, count in codes.items()}
    figures |= {"attempts spent": str(failed), "sessions": str(len(waiting))}
    return Verdict("SIGTERM", f"{sum(codes.values())} workers", figures, broken)


def wrong_clocks(rig: Rig, *, sessions: int) -> Verdict:
    """Run workers whose clocks are hours off, and kill one: nothing is early or late."""
    library = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)
    if library is None:
        return Verdict(
            "clocks off", "0", skipped="libfaketime is not installed (Debian: libfaketime)"
        )
    workers = [
        rig.worker(
            environment={
                "LD_PRELOAD": str(library),
                "FAKETIME": shift,
                "DONT_FAKE_MONOTONIC": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            }
        ).until_started()
        for shift in ("+5h", "-7h")
    ]
    for _ in range(sessions):
        rig.start(auto_advance=True, seconds=rig.random.uniform(0, 0.3))
    until(lambda: not rig.unsettled(), "every session ends", 60)
    early = rig.outcome_counts().get("failed", 0)
    broken = [f"{early} runs were taken from workers that lived"] if early else []
    held = rig.start("hold")
    holder = rig.until_begun(held)
    killed_at = time.monotonic()
    next(worker for worker in workers if worker.pid == holder.parent).kill()
    rig.until_status(held, "completed")
    took = time.monotonic() - killed_at
    return Verdict(
        "clocks off",
        f"{sessions} sessions, 1 kill",
        {"clocks": "+5 h and -7 h", "taken over after the kill": f"{took:.1f} s"},
        broken + rig.broken(),
    )


def idle(rig: Rig, *, seconds: float) -> Verdict:
    """Measure the CPU use of an idle worker with its children, run by the usual command."""
    worker = rig.worker(command=BY_COMMAND, environment=AS_SHIPPED).until_started()
    until(lambda: len(worker.children()) >= 2, "its children start")
    until(lambda: _share_of_a_core(worker.pid, 1.0) < 0.05, "it comes to rest")
    share = _share_of_a_core(worker.pid, seconds)
    broken = [] if share < MOST_WHEN_IDLE else [f"an idle worker takes {share:.2%} of a core"]
    return Verdict("idle worker", f"{seconds:g} s", {"of a core": f"{share:.2%}"}, broken)


def _share_of_a_core(pid: int, seconds: float) -> float:
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]

    def spent() -> float:
        return sum(sum(process.cpu_times()[:2]) for process in processes)

    before, began = spent(), time.monotonic()
    time.sleep(seconds)  # the time that is measured
    return (spent() - before) / (time.monotonic() - began)
