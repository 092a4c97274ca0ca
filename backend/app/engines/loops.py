"""The loop around every background step: run, catch, log, count, continue."""

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
"""How long `stop` waits for the current step."""


def backoff_seconds(failures: int, *, longest: float) -> float:
    """Return the pause after this many failures in a row: doubled each time, ± half."""
    pause: float = min(longest, FIRST_PAUSE_SECONDS * 2.0 ** min(failures - 1, 20))
    return pause * random.uniform(0.5, 1.5)  # noqa: S311 - jitter, no secret


class Loop:
    """A thread that runs one step after another until it is stopped; no error ends it.

    `step` returns the seconds until the next is due; None: not before `wake()`. After an error,
    the pause grows up to `longest_pause` seconds. An outage or refusal of the database is logged
    once, and once more when it is over.

    Attributes:
        error_count: the number of failed steps.

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
        """Run the next step at once; never blocks."""
        self._woken.set()

    def stop(self) -> bool:
        """End after the current step; return whether it ended in time."""
        self._stopped.set()
        self._woken.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(SECONDS_TO_STOP)
        return not self._thread.is_alive()

    @property
    def is_stopping(self) -> bool:
        """Whether the loop must end; long steps should check."""
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
                    logger.warning("%s: %s; trying again until it works", self.name, error)
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
