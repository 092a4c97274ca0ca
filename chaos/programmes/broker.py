"""The broker is killed, loses all messages, delivers them twice, or delivers none."""

from __future__ import annotations

import importlib.util
import tempfile
from collections import Counter
from pathlib import Path

from app.core.config import EngineName, Settings
from app.engines.dispatch import dispatcher
from chaos.brokers import DELIVERY, Broker, delivered, find
from chaos.rig import Rig, Verdict, WorkerProcess
from chaos.waiting import until

NAMES = ("Redis", "RabbitMQ")
QUEUE = "chaos"
AT_ONCE = 4


def broker(rig: Rig, name: str, *, blows: int) -> Verdict:
    """Kill or empty the broker under load, with every message doubled; then deliver none.

    After each fault, only the sweeper can find the tasks whose messages were lost.
    """
    title = f"broker: {name}"
    if importlib.util.find_spec("celery") is None:
        return Verdict(title, "0", skipped="the extra `celery` is not installed")
    with tempfile.TemporaryDirectory(prefix="session-tasks-broker-") as folder:
        found = find(name, Path(folder))
        if found is None:
            return Verdict(title, "0", skipped=f"{name} is not installed")
        with found as own:
            return _tried(rig, own, title, blows)


def _tried(rig: Rig, own: Broker, title: str, blows: int) -> Verdict:
    settings = rig.settings.model_copy(
        update={
            "engine": EngineName.CELERY,
            "broker_url": Settings(broker_url=own.url).broker_url,
            "queue": QUEUE,
        }
    )
    counts: Counter[str] = Counter()
    doubled = _blows(rig, own, settings, blows, counts)
    silent = _silence(rig, own, settings, blows)
    broken = [line for line in rig.broken() if '"logger": "celery' not in line]
    begun = Counter(entry.subject[:2] for entry in rig.journal("begun"))
    broken += [f"run {run} was begun {n} times" for run, n in begun.items() if n > 1]
    runs = ", ".join(f"{status} {n}" for status, n in sorted(rig.outcome_counts().items()))
    return Verdict(
        title,
        f"{counts['restart']} restarts, {counts['flush']} flushes",
        {
            "sessions while every message came twice": str(doubled),
            "sessions while no message came but the sweeper's": str(silent),
            "runs": runs,
            "runs begun more than once": str(sum(n > 1 for n in begun.values())),
        },
        broken,
    )


def _blows(rig: Rig, own: Broker, settings: Settings, blows: int, counts: Counter[str]) -> int:
    """Inject fault after fault under load; return how many sessions were started."""
    workers = _fleet(rig, own.url, "twice")
    started = 0
    with delivered("twice"), dispatcher(settings):
        for number in range(blows):
            if rig.is_time_up:
                break
            begun = len(rig.journal("begun"))
            started += _some(rig)
            until(lambda b=begun: len(rig.journal("begun")) > b, "work is under way")  # type: ignore[misc]
            if number % 2:
                own.flush(QUEUE)
                counts["flush"] += 1
            else:
                own.restart()
                counts["restart"] += 1
            started += _some(rig)
        rig.settle()
    for worker in workers:
        worker.kill()
    return started


def _silence(rig: Rig, own: Broker, settings: Settings, rounds: int) -> int:
    """Deliver only the sweeper's messages; return how many sessions were started."""
    workers = _fleet(rig, own.url, "never")
    with delivered("never"), dispatcher(settings):
        started = sum(_some(rig) for _ in range(rounds))
        rig.settle()
    for worker in workers:
        worker.kill()
    return started


def _fleet(rig: Rig, url: str, delivery: str) -> list[WorkerProcess]:
    environment = {
        "SESSION_TASKS_ENGINE": EngineName.CELERY.value,
        "SESSION_TASKS_BROKER_URL": url,
        "SESSION_TASKS_QUEUE": QUEUE,
        DELIVERY: delivery,
    }
    command = ("-m", "celery", "-A", "chaos.celery_worker", "worker")
    options = ("--concurrency", "2", "--without-gossip", "--without-mingle")
    return [rig.worker(*options, command=command, environment=environment)]


def _some(rig: Rig) -> int:
    for _ in range(AT_ONCE):
        rig.start(auto_advance=True, seconds=rig.random.uniform(0, 0.4))
    return AT_ONCE
