"""`serve` in a person's terminal, and commands whose extra is not installed."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

SESSION_TASKS = "from app.cli import main; main()"


@pytest.fixture
def environment(database_url: str) -> dict[str, str]:
    given = {k: v for k, v in os.environ.items() if not k.startswith("SESSION_TASKS_")}
    return given | {"SESSION_TASKS_DATABASE_URL": database_url}


@pytest.fixture
def terminal(environment: dict[str, str]) -> Iterator[int]:
    """The other end of a narrow terminal in which `serve` runs."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", SESSION_TASKS, "serve", "--port", "0", "--no-worker"],
        env=environment | {"COLUMNS": "40", "TERM": "xterm-256color"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    yield ours
    process.terminate()
    process.wait(timeout=30)
    os.close(ours)


@pytest.mark.usefixtures("database")
def test_the_first_thing_that_a_person_sees_is_the_link(terminal: int) -> None:
    seen = b""
    while b"Your API key" not in seen or not seen.endswith(b"\n"):
        seen += os.read(terminal, 4096)
    first, second, *_ = seen.decode().replace("\r", "").split("\n")
    visible, link = _link_of(first)
    assert visible.startswith("http://127.0.0.1:")
    assert "/login?code=" in visible
    assert link == visible
    assert second == f"Listening on {visible.partition('/login')[0]}"
    for noise in ("application startup", "color_message", "server process", "audit", "revision"):
        assert noise not in seen.decode()


def _link_of(line: str) -> tuple[str, str]:
    """The text of the line's OSC 8 link, and where that leads."""
    _, _, rest = line.partition("\x1b]8;")
    _, _, rest = rest.partition(";")
    address, _, rest = rest.partition("\x1b\\")
    return rest.partition("\x1b]8;;")[0], address


@pytest.mark.parametrize(
    ("words", "missing", "extra", "given"),
    [
        ("serve", "uvicorn", "server", {}),
        ("serve", "anyio", "server", {}),
        ("worker --metrics-port 0", "prometheus_client", "server", {}),
        ("jira check", "httpx", "jira", {"JIRA_URL": "https://x.example", "JIRA_TOKEN": "t"}),
        ("sweep", "celery", "celery", {"ENGINE": "celery", "BROKER_URL": "redis://127.0.0.1:1"}),
        ("worker", "opentelemetry.sdk", "telemetry", {"TELEMETRY": "true"}),
    ],
)
@pytest.mark.usefixtures("database")
def test_what_is_not_installed_is_named_by_its_extra(
    environment: dict[str, str],
    words: str,
    missing: str,
    extra: str,
    given: dict[str, str],
) -> None:
    program = f"import sys; sys.modules[{missing!r}] = None; {SESSION_TASKS}"
    ended = subprocess.run(
        [sys.executable, "-c", program, *words.split()],
        env=environment | {f"SESSION_TASKS_{name}": value for name, value in given.items()},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 2, ended.stderr
    assert f"needs the extra “{extra}”, which is not installed" in ended.stderr
    assert f"pip install 'session-tasks[{extra}]'" in ended.stderr
    assert "Traceback" not in ended.stderr
