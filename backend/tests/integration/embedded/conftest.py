"""Data directories for embedded servers, each of which is gone after its test."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from chaos.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A data directory that the server's account can enter, with a short path; all gone after."""
    directory = Path(tempfile.mkdtemp(prefix="st-test-", dir="/tmp"))
    if os.geteuid() == 0:
        directory.chmod(0o711)
    yield directory
    _remove(directory)


@pytest.fixture
def root_only_dir() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="st-test-", dir="/tmp"))
    yield directory
    elsewhere = directory / "data" / "postgresql"
    if elsewhere.is_symlink():
        shutil.rmtree(elsewhere.resolve(), ignore_errors=True)
    _remove(directory)


def _remove(directory: Path) -> None:
    def is_gone() -> bool:  # a server that a test left behind still removes files of its own
        shutil.rmtree(directory, ignore_errors=True)
        return not directory.exists()

    until(is_gone, "it is gone")
