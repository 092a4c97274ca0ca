"""Deliveries to a Jira that lies, under fire: no issue is lost, and none is there twice."""

from __future__ import annotations

import json
import os
import random
import signal
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from app.models.session import TaskType
from app.repositories.session_repository import SessionRepository
from app.tasks.jira.delivery import PROPERTY
from app.values.results import TaskResults, TicketDraft
from chaos.bugs import BUG
from chaos.delivering import DEATH_RATE, POINTS
from chaos.rig import Rig, Verdict, WorkerProcess
from chaos.waiting import TooLate, until
from tests.jira_stand_in.misbehaving import Does, Fault, Says
from tests.jira_stand_in.server import JiraStandIn

TOKEN = "chaos-token"
INDEX_SECONDS = 0.4
TIMEOUT_SECONDS = 1.0
SHARE_OF_FAULTS = 0.4
DEATHS_AT_A_POINT = "0.06"

FAULTS = (
    Fault(says=Says.NOTHING),
    Fault(says=Says.HALF),
    Fault(says=Says.HTML),
    Fault(says=Says.FEWER),
    Fault(says=Says.STATUS, status=503, retry_after="1"),
    Fault(says=Says.STATUS, status=500),
    Fault(seconds_after=1.3),
    Fault(seconds_before=1.3),
    Fault(does=Does.SOME, count=7, says=Says.NOTHING),
    Fault(does=Does.LATER, seconds_after=0.3, says=Says.NOTHING),
    Fault(does=Does.NOTHING, says=Says.NOTHING),
    Fault(does=Does.NOTHING, says=Says.HTML),
    Fault(does=Does.NOTHING, says=Says.STATUS, status=429, retry_after="1"),
    Fault(does=Does.NOTHING, says=Says.STATUS, status=503, retry_after="1"),
    Fault(does=Does.NOTHING, says=Says.STATUS, status=401),
    Fault(refused=frozenset((0, 3))),
)

DOCUMENT = '{"type":"doc","version":1,"content":[]}'


