"""`make bench`: every figure, each beside what it is compared with in the same run."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks import (
    adf_validation,
    api_load,
    dashboard,
    delivery,
    fairness,
    law,
    pipeline,
    rest,
    steps,
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
    parser.add_argument("programme", nargs="*", help=f"any of {', '.join(PROGRAMMES)}")
    parser.add_argument("--short", action="store_true", help="the race with few tasks, once")
    options = parser.parse_args()
    names = options.programme or list(PROGRAMMES)
    programmes = PROGRAMMES | {"race": partial(runner.measure, short=options.short)}
    print(json.dumps(where_this_ran(), indent=2))
    for name in names:
        print(f"\n{name}", flush=True)
        print(json.dumps(programmes[name](), indent=2))


if __name__ == "__main__":
    main()
