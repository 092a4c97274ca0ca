"""The shell around every background step: step → catch → log → count → continue."""

from __future__ import annotations

import logging
import random
import threading
from typing import TYPE_CHECKING

from app.core.errors import DatabaseBusy, DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 0.1

SECONDS_TO_STOP = 10.0
"""How long `stop` waits for the step that is under way."""


def backoff_seconds(failures: int, *, longest: float) -> float:
    """How long to wait after so many failures in a row: doubled each time, give or take half."""
    pause: float = min(longest, FIRST_PAUSE_SECONDS * 2.0 ** min(failures - 1, 20))
    return pause * random.uniform(0.5, 1.5)  # noqa: S311 - jitter, no secret


class Loop:
    """A thread that takes one step after another until it is stopped; no error ends it.

    `step` returns in how many seconds the next is due; None: not before `wake()`. After an error
    it comes after a pause that grows up to `longest_pause` seconds. What the database does not
    answer, or gives up, is logged once, and once more when it is over.

    Attributes:
        error_count: steps that failed.

    """

    def __init__(
        self, name: str, step: Callable[[], float | None], *, longest_pause: float = 5.0
    ) -> None:
        self.name = name
        self.error_count = 0
        self._step = step
        self._longest_pause = longest_pause
        self._woken = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin with the first step."""
        self._thread.start()

    def wake(self) -> None:
        """Have the next step taken at once; never blocks."""
        self._woken.set()

    def stop(self) -> bool:
        """End after the current step; returns whether it ended in time."""
        self._stopped.set()
        self._woken.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(SECONDS_TO_STOP)
        return not self._thread.is_alive()

    @property
    def is_stopping(self) -> bool:
        """Whether the loop is to end: a long step should look."""
        return self._stopped.is_set()

    def _run(self) -> None:
        failures = 0
        while not self._stopped.is_set():
            self._woken.clear()
            try:
                pause = self._step()
            except (DatabaseUnavailable, DatabaseBusy) as error:
                failures += 1
                if failures == 1 and not self._stopped.is_set():
                    logger.warning("%s: %s; trying again until it responds", self.name, error)
            except Exception:
                failures += 1
                logger.exception("%s: a step failed; going on", self.name)
            else:
                if failures:
                    logger.info("%s: working again after %d failures", self.name, failures)
                failures = 0
                self._woken.wait(pause)
                continue
            self.error_count += 1
            self._stopped.wait(backoff_seconds(failures, longest=self._longest_pause))
