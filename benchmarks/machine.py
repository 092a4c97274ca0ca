"""Where figures were measured: no figure means anything without it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess

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