@dataclass
class Delivering:
    """Sessions that are delivered by a fleet under fire."""

    rig: Rig
    jira: JiraStandIn
    bug: str
    fleet: list[WorkerProcess] = field(default_factory=list)
    sessions: dict[uuid.UUID, int] = field(default_factory=dict)
    kills: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    is_hostile: bool = True

    @property
    def random(self) -> random.Random:
        return self.rig.random

    def choose_fault(self, operation: str) -> Fault | None:
        """Return what goes wrong with a request of the product."""
        if operation != "createIssues" or not self.is_hostile:
            return None
        if self.random.random() > SHARE_OF_FAULTS:
            return None
        fault = self.random.choice(FAULTS)
        self.faults[f"{fault.does.name.lower()}, {fault.says.name.lower()}"] += 1
        return fault

    def worker(self, concurrency: int = 2) -> WorkerProcess:
        """Start a worker that delivers to the stand-in."""
        of_jira = {
            "JIRA_URL": self.jira.url,
            "JIRA_TOKEN": TOKEN,
            "JIRA_INDEX_SECONDS": str(2 * INDEX_SECONDS),
            "JIRA_TIMEOUT_SECONDS": str(TIMEOUT_SECONDS),
            "HANDLERS": "export=chaos.delivering:export",
        }
        environment = {f"SESSION_TASKS_{name}": value for name, value in of_jira.items()}
        hostility = {DEATH_RATE: DEATHS_AT_A_POINT if self.is_hostile else "0", BUG: self.bug}
        return self.rig.worker(
            "--concurrency", str(concurrency), is_forked=True, environment=environment | hostility
        )

    def open(self, tickets: int, *, pause: str = "") -> uuid.UUID:
        """Open a session whose tickets wait to be delivered, or whose first request is paused."""
        drafts = [
            TicketDraft(f"Ticket {n}", DOCUMENT, "issues.csv", n, parent=1 if n % 10 == 0 else None,
                        fields='{"issuetype":"Epic"}' if n == 1 else "{}")
            for n in range(1, tickets + 1)
        ]  # fmt: skip
        with self.rig.database.transaction() as db:
            repository = SessionRepository(db)
            options = {"to": "jira", "project_key": "SHOP"}
            session_id = repository.create_session(options=options, auto_advance=not pause).id
            started = repository.start_task(session_id, TaskType.PROCESSING)
            claim = repository.claim_task(session_id, started.task_id, uuid.uuid4())
            assert claim is not None
            repository.complete_task(claim, TaskResults(tickets=drafts))
            if pause:
                (self.rig.gates / str(session_id)).write_text(pause)
                repository.start_task(session_id, TaskType.EXPORT)
        self.sessions[session_id] = tickets
        return session_id

    def take_up(self) -> None:
        """Retry what failed, as people do; give attempts back in one way or the other."""
        for row in self.rig.rows(
            "SELECT session_id, retry_count, task_type, failure_context ->> 'category' AS category"
            " FROM session_tasks WHERE status = 'failed'"
        ):
            is_used_up = row.retry_count == 3
            is_wrong = row.task_type == "adf_validation" and row.category == "user_fixable"
            if is_wrong or (row.category == "temporary" and not is_used_up):
                continue
            with self.rig.database.transaction() as db:
                repository = SessionRepository(db)
                if is_used_up:
                    repository.reset_retries(row.session_id)
                repository.retry_task(row.session_id)

    def unfinished(self) -> list[str]:
        """Return the sessions that are not delivered yet."""
        return [
            f"{row.id}: {row.task_type} {row.status} ({row.category}): {row.message}"
            for row in self.rig.rows(
                "SELECT s.id, t.task_type, t.status, failure_context ->> 'message' AS message,"
                " failure_context ->> 'category' AS category"
                " FROM sessions s JOIN session_tasks t ON t.session_id = s.id"
                " WHERE s.stage <> 'completed'"
            )
        ]

    def is_over(self) -> bool:
        """Whether every session is delivered, or was found to be delivered wrongly."""
        return all("adf_validation failed (user_fixable)" in each for each in self.unfinished())

    def has_enough(self, kills: int, lies: int) -> bool:
        """Whether so many have died, and so many requests went wrong."""
        return self.killed() >= kills and self.faults.total() >= lies

    def fire(self, kills: int, lies: int) -> None:
        """Kill processes until so many have died, while the sessions are delivered."""
        request_count = 0
        while not (self.has_enough(kills, lies) or self.rig.is_time_up or self.is_over()):
            self.fleet = [each if each.is_alive else self.worker() for each in self.fleet]
            self.take_up()
            has_sent = request_count < (request_count := len(self.jira.requests))
            if has_sent and self.killed() < kills:
                self._kill_somebody()
            time.sleep(self.random.uniform(0.1, 0.8))  # the pace of the hostility

    def killed(self) -> int:
        """Return how many have died."""
        return self.kills.total() + len(self.rig.journal("died"))

    def _kill_somebody(self) -> None:
        worker = self.random.choice(self.fleet)
        children = worker.children()
        kind = self.random.choice((*["child"] * 6, "worker", "group"))
        try:
            if kind == "child" and children:
                os.kill(self.random.choice(children), signal.SIGKILL)
            elif kind == "group":
                worker.kill()
            else:
                kind = "worker"
                os.kill(worker.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self.kills[kind] += 1


def delivery(  # noqa: PLR0913 - how much of it
    rig: Rig,
    *,
    kills: int,
    lies: int = 0,
    sessions: int,
    tickets: int,
    fleet: int = 3,
    bug: str = "",
) -> Verdict:
    """Deliver sessions under fire, then in peace; count each ticket's issues."""
    with JiraStandIn() as jira:
        jira.site.add_project("SHOP")
        jira.site.add_account("Ann Other", token=TOKEN)
        jira.site.index_delay_seconds = INDEX_SECONDS
        run = Delivering(rig, jira, bug)
        jira.choose_fault = run.choose_fault
        while not (run.has_enough(kills, lies) or rig.is_time_up):
            for _ in range(sessions):
                run.open(tickets)
            run.fleet = run.fleet or [run.worker() for _ in range(fleet)]
            run.fire(kills, lies)
            if bug:
                break
        run.is_hostile = False
        for worker in run.fleet:
            worker.kill()
        run.worker()
        broken = _finish(run)
        broken += _wrong_issues(run)
        broken += [f"contract: {what}" for what in jira.violations]
        died = Counter(entry.subject[0] for entry in rig.journal("died"))
        return Verdict(
            "delivery",
            f"{run.killed()} kills, {run.faults.total()} lies and cuts, "
            f"{len(run.sessions)} sessions of {tickets} tickets",
            {
                "killed at random": ", ".join(f"{k} {n}" for k, n in sorted(run.kills.items())),
                **{f"died at: {point}": str(died[point]) for point in POINTS},
                "lies and cuts": ", ".join(f"{k} {n}" for k, n in sorted(run.faults.items())),
                "issues": f"{len(jira.site.issues):,} of {sum(run.sessions.values()):,}",
            },
            broken,
        )


def _finish(run: Delivering) -> list[str]:
    """Wait until all is delivered; else say what is not."""

    def is_over() -> bool:
        run.take_up()
        return run.is_over()

    try:
        until(is_over, "all sessions are delivered", 120.0)
    except TooLate as error:
        return [str(error), *run.unfinished()]
    return run.unfinished()


def _wrong_issues(run: Delivering) -> list[str]:
    """Return tickets without an issue, with two, or whose key the session does not know."""
    found: dict[tuple[str, int], list[str]] = {}
    for issue in list(run.jira.site.issues.values()):
        value: dict[str, Any] = issue.properties[PROPERTY]
        found.setdefault((value["session"], value["ticket"]), []).append(issue.key)
    known = {
        (str(row.session_id), row.position): row.key
        for row in run.rig.rows("SELECT session_id, position, key FROM delivered_issues")
    }
    wrong = []
    for session_id, tickets in run.sessions.items():
        for ticket in range(1, tickets + 1):
            keys = found.get((str(session_id), ticket), [])
            if len(keys) != 1:
                wrong.append(f"{session_id}, ticket {ticket}: {json.dumps(keys)}")
            elif known.get((str(session_id), ticket)) != keys[0]:
                wrong.append(f"{session_id}, ticket {ticket}: {keys[0]} is not known")
    return wrong
