"""SIGSTOP past the lease, takeover, SIGCONT: the old worker must write nothing."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter

from chaos.rig import Rig, Verdict, WorkerProcess
from chaos.waiting import until

SPARE_WORKERS = 2


def pause(rig: Rig, *, pauses: int, at_once: int = 8) -> Verdict:
    """Pause workers in the middle of a run until another worker has done it; then resume them.

    Half are paused with their child (a machine that sleeps), half without: then the child's
    results wait in the socket, and the resumed worker has everything that it needs to write.
    """
    fleet = {}
    for _ in range(at_once + SPARE_WORKERS):
        worker = rig.worker("--concurrency", "1")
        fleet[worker.pid] = worker
    for worker in fleet.values():
        worker.until_started()
    counts: Counter[str] = Counter()
    taken_over_at: dict[str, int] = {}
    while counts["paused"] < pauses and not rig.is_time_up:
        _one_round(rig, fleet, min(at_once, pauses - counts["paused"]), counts, taken_over_at)
    broken = rig.broken()
    rows = sum(_rows_after(rig, session_id, n) for session_id, n in taken_over_at.items())
    if rows:
        broken.append(f"resumed workers wrote {rows} rows")
    refused = sum(worker.logged("was no longer ours") for worker in fleet.values())
    return Verdict(
        "pause",
        f"{counts['paused']} pauses past the lease",
        {
            "paused": f"whole {counts['whole']}, supervisor only {counts['supervisor']}",
            "writes tried with an old claim and refused": str(refused),
            "rows written by resumed workers": str(rows),
        },
        broken,
    )


def _one_round(
    rig: Rig,
    fleet: dict[int, WorkerProcess],
    count: int,
    counts: Counter[str],
    taken_over_at: dict[str, int],
) -> None:
    sessions = [rig.start("hold") for _ in range(count)]
    stopped: list[int] = []
    holders = {session_id: rig.until_begun(session_id) for session_id in sessions}
    try:
        for session_id, begun in holders.items():
            is_whole = rig.random.random() < 0.5
            for pid in (begun.parent, begun.pid) if is_whole else (begun.parent,):
                os.kill(pid, signal.SIGSTOP)
                stopped.append(pid)
            (rig.gates / str(session_id)).touch()
            counts["whole" if is_whole else "supervisor"] += 1
            counts["paused"] += 1
        for session_id in sessions:
            rig.until_status(session_id, "completed")
        latest = rig.rows("SELECT last_value FROM history_order")[0][0]
        taken_over_at.update(dict.fromkeys(map(str, sessions), latest))
        time.sleep(rig.random.uniform(0, 0.1))
    finally:
        for pid in reversed(stopped):  # children first: a worker that wakes up late kills its own
            os.kill(pid, signal.SIGCONT)
    for session_id, begun in holders.items():
        worker = fleet[begun.parent]
        until(
            lambda w=worker, s=session_id: _dropped(w, str(s)),  # type: ignore[misc]
            f"{worker.log.name} drops {session_id}",
            20,
        )


def _dropped(worker: WorkerProcess, session_id: str) -> bool:
    """Return whether the worker logged that it dropped the run, so that its slot is free again."""
    lines = worker.log.read_text(errors="replace").splitlines()
    about = [line for line in lines if session_id in line]
    return any(
        word in line for line in about for word in ("no longer ours", "not be renewed", "stale")
    )


def _rows_after(rig: Rig, session_id: str, n: int) -> int:
    return sum(
        rig.rows(f"SELECT count(*) FROM {t} WHERE session_id = :id AND n > :n",
                   id=session_id, n=n)[0][0]
        for t in ("history_tasks", "history_leases", "history_commits")
    )  # fmt: skip
