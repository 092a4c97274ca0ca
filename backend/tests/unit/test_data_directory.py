"""An empty SESSION_TASKS_DATA_DIR means that it is not set."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.core.config import Settings


def test_an_empty_data_directory_is_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("SESSION_TASKS_DATA_DIR", "")
    assert Settings().data_dir == tmp_path / "session-tasks"
    monkeypatch.setenv("SESSION_TASKS_DATA_DIR", str(tmp_path / "own"))
    assert Settings().data_dir == tmp_path / "own"
