"""A fast worker on the test's own database, and helpers to observe it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from chaos.waiting import until

from app.core.database import Database
from app.engines.worker import Worker
from app.models.session import SessionTask, TaskStatus, TaskType
from app.repositories.content_reader import IncomingDocument
from app.repositories.session_repository import SessionRepository
from tests.leases import lease_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID

    from app.core.config import Settings

SAMPLE_HANDLERS = Path(__file__).parent / "handlers"


class Bench:
    """Sessions with a given behaviour, workers to run them, and waits with a deadline."""

    def __init__(self, settings: Settings, url: str) -> None:
        self.settings = settings
        self.url = url
        self.database = Database(settings, url)
        self.workers: list[Worker] = []

    def new_session(
        self,
        behaviour: str = "succeed",
        *,
        documents: tuple[IncomingDocument, ...] = (),
        auto_advance: bool = False,
        **options: Any,
    ) -> UUID:
        """Create a session without starting a task."""
        with self.database.transaction() as db:
            session = SessionRepository(db).create_session(
                documents,
                options={"behaviour": behaviour, **options},
                auto_advance=auto_advance,
            )
            return session.id

    def session(self, behaviour: str = "succeed", **options: Any) -> UUID:
        """Create a session as `new_session` does, and start its first task."""
        session_id = self.new_session(behaviour, **options)
        with self.database.transaction() as db:
            SessionRepository(db).start_task(session_id, TaskType.PROCESSING)
        return session_id

    def worker(self, **options: Any) -> Worker:
        """Start a worker; it is stopped at the end of the test, if not before."""
        settings = options.pop("settings", self.settings)
        worker = Worker(self.database, settings, **{"concurrency": 1, **options})
        self.workers.append(worker)
        worker.start()
        return worker

    def task(self, session_id: UUID) -> SessionTask:
        with self.database.transaction() as db:
            task = SessionRepository(db).get(session_id).task
            assert task is not None
            return task

    def lease(self, session_id: UUID) -> Any:
        with self.database.transaction() as db:
            return lease_of(SessionRepository(db), session_id)

    def cancel(self, session_id: UUID) -> None:
        with self.database.transaction() as db:
            SessionRepository(db).cancel_task(session_id)

    def until(self, condition: Callable[[], Any], what: str = "what the test waits for") -> Any:
        """Wait until the condition holds, and return its value."""
        return until(condition, what)

    def until_status(self, session_id: UUID, *statuses: str) -> SessionTask:
        """Wait until the task has one of these statuses."""

        def task_there() -> SessionTask | None:
            task = self.task(session_id)
            return task if task.status.value in statuses else None

        return self.until(task_there, f"{statuses}")

    def until_handler_runs(self, session_id: UUID) -> int:
        """Wait until a handler reports its process; return the process id."""
        return self.until(
            lambda: (lease := self.lease(session_id)) and lease.progress_current,
            "the handler runs",
        )

    def child(self) -> psutil.Process:
        """The one process that runs handlers for this process's workers."""
        (child,) = [
            process
            for process in psutil.Process().children()
            if "app.engines.child" in " ".join(process.cmdline())
        ]
        return child

    def until_failed_attempts(self, session_id: UUID, count: int) -> SessionTask:
        def failed() -> SessionTask | None:
            task = self.task(session_id)
            is_there = task.status == TaskStatus.FAILED and task.retry_count == count
            return task if is_there else None

        return self.until(failed, f"{count} failures")

    def close(self) -> None:
        for worker in self.workers:
            worker.stop(grace_seconds=0)
        self.database.close()


@pytest.fixture(scope="session")
def bench_class() -> type[Bench]:
    """Return a value for fixtures that outlive one test."""
    return Bench


@pytest.fixture
def bench(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    monkeypatch.syspath_prepend(str(SAMPLE_HANDLERS))
    every = "sample_handlers:behave"
    fast = settings.model_copy(
        update={
            "lease_seconds": 3.0,
            "heartbeat_seconds": 0.3,
            "sweep_seconds": 0.3,
            "poll_seconds": 0.2,
            "cancel_grace_seconds": 0.5,
            "shutdown_grace_seconds": 10.0,
            "retry_backoff_seconds": 0.05,
            "handlers": f"processing={every},export={every},adf_validation={every}",
        }
    )
    bench = Bench(fast, database.url)
    yield bench
    bench.close()


@pytest.fixture
def processes_alive() -> Callable[[int], bool]:
    """Whether a process runs, zombies left out."""

    def is_alive(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    return is_alive
