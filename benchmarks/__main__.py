"""`make bench`: every figure, each beside what it is compared with in the same run.

All of them are added to `benchmarks/history.jsonl`, which `python -m benchmarks history` draws.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from typing import Any

from rich.console import Console

from benchmarks import (
    adf_validation,
    api_load,
    dashboard,
    delivery,
    fairness,
    history,
    law,
    pipeline,
    rest,
    starts,
    steps,
    watchers,
)
from benchmarks.conversion import runner as conversion
from benchmarks.machine import where_this_ran
from benchmarks.race import runner

PROGRAMMES: dict[str, Callable[[], dict[str, Any]]] = {
    "pipeline": pipeline.measure,
    "conversion": conversion.measure,
    "adf_validation": adf_validation.measure,
    "api_load": api_load.measure,
    "rest": rest.measure,
    "starts": starts.measure,
    "watchers": watchers.measure,
    "dashboard": dashboard.measure,
    "delivery": delivery.measure,
    "fairness": fairness.measure,
    "steps": steps.measure,
    "law": law.measure,
    "race": runner.measure,
}


def main() -> None:
    """Run the programmes that were named, or all, and print what they measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("programme", nargs="*", help=f"any of {', '.join(PROGRAMMES)}; or: history")
    parser.add_argument("--short", action="store_true", help="the race with few tasks, once")
    options = parser.parse_args()
    if options.programme == ["history"]:
        Console().print(history.chart())
        return
    names = options.programme or list(PROGRAMMES)
    programmes = PROGRAMMES | {"race": partial(runner.measure, short=options.short)}
    print(json.dumps(where_this_ran(), indent=2))
    for name in names:
        print(f"\n{name}", flush=True)
        measured = programmes[name]()
        print(json.dumps(measured, indent=2))
        if not options.short:
            history.append(name, measured)


if __name__ == "__main__":
    main()
