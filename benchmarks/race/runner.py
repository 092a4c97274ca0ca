"""The whole race from the command line: figures as JSON, and the pages that are made of them."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

from benchmarks.machine import where_this_ran
from benchmarks.race import alone, report, workloads
from benchmarks.race.adapters.protocol import SEED
from benchmarks.race.environment import PEERS, peer_environment
from benchmarks.race.fixtures import open_server

GIVEN = "SESSION_TASKS_BENCH_DATABASE_URL"


def measure(*, short: bool = False, rounds: int | None = None) -> dict[str, Any]:
    """Every figure of the race, with what it takes to read them."""

    def say(what: str) -> None:
        print(f"  load {os.getloadavg()[0]:.1f}  {what}", file=sys.stderr, flush=True)

    environment = peer_environment()
    size = workloads.SHORT if short else workloads.FULL
    size = dataclasses.replace(size, rounds=rounds or size.rounds)
    before = os.getloadavg()
    with open_server(os.environ.get(GIVEN)) as server:
        figures = workloads.run(server, environment, size, say)
        measured_alone: dict[str, Any] = {}
        with figures.attempt("ours alone"):
            measured_alone["alone"] = alone.measure(
                server, alone.SHORT if short else alone.FULL, say
            )
        return {
            "server": server.description,
            "seed": SEED,
            "size": dataclasses.asdict(size),
            "load_before_and_after": [round(before[0], 1), round(os.getloadavg()[0], 1)],
            "peers": {name: environment.versions.get(name) for name in PEERS},
            "not_run": figures.failures,
            "median": {
                adapter: {name: round(value, 3) for name, value in values.items()}
                for adapter, values in figures.medians().items()
            },
            **measured_alone,
            "all_rounds": figures.values,
        }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the figures into the pages")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    result = measure(short=options.short, rounds=options.rounds)
    result["where"] = where_this_ran()
    text = json.dumps(result, indent=2)
    if options.json:
        options.json.write_text(text + "\n")
    print(text)
    if options.write:
        report.write(result)
