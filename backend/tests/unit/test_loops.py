"""Background steps: what an error in one is logged as; the next step comes all the same."""

from __future__ import annotations

import logging
import threading

import pytest

from app.core.errors import DatabaseBusy, DatabaseUnavailable
from app.engines.loops import Loop

SECONDS = 30


@pytest.mark.parametrize(
    ("error", "levels"),
    [
        (DatabaseUnavailable("no route"), ["WARNING", "INFO"]),
        (DatabaseBusy("statement timeout"), ["WARNING", "INFO"]),
        (ZeroDivisionError("a bug"), ["ERROR", "ERROR", "INFO"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_the_database_does_not_answer_is_logged_once_and_a_bug_each_time(
    error: Exception, levels: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    errors, done = [error, error], threading.Event()

    def step() -> float | None:
        if errors:
            raise errors.pop()
        if caplog.records[-1].levelname == "INFO":
            done.set()
        return 0.0

    loop = Loop("heart", step, longest_pause=0.01)
    with caplog.at_level(logging.INFO, "app.engines.loops"):
        loop.start()
        assert done.wait(SECONDS)
        assert loop.stop()
    assert [record.levelname for record in caplog.records] == levels
    assert loop.error_count == 2
    assert all("heart" in record.message for record in caplog.records)
