"""A system that is not Linux: every call that only Linux has is refused, and the worker holds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sqlalchemy import URL

HERE = Path(__file__).parent
REFUSING = '''
"""Refuse what only Linux has, and write down that it was asked for."""
import ctypes, errno, os, pathlib

def note(name):
    with open(os.environ["REFUSED"], "a") as file:
        file.write(name + "\\n")

def pidfd_open(pid, flags=0):
    note("pidfd_open")
    raise OSError(errno.ENOSYS, "no pidfd_open here")

os.pidfd_open = pidfd_open

class CDLL(ctypes.CDLL):
    def __getattr__(self, name):
        if name in ("prctl", "malloc_trim"):
            note(name)
            raise AttributeError(name)
        return super().__getattr__(name)

ctypes.CDLL = CDLL

def refused(method):
    def call(path, *arguments, **options):
        if str(path).startswith("/proc"):
            note(str(path))
            raise FileNotFoundError(errno.ENOENT, "no /proc here", str(path))
        return method(path, *arguments, **options)
    return call

for name in ("write_text", "read_text", "stat", "iterdir"):
    setattr(pathlib.Path, name, refused(getattr(pathlib.Path, name)))
'''
CONFORMANCE = (
    "a_session_goes_through_all_three_tasks or a_killed_child_fails_its_task"
    " or a_worker_goes_on_after_the_death or a_task_that_will_not_listen or a_child_that_exits"
)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have none of it anyway")
def test_a_worker_conforms_where_nothing_of_linux_is_there(server_url: URL, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(REFUSING)
    refused = tmp_path / "refused"
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"),
            *(str(HERE / "test_worker_execution.py"), "-k", CONFORMANCE),
        ],
        env=os.environ
        | {
            "PYTHONPATH": str(tmp_path),
            "REFUSED": str(refused),
            "SESSION_TASKS_TEST_DATABASE_URL": server_url.render_as_string(hide_password=False),
        },
        cwd=HERE.parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stdout[-4_000:] + ended.stderr[-2_000:]
    assert " passed" in ended.stdout
    asked = set(refused.read_text().split())
    assert {"pidfd_open", "prctl", "malloc_trim", "/proc/self/oom_score_adj"} <= asked
