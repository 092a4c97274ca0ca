"""Durable steps: parts of a task that ran once, and whose results the next attempt is handed.

The result of each is JSON, committed as soon as the step returns (`app.repositories.steps`), under
the fence of the run's claim: a run that lost its claim keeps nothing. A step that was broken off
before its result was committed runs again.
"""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any, Protocol

from app.core.errors import ErrorCategory, TaskError
from app.core.json_safety import safe_text
from app.repositories import steps as kept_steps
from app.repositories.transition_errors import stale_claim
from app.tasks.patience import AWAY_OR_BUSY, patiently
from app.values.claims import STEP_NAME_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.core.connections import ConnectionSource
    from app.values.claims import Claim
    from app.values.states import TaskType

BYTES_BESIDE_RESULT = 100
"""What each step counts for in the limit, beside its name and its result."""


class StepError(TaskError):
    """A step that cannot be run or kept: its name, its result, or the size of all results.

    The handler's author can fix it; where the size is at fault, so can a setting.
    """

    default_category = ErrorCategory.ADMIN_REQUIRED


class StepStore(Protocol):
    """Where the results of one task's steps are, as JSON text."""

    def load(self) -> dict[str, str]:
        """Return the kept results by name, in the order of keeping."""

    def keep(self, name: str, result: str, *, is_lasting: bool) -> None:
        """Keep a result.

        Raises:
            StaleClaim: the run has lost its claim; nothing was kept.

        """


class StepsInMemory:
    """Keeps results as long as it lives: for handlers that run without a worker, in tests."""

    def __init__(self) -> None:
        self._results: dict[str, str] = {}

    def load(self) -> dict[str, str]:
        """Return the kept results."""
        return dict(self._results)

    def keep(self, name: str, result: str, *, is_lasting: bool) -> None:  # noqa: ARG002
        """Keep a result."""
        self._results[name] = result


class StepsInDatabase:
    """Keeps results in the database, each in a transaction of its own, fenced by the claim.

    A database that is away or busy is waited for, up to `patience_seconds` each time.
    """

    def __init__(
        self,
        claim: Claim,
        open_database: Callable[[], ConnectionSource],
        *,
        patience_seconds: float,
        check: Callable[[], None],
    ) -> None:
        self._claim = claim
        self._open_database = open_database
        self._patience_seconds = patience_seconds
        self._check = check

    def load(self) -> dict[str, str]:
        """Return the kept results."""

        def read() -> dict[str, str]:
            with self._open_database().driver_connection() as connection:
                return kept_steps.kept(connection, self._claim.session_id, self._claim.task_type)

        return patiently(read, seconds=self._patience_seconds, check=self._check)

    def keep(self, name: str, result: str, *, is_lasting: bool) -> None:
        """Keep a result, even where the task is to stop: the step has run.

        Raises:
            StaleClaim: the claim no longer holds; nothing was kept.

        """

        def write() -> bool:
            with self._open_database().driver_connection() as connection:
                return kept_steps.keep(connection, self._claim, name, result, is_lasting=is_lasting)

        if not patiently(
            write,
            seconds=self._patience_seconds,
            check=lambda: None,
            waits_for=AWAY_OR_BUSY,
        ):
            raise stale_claim(self._claim)


class Steps:
    """Runs the steps of one run of a task; may be used by several threads of a handler.

    Args:
        check: called before a step runs; raises where the task is to stop.
        max_bytes: how much the names and results of all steps may take together.

    """

    def __init__(
        self,
        task_type: TaskType,
        store: StepStore,
        *,
        check: Callable[[], None],
        max_bytes: int,
    ) -> None:
        self._handler = f"the handler of {task_type.value}"
        self._store = store
        self._check = check
        self._max_bytes = max_bytes
        self._results: dict[str, str] | None = None
        self._bytes = 0
        self._running: set[str] = set()
        self._lock = threading.Lock()

    def run(
        self, name: str, function: Callable[..., Any], *arguments: Any, lasting: bool = False
    ) -> Any:
        """Return the step's kept result; where there is none, run the function and keep its result.

        Raises:
            StepError: the name or the result cannot be kept, or the step is running already.
            StaleClaim: the run has lost its claim; the result was not kept.
            TaskCancelled: the task is to stop; the step did not run.

        """
        self._check_name(name)
        with self._lock:
            result = self._loaded().get(name)
            if result is not None:
                return json.loads(result)
            if name in self._running:
                raise StepError(
                    f"The step “{name}” is running already",
                    next_step=f"Give each step of {self._handler} a name of its own.",
                )
            self._running.add(name)
        try:
            self._check()
            result = self._as_json(name, function(*arguments))
            self._keep(name, result, is_lasting=lasting)
        finally:
            with self._lock:
                self._running.discard(name)
        return json.loads(result)

    def kept(self) -> dict[str, Any]:
        """Return the kept results by name, in the order in which they were kept."""
        with self._lock:
            return {name: json.loads(result) for name, result in self._loaded().items()}

    def _loaded(self) -> dict[str, str]:
        if self._results is None:
            self._results = self._store.load()
            self._bytes = sum(map(_size, self._results, self._results.values()))
        return self._results

    def _keep(self, name: str, result: str, *, is_lasting: bool) -> None:
        with self._lock:
            needed = _size(name, result)
            if self._bytes + needed > self._max_bytes:
                raise StepError(
                    f"The steps of this task keep {self._bytes:,} bytes, and “{name}” would add "
                    f"{needed:,}: more than the {self._max_bytes:,} that are allowed. The step "
                    "ran, and its result was not kept",
                    next_step="Raise SESSION_TASKS_MAX_STEP_BYTES, or let the steps of "
                    f"{self._handler} return less.",
                )
        self._store.keep(name, result, is_lasting=is_lasting)
        with self._lock:
            self._loaded()[name] = result
            self._bytes += needed

    def _check_name(self, name: object) -> None:
        if not isinstance(name, str) or not name or safe_text(name) != name:
            raise StepError(
                f"A step's name is text without control characters, not {name!r:.100}",
                next_step=f"Correct it in {self._handler}.",
            )
        if len(name) > STEP_NAME_CHARACTERS:
            raise StepError(
                f"The name of the step “{name[:50]}…” has {len(name):,} characters; at most "
                f"{STEP_NAME_CHARACTERS} are kept",
                next_step=f"Shorten it in {self._handler}.",
            )

    def _as_json(self, name: str, result: object) -> str:
        try:
            return json.dumps(result, allow_nan=False, separators=(",", ":"))
        except (TypeError, ValueError, RecursionError) as error:
            raise StepError(
                f"The step “{name}” returned what is no JSON ({type(result).__name__}: {error}). "
                "It ran, and its result was not kept",
                next_step="Let it return None, booleans, finite numbers, text, and lists and dicts "
                f"of these: a correction in {self._handler}.",
            ) from error


def _size(name: str, result: str) -> int:
    return len(name.encode()) + len(result) + BYTES_BESIDE_RESULT
