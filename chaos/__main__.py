"""`make chaos`: test every guarantee against injected faults, and print one table at the end."""

from __future__ import annotations

import argparse
import logging
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from app.core.embedded import EmbeddedServer
from chaos.programmes import (
    broker,
    checker,
    database,
    delivery,
    faults,
    kill,
    orders,
    pause,
    paused_delivery,
    postmaster,
    steps,
    writes,
)
from chaos.rig import HOSTILITY_ENDED, Rig, Verdict, own_server

Programme = Callable[[Rig, EmbeddedServer, Path, bool], Verdict]

PROGRAMMES: dict[str, Programme] = {
    "bugs": lambda rig, *_: checker.deliberate_bugs(rig),
    "adversaries": lambda rig, _s, _f, short: checker.adversaries(
        rig, rounds=60 if short else 150, seeds=1 if short else 20
    ),
    "orders": lambda rig, _s, _f, short: (
        orders.sample(rig, 40) if short else orders.every(rig, part=rig.part)
    ),
    "poison": lambda rig, _s, _f, short: faults.poison(
        rig, times=2 if short else 40, with_workers=not short
    ),
    "pause": lambda rig, _s, _f, short: pause.pause(
        rig, pauses=4 if short else 200, at_once=2 if short else 8
    ),
    "restarts": lambda rig, _s, _f, short: postmaster.restarts(rig, times=1 if short else 40),
    "cuts": lambda rig, _s, _f, short: database.cut_connections(
        rig, cuts=8 if short else 400, silences=1 if short else 5
    ),
    "local": lambda rig, _s, _f, short: database.local_starts(rig, starts=60 if short else 1_500),
    "named": lambda rig, _s, _f, short: database.named_sessions(rig, rounds=3 if short else 100),
    "locked": lambda rig, _s, _f, short: database.locked_sessions(rig, locks=9 if short else 300),
    "terminated": lambda rig, _s, _f, short: database.terminated_backends(
        rig, backends=10 if short else 300
    ),
    "pool": lambda rig, _s, _f, short: database.exhausted_pool(rig, sessions=20 if short else 300),
    "cancel": lambda rig, _s, _f, short: faults.cancel_races(rig, cancels=30 if short else 1_000),
    "delete": lambda rig, _s, _f, short: faults.deleted_sessions(rig, sessions=4 if short else 100),
    "sigterm": lambda rig, _s, _f, short: faults.terminations(rig, times=2 if short else 60),
    "clock": lambda rig, _s, _f, short: faults.wrong_clocks(rig, sessions=3 if short else 50),
    "redis": lambda rig, _s, _f, short: broker.broker(rig, "Redis", blows=2 if short else 20),
    "rabbitmq": lambda rig, _s, _f, short: broker.broker(rig, "RabbitMQ", blows=1 if short else 6),
    "idle": lambda rig, _s, _f, short: faults.idle(rig, seconds=5 if short else 60),
    "delivery": lambda rig, _s, _f, short: delivery.delivery(
        rig,
        kills=15 if short else 300,
        lies=0 if short else 200,
        sessions=3 if short else 20,
        tickets=60 if short else 120,
    ),
    "paused_delivery": lambda rig, _s, _f, short: paused_delivery.paused(
        rig, pauses=4 if short else 80, at_once=4 if short else 8
    ),
    "steps": lambda rig, _s, _f, short: steps.steps(rig, kills=10 if short else 200),
    "writes": lambda rig, _s, _f, short: writes.writes(
        rig, kills=15 if short else 300, restarts=1 if short else 10
    ),
    "kill": lambda rig, _s, _f, short: kill.kill(rig, kills=15 if short else 1_000),
}


def main() -> int:
    """Run the named programmes, or all; return 1 if a guarantee was violated."""
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    parser.add_argument(
        "--longest",
        type=float,
        default=1e9,
        metavar="SECONDS",
        help="stop each programme's faults after this time, however many were injected",
    )
    parser.add_argument("--short", action="store_true", help="few trials of each")
    parser.add_argument(
        "--part", type=_part, default=(1, 1), metavar="K/N",
        help="of the orders of statements, only the K-th of N parts",
    )  # fmt: skip
    parser.add_argument("--only", action="append", choices=PROGRAMMES, metavar="NAME",
                        help=f"may be repeated; any of {', '.join(PROGRAMMES)}")  # fmt: skip
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _end_hostility)
    logging.disable(logging.CRITICAL)  # thousands of refusals are expected
    print(f"seed {options.seed}", flush=True)
    verdicts = []
    with own_server() as (server, folder):
        for name in options.only or PROGRAMMES:
            began = time.monotonic()
            verdict = _run(name, options, server, folder)
            verdicts.append(verdict)
            _report(verdict, time.monotonic() - began)
    _table(verdicts, options.seed)
    return 1 if any(verdict.broken for verdict in verdicts) else 0


def _part(text: str) -> tuple[int, int]:
    number, _, parts = text.partition("/")
    if not 1 <= int(number) <= int(parts):
        raise ValueError(text)
    return int(number), int(parts)


def _end_hostility(*_: object) -> None:
    """Stop injecting faults and judge what was done; the second signal exits."""
    if HOSTILITY_ENDED.is_set():
        sys.exit(143)  # and stop workers and server
    HOSTILITY_ENDED.set()


def _run(name: str, options: argparse.Namespace, server: EmbeddedServer, folder: Path) -> Verdict:
    try:
        with Rig(server.url, options.seed, longest_seconds=options.longest) as rig:
            rig.part = options.part
            return PROGRAMMES[name](rig, server, folder, options.short)
    except Exception as error:  # noqa: BLE001 - the other programmes still run
        traceback.print_exc()
        return Verdict(name, "broken off", broken=[f"{type(error).__name__}: {error}"])


def _report(verdict: Verdict, seconds: float) -> None:
    print(f"\n{verdict.name}: {verdict.skipped or verdict.trials}, {seconds:.0f} s")
    for figure, value in verdict.figures.items():
        print(f"  {figure}: {value}")
    for what in verdict.broken[:20]:
        print(f"  BROKEN {what}")
    sys.stdout.flush()


def _table(verdicts: list[Verdict], seed: int) -> None:
    print(f"\n{'programme':<22}{'trials':<58}{'broken':>8}   seed {seed}")
    for verdict in verdicts:
        broken = "skipped" if verdict.skipped else len(verdict.broken)
        print(f"{verdict.name:<22}{verdict.trials:<58}{broken:>8}")


if __name__ == "__main__":
    sys.exit(main())
