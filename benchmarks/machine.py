"""Where figures were measured: no figure means anything without it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys

VERSIONS_OF = ("session-tasks", "sqlalchemy", "psycopg", "pyromark", "turbohtml", "jsonschema-rs")


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


def baseline_python() -> str | None:
    """Return the Python of the checkout that is compared, or None where none is named.

    `SESSION_TASKS_BENCH_BASELINE` names it. It must be the same build as this one: Debian's, for
    one, is half as fast again as one that was compiled without a profile.
    """
    python = os.environ.get("SESSION_TASKS_BENCH_BASELINE")
    if python:
        asked = [python, "-c", "import sys; print(sys.version)"]
        version = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
        if version != sys.version:
            message = f"the baseline runs on another Python than this one: {version}; {sys.version}"
            raise RuntimeError(message)
    return python
