"""The program that `docs/extending.md` shows does what the page says, as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.core.database import Database

PAGE = Path(__file__).parents[3] / "docs" / "extending.md"
SECONDS = 60


def test_starting_tasks_from_ones_own_program(database: Database, tmp_path: Path) -> None:
    found = re.search(
        r"```python\n# start_sessions\.py\n(.*?)```\n\nprints `(.*?)`", PAGE.read_text(), re.DOTALL
    )
    assert found is not None, "the program is no longer where this test looks for it"
    program = tmp_path / "start_sessions.py"
    program.write_text(found[1])
    done = subprocess.run(
        [sys.executable, program],
        env={"SESSION_TASKS_DATABASE_URL": database.url},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == found[2]
