"""`make chaos`: every promise against a hostile machine, and one table at the end."""

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
from chaos.arena import HOSTILITY_ENDED, Arena, Verdict, own_server
from chaos.programmes import broker, checker, database, kill, misfortune, pause

Programme = Callable[[Arena, EmbeddedServer, Path, bool], Verdict]

PROGRAMMES: dict[str, Programme] = {
    "bugs": lambda arena, *_: checker.deliberate_bugs(arena),
    "adversaries": lambda arena, _s, _f, short: checker.adversaries(
        arena, rounds=60 if short else 150, seeds=1 if short else 20
    ),
    "poison": lambda arena, _s, _f, short: misfortune.poison(
        arena, times=2 if short else 40, with_workers=not short
    ),
    "pause": lambda arena, _s, _f, short: pause.pause(
        arena, pauses=4 if short else 200, at_once=2 if short else 8
    ),
    "restarts": lambda arena, server, folder, short: database.restarts(
        arena, server, folder, times=2 if short else 50
    ),
    "cuts": lambda arena, _s, _f, short: database.cut_connections(
        arena, cuts=8 if short else 400, silences=1 if short else 5
    ),
    "local": lambda arena, _s, _f, short: database.local_starts(
        arena, starts=60 if short else 1_500
    ),
    "named": lambda arena, _s, _f, short: database.named_sessions(
        arena, rounds=3 if short else 100
    ),
    "locked": lambda arena, _s, _f, short: database.locked_sessions(
        arena, locks=9 if short else 300
    ),
    "terminated": lambda arena, _s, _f, short: database.terminated_backends(
        arena, backends=10 if short else 300
    ),
    "pool": lambda arena, _s, _f, short: database.exhausted_pool(
        arena, sessions=20 if short else 300
    ),
    "cancel": lambda arena, _s, _f, short: misfortune.cancel_races(
        arena, cancels=30 if short else 1_000
    ),
    "delete": lambda arena, _s, _f, short: misfortune.deleted_sessions(
        arena, sessions=4 if short else 100
    ),
    "sigterm": lambda arena, _s, _f, short: misfortune.terminations(
        arena, times=2 if short else 60
    ),
    "clock": lambda arena, _s, _f, short: misfortune.wrong_clocks(
        arena, sessions=3 if short else 50
    ),
    "redis": lambda arena, _s, _f, short: broker.broker(arena, "Redis", blows=2 if short else 20),
    "rabbitmq": lambda arena, _s, _f, short: broker.broker(
        arena, "RabbitMQ", blows=1 if short else 6
    ),
    "idle": lambda arena, _s, _f, short: misfortune.idle(arena, seconds=5 if short else 60),
    "kill": lambda arena, _s, _f, short: kill.kill(arena, kills=15 if short else 1_000),
}


def main() -> int:
    """Run the programmes that were named, or all; answers 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    parser.add_argument(
        "--longest",
        type=float,
        default=1e9,
        metavar="SECONDS",
        help="end each programme's hostility then, however far it got",
    )
    parser.add_argument("--short", action="store_true", help="few trials of each")
    parser.add_argument("--only", action="append", choices=PROGRAMMES, metavar="NAME",
                        help=f"may be repeated; any of {', '.join(PROGRAMMES)}")  # fmt: skip
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _end_hostility)
    logging.disable(logging.CRITICAL)  # refusals by the thousand are what is being tried
    print(f"seed {options.seed}", flush=True)
    verdicts = []
    with own_server() as (server, folder):
        for name in options.only or PROGRAMMES:
            began = time.monotonic()
            verdict = _run(name, options, server, folder)
            verdicts.append(verdict)
            _tell(verdict, time.monotonic() - began)
    _table(verdicts, options.seed)
    return 1 if any(verdict.broken for verdict in verdicts) else 0


def _end_hostility(*_: object) -> None:
    """End every programme's hostility and judge how far it got; told again, exit."""
    if HOSTILITY_ENDED.is_set():
        sys.exit(143)  # and take workers and server along
    HOSTILITY_ENDED.set()


def _run(name: str, options: argparse.Namespace, server: EmbeddedServer, folder: Path) -> Verdict:
    try:
        with Arena(server.url, options.seed, longest_seconds=options.longest) as arena:
            return PROGRAMMES[name](arena, server, folder, options.short)
    except Exception as error:  # noqa: BLE001 - the other programmes still have something to say
        traceback.print_exc()
        return Verdict(name, "broken off", broken=[f"{type(error).__name__}: {error}"])


def _tell(verdict: Verdict, seconds: float) -> None:
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
