"""Handlers of many steps, killed at random moments: what was kept never runs again."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from typing import Any

from app.engines.sweeper import Sweeper
from chaos.bugs import BUG
from chaos.fleet import NO_CHILD, Fleet
from chaos.handlers import STEPS
from chaos.rig import Rig, Verdict, WorkerProcess

SECONDS_OF_A_HANDLER = (0.3, 0.3, 0.3, 5.0)
"""The long ones go on while the lease of their paused supervisor ends."""

RECORD_STEPS = """
CREATE TABLE history_steps AS
SELECT session_id, name, result::text AS result, kept_at AS at, NULL::uuid AS task_id
  FROM session_task_steps;
CREATE FUNCTION record_step() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO history_steps
    SELECT NEW.session_id, NEW.name, NEW.result::text, NEW.kept_at, task_id
      FROM session_tasks WHERE session_id = NEW.session_id;
    RETURN NULL;
END $$;
CREATE TRIGGER record_step AFTER INSERT ON session_task_steps
FOR EACH ROW EXECUTE FUNCTION record_step()"""


def steps(rig: Rig, *, kills: int, fleet: int = 6, bug: str = "") -> Verdict:
    """Kill and pause workers and children while they run steps; then let one finish the rest."""
    with rig.database.driver_connection() as connection:
        connection.execute(RECORD_STEPS)

    def start() -> WorkerProcess:
        return rig.worker("--concurrency", "1", is_forked=True, environment={BUG: bug})

    victims = Fleet(rig, start, fleet, sign="step ran")
    sweeper = Sweeper(rig.database, rig.settings)
    sweeper.start()  # stands for the machine that is still there
    try:
        while victims.kills.total() < kills and not rig.is_time_up:
            for _ in range(2 * fleet - rig.live_count()):
                rig.start("steps", seconds=rig.random.choice(SECONDS_OF_A_HANDLER))
            victims.fill_up()
            victims.strike()
            time.sleep(rig.random.uniform(0.01, 0.1))  # the pace of the hostility
        victims.end()
        rig.worker()
        broken = [what for what in rig.broken() if NO_CHILD not in what]
    finally:
        sweeper.stop()
    ran = rig.journal("step ran")
    given = rig.journal("step given")
    kept = rig.rows("SELECT session_id::text, name, result, at, task_id::text FROM history_steps")
    broken += violations(kept, ran, given, rig)
    return Verdict(
        "steps",
        f"{victims.kills.total()} kills of handlers of {STEPS} steps",
        {
            **victims.figures(),
            "sessions": str(len({entry.subject[0] for entry in ran})),
            "steps kept": f"{len(kept):,}",
            "steps run": f"{len(ran):,}",
            "handed out again": f"{len(given) - len(kept):,}",
            "refused to a stale claim": f"{len(rig.journal('step refused')):,}",
        },
        broken,
    )


def violations(kept: list[Any], ran: list[Any], given: list[Any], rig: Rig) -> list[str]:
    """Return what is wrong: a step that ran after it was kept or was kept by a superseded run, a
    result lost, or two of them.
    """
    found = []
    times = Counter((row.session_id, row.name) for row in kept)
    found += [f"{step}: kept {n} times" for step, n in times.items() if n > 1]
    results = {(row.session_id, row.name): row for row in kept}
    for entry in ran:
        row = results.get((entry.subject[0], entry.subject[1]))
        if row is not None and entry.at > row.at.timestamp():
            found.append(f"{entry.subject}: ran after it was kept at {row.at}")
        if (
            row is not None
            and row.result == f'"{entry.subject[2]}"'
            and row.task_id != entry.subject[3]
        ):
            found.append(f"{entry.subject}: kept by a run that {row.task_id} had superseded")
    of_run: dict[tuple[str, str], list[str]] = defaultdict(list)
    for entry in given:
        session_id, task_id, name, result = entry.subject
        of_run[session_id, task_id].append(name)
        row = results.get((session_id, name))
        if row is None or row.result != f'"{result}"':
            found.append(f"{entry.subject}: handed out, but {row.result if row else 'not'} kept")
    order = [f"step {number}" for number in range(STEPS)]
    for run, names in of_run.items():
        if any(name != wanted for name, wanted in zip(names, order, strict=False)):
            found.append(f"{run}: steps out of order: {names}")
    for row in rig.rows(
        "SELECT t.session_id::text, t.status, (SELECT count(*) FROM session_task_steps s"
        " WHERE s.session_id = t.session_id) AS left_over, (SELECT count(*) FROM history_steps h"
        " WHERE h.session_id = t.session_id) AS kept FROM session_tasks t"
    ):
        should_be = (0, STEPS) if row.status == "completed" else (row.kept, row.kept)
        if (row.left_over, row.kept) != should_be:
            found.append(
                f"{row.session_id}: {row.status} with {row.left_over} of {row.kept} steps left"
            )
    return found
