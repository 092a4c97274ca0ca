"""Fixtures for tests of the repository, of loaded objects and of commands."""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from app.cli.application import run_command
from app.models.session import TaskType

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.models.session import Session
    from app.values.claims import Claim


@pytest.fixture
def cli(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Runs a command in this process; returns its exit code, and its output or the error."""
    for name in [name for name in os.environ if name.startswith("SESSION_TASKS_TEST_")]:
        monkeypatch.delenv(name)  # a variable of the tests, not a setting
    monkeypatch.setenv("SESSION_TASKS_DATABASE_URL", database_url)

    def run(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        code = run_command(list(arguments))
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return code, out if code == 0 else err

    return run


@pytest.fixture
def running(act: Callable[..., Any], make_session: Callable[..., Session]) -> Callable[..., Claim]:
    """Make a session whose task is claimed."""

    def make(*, lease_seconds: float = 30, **options: Any) -> Claim:
        session_id = make_session(**options).id
        started = act(lambda s: s.start_task(session_id, TaskType.PROCESSING))
        claim: Claim | None = act(
            lambda s: s.claim_task(
                session_id, started.task_id, uuid.uuid4(), lease_seconds=lease_seconds
            )
        )
        assert claim is not None
        return claim

    return make
