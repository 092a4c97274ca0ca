"""Rows of a team's own, under fire: those of each completed task are there once, and no others."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

from sqlalchemy import text

from app.core.errors import DatabaseBusy, DatabaseUnavailable, SessionNotFound, TaskValidationError
from app.models.session import TaskType
from app.repositories.session_repository import SessionRepository
from chaos.bugs import BUG
from chaos.fleet import NO_CHILD, Fleet
from chaos.history import Acknowledged
from chaos.programmes.database import MOSTLY_COMMITS, cut_count, load, proxied
from chaos.programmes.postmaster import kill_postmaster
from chaos.rig import Rig, Verdict, WorkerProcess, own_server
from chaos.writing import POINTS, ROWS, TABLE

POINTS_ON_THE_WAY = (
    *POINTS, "outcome known, nothing written", "completion sent, not committed",
    "committed, not announced",
)  # fmt: skip
SHARE_THAT_REACH_A_POINT = 0.3
SHARE_OF_CANCELS = 0.005
LIVE_SESSIONS = 16
REFUSED = "was refused by the database"
"""A worker logs this, as an error, when a write raises; here some do."""

WRONG = f"""
SELECT done.session_id, done.new_task_id AS task_id, 'completed' AS how, numbers
  FROM history_tasks done
  LEFT JOIN (SELECT session_id, task_id, task_type, array_agg(number ORDER BY number) AS numbers
               FROM effects GROUP BY 1, 2, 3) rows
    ON rows.session_id = done.session_id AND rows.task_id = done.new_task_id
   AND rows.task_type = done.new_type
 WHERE done.new_status = 'completed' AND numbers IS DISTINCT FROM ARRAY{list(range(ROWS))}
UNION ALL
SELECT session_id, task_id, 'not completed', array_agg(number)
  FROM effects
 WHERE NOT EXISTS (SELECT FROM history_tasks done WHERE done.new_status = 'completed'
                      AND done.session_id = effects.session_id
                      AND done.new_task_id = effects.task_id
                      AND done.new_type = effects.task_type)
 GROUP BY 1, 2"""


def writes(outer: Rig, *, kills: int, restarts: int, fleet: int = 8, bug: str = "") -> Verdict:
    """Kill and pause workers, cut commits, kill the database; then count each task's rows."""
    with (
        own_server() as (server, folder),
        Rig(server.url, outer.random.randrange(1 << 30), data_dir=folder) as rig,
    ):
        return _Writes(outer, rig, folder, bug).run(kills, restarts, fleet)


class _Writes:
    def __init__(self, outer: Rig, rig: Rig, folder: Path, bug: str) -> None:
        self._outer = outer
        self._rig = rig
        self._folder = folder
        self._bug = bug
        self._proxy_url = ""
        self._counts: Counter[str] = Counter()

    def run(self, kills: int, restarts: int, size: int) -> Verdict:
        rig = self._rig
        with rig.database.driver_connection() as connection:
            connection.execute(TABLE.encode())
        with proxied(rig) as (proxy, self._proxy_url):
            proxy.cut_share = MOSTLY_COMMITS
            fleet = Fleet(rig, self._worker, size, sign="begun")
            rig.worker("--concurrency", "1", environment=self._environment())
            # It is never killed: one process at least can always start the server again.
            with load(rig, rig.database, self._choose, live=LIVE_SESSIONS):
                while self._killed(fleet) < kills and not self._outer.is_time_up:
                    fleet.fill_up()
                    fleet.strike()
                    self._cancel_now_and_then()
                    if self._counts["restarts"] < restarts * self._killed(fleet) / kills:
                        kill_postmaster(rig, self._folder)
                        self._counts["restarts"] += 1
                    time.sleep(rig.random.uniform(0.01, 0.1))  # the pace of the hostility
            proxy.cut_share = {}
            fleet.end()
        for _ in range(2):
            rig.worker(environment=self._environment())
        broken = [
            what for what in rig.broken() if NO_CHILD not in what and REFUSED not in what
        ]  # fmt: skip
        broken += [
            f"{row.session_id}: run {row.task_id} {row.how}, its rows: {row.numbers}"
            for row in rig.rows(WRONG)
        ]
        died = Counter(entry.subject[0] for entry in rig.journal("died"))
        outcomes = rig.outcome_counts()
        return Verdict(
            "writes",
            f"{self._killed(fleet)} kills, {self._counts['restarts']} of the database",
            {
                **fleet.figures(),
                **{f"died at: {point}": str(died[point]) for point in POINTS_ON_THE_WAY},
                "connections cut": str(cut_count(proxy)),
                "of them after COMMIT": str(proxy.counts["after COMMIT"]),
                "cancelled": str(self._counts["cancelled"]),
                "runs": ", ".join(f"{status} {n}" for status, n in sorted(outcomes.items())),
                "rows": f"{rig.rows('SELECT count(*) FROM effects')[0][0]:,}, "
                f"of {outcomes.get('completed', 0):,} completed runs",
            },
            broken,
        )

    def _killed(self, fleet: Fleet) -> int:
        return fleet.kills.total() + len(self._rig.journal("died"))

    def _environment(self) -> dict[str, str]:
        handlers = ",".join(f"{each.value}=chaos.writing:handle" for each in TaskType)
        return {"SESSION_TASKS_HANDLERS": handlers, BUG: self._bug}

    def _worker(self) -> WorkerProcess:
        """Start a worker; every second over connections that are cut, some to die at a point."""
        random = self._rig.random
        environment = self._environment()
        if random.random() < 0.5:
            environment["SESSION_TASKS_DATABASE_URL"] = self._proxy_url
        point = (
            random.choice(POINTS_ON_THE_WAY) if random.random() < SHARE_THAT_REACH_A_POINT else ""
        )
        return self._rig.worker(
            "--concurrency", "1", is_forked=True, environment=environment, point=point,
            arrival=random.randint(1, 3),
        )  # fmt: skip

    def _choose(self) -> dict[str, Any]:
        """Return a session's options: some fail first, some have their rows refused first."""
        behaviour = self._rig.random.choice(("work", "work", "work", "stumble"))
        return {"behaviour": behaviour, "refuses_rows": self._rig.random.random() < 0.15}

    def _cancel_now_and_then(self) -> None:
        if self._rig.random.random() > SHARE_OF_CANCELS:
            return
        try:
            with self._rig.database.transaction() as db:
                session_id = db.scalar(
                    text("SELECT session_id FROM session_tasks WHERE status = 'running'"
                         " ORDER BY random() LIMIT 1")
                )  # fmt: skip
                if session_id is None:
                    return
                moved = SessionRepository(db).cancel_task(session_id)
        except (DatabaseUnavailable, DatabaseBusy, TaskValidationError, SessionNotFound):
            return  # it has ended by now, or the caller is left in doubt
        self._rig.acknowledged.append(Acknowledged("cancelled", moved.session_id, moved.task_id))
        self._counts["cancelled"] += 1
