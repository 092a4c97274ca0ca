"""A project whose own package is named `app` as well."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

BACKEND = Path(__file__).parents[2]
EXTENDING = "from pkgutil import extend_path\n__path__ = extend_path(__path__, __name__)\n"

Ran = subprocess.CompletedProcess[str]


@pytest.fixture
def project(tmp_path: Path) -> Callable[[str, str, str], Ran]:
    """Run a program of a project that has an `app`, first on the path, with one module in it."""

    def run(init: str, module: str, program: str) -> Ran:
        theirs = tmp_path / "app" / module
        theirs.parent.mkdir(parents=True)
        (tmp_path / "app" / "__init__.py").write_text(init)
        if module.count("/"):
            (theirs.parent / "__init__.py").touch()
        theirs.write_text("PRICE = 3\n")
        return subprocess.run(
            [sys.executable, "-P", "-c", program],
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(BACKEND)])},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return run


@pytest.mark.parametrize(
    ("init", "module"),
    [("", "orders.py"), (EXTENDING, "models.py"), (EXTENDING, "core/config.py")],
)
def test_a_clash_is_told_in_one_sentence(
    project: Callable[[str, str, str], Ran], tmp_path: Path, init: str, module: str
) -> None:
    ran = project(init, module, "import session_tasks")
    assert ran.returncode == 1
    last = ran.stderr.splitlines()[-1]
    assert last.startswith(f"ImportError: Another package named app, {tmp_path / 'app'}")
    assert "extending.md" in last


def test_a_module_named_app_is_a_clash_too(
    project: Callable[[str, str, str], Ran], tmp_path: Path
) -> None:
    program = "import pathlib; pathlib.Path('app').rename('old'); import session_tasks"
    (tmp_path / "app.py").touch()
    ran = project("", "orders.py", f"import os; os.chdir({str(tmp_path)!r}); {program}")
    assert f"Another package named app, {tmp_path / 'app.py'}" in ran.stderr.splitlines()[-1]


def test_an_app_that_extends_its_path_shares_the_name(
    project: Callable[[str, str, str], Ran],
) -> None:
    ran = project(
        EXTENDING,
        "orders.py",
        "import session_tasks, sys; from app.orders import PRICE; from app.models import Session;"
        "from app.core.database import Database; sys.argv = ['', '--version'];"
        "print(PRICE); session_tasks.main()",
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[0] == "3"
    assert len(ran.stdout.splitlines()) == 2


def test_nothing_is_said_where_ours_is_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import session_tasks"],
        env=os.environ | {"PYTHONPATH": str(BACKEND)},
        check=False,
        timeout=60,
    )
    assert done.returncode == 0


def test_the_installed_command_runs() -> None:
    command = Path(sys.executable).with_name("session-tasks")
    ran = subprocess.run([command, "--version"], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.strip()
