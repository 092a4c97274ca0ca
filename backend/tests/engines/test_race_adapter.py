"""The race's adapter drives the product as it is: a bench that nobody runs would rot unseen."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from sqlalchemy import make_url

ROOT = Path(__file__).parents[3]


def test_the_race_measures_a_pick_up(database_url: str) -> None:
    url = make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)

    def act(name: str, count: int) -> dict[str, Any]:
        ended = subprocess.run(
            [
                *(sys.executable, "-m", "benchmarks.race.adapters.session_tasks", name),
                *("--url", url, "--count", str(count)),
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        result: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
        return result

    act("plant", 12)
    assert act("pickup-same-process", 2)["p50"] > 0
