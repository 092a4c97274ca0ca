"""`make bench`: every figure, each beside what it is compared with in the same run."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Callable
from typing import Any

from benchmarks import adf_conversion, adf_validation, api_load, dashboard, pipeline

PROGRAMMES: dict[str, Callable[[], dict[str, Any]]] = {
    "pipeline": pipeline.measure,
    "adf_conversion": adf_conversion.measure,
    "adf_validation": adf_validation.measure,
    "api_load": api_load.measure,
    "dashboard": dashboard.measure,
}
VERSIONS_OF = ("session-tasks", "sqlalchemy", "psycopg", "markdown-it-py", "jsonschema-rs")


def where_this_ran() -> dict[str, str]:
    """The machine, the commit and the versions: no figure means anything without them."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "commit": commit.stdout.strip() or "unknown",
        "python": platform.python_version(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        **{name: importlib.metadata.version(name) for name in VERSIONS_OF},
    }


def main() -> None:
    """Run the programmes that were named, or all, and print what they measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("programme", nargs="*", help=f"any of {', '.join(PROGRAMMES)}")
    names = parser.parse_args().programme or list(PROGRAMMES)
    print(json.dumps(where_this_ran(), indent=2))
    for name in names:
        print(f"\n{name}", flush=True)
        print(json.dumps(PROGRAMMES[name](), indent=2))


if __name__ == "__main__":
    main()
