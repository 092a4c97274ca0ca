"""The rig of a programme: one database with the recorder, real workers on it, and the verdict."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import psutil
from sqlalchemy import create_engine, make_url, text

from app.core.config import Settings
from app.core.database import Database
from app.core.embedded import EmbeddedServer
from app.core.schema_version import upgrade_schema
from app.models.session import TaskType
from app.repositories.session_repository import SessionRepository
from chaos import history
from chaos import journal as journals
from chaos.handlers import GATES, TICKETS
from chaos.history import Acknowledged
from chaos.points import ARRIVAL, POINT
from chaos.waiting import DEADLINE_SECONDS, TooLate, until
from chaos.worker import forked

LEASE_SECONDS = 2.0
SWEEP_SECONDS = 0.4
LOCK_SECONDS = 2.0
BY_COMMAND = ("-c", "from app.cli import main; main()", "worker")
"""The usual command."""
HANDLER = "chaos.handlers:behave"
REPOSITORY = Path(__file__).resolve().parents[1]

SETTINGS: Mapping[str, str] = {
    "LEASE_SECONDS": str(LEASE_SECONDS),
    "HEARTBEAT_SECONDS": "0.4",
    "SWEEP_SECONDS": str(SWEEP_SECONDS),
    "POLL_SECONDS": "0.3",
    "RETRY_BACKOFF_SECONDS": "0.1",
    "CANCEL_GRACE_SECONDS": "0.5",
    "SHUTDOWN_GRACE_SECONDS": "0.5",
    "STATEMENT_TIMEOUT_SECONDS": "3",
    "LOCK_TIMEOUT_SECONDS": str(LOCK_SECONDS),
    "IDLE_IN_TRANSACTION_TIMEOUT_SECONDS": "3",
    "CONNECT_TIMEOUT_SECONDS": "3",
    "HANDLERS": ",".join(f"{task_type.value}={HANDLER}" for task_type in TaskType),
}

HOSTILITY_ENDED = threading.Event()
"""When set, every programme stops injecting faults, waits for the sessions, and is judged."""

FORK_SERVER = multiprocessing.get_context("forkserver")
FORK_SERVER.set_forkserver_preload(["chaos.worker"])


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of one programme: its trials, its figures, and the violations."""

    name: str
    trials: str
    figures: Mapping[str, str] = field(default_factory=dict)
    broken: Sequence[str] = ()
    skipped: str = ""


@contextlib.contextmanager
def own_server() -> Iterator[tuple[EmbeddedServer, Path]]:
    """Start a temporary PostgreSQL; yield it and its folder."""
    folder = Path(tempfile.mkdtemp(prefix="session-tasks-chaos-"))
    folder.chmod(0o711)  # as root the server runs under another account
    try:
        with EmbeddedServer.acquire(folder) as server:
            yield server, folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class ForkedProcess:
    """A worker forked from the fork server, with the interface of `subprocess.Popen`."""

    def __init__(self, options: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self._process = FORK_SERVER.Process(
            target=forked, args=(tuple(options), dict(environment), str(log))
        )
        self._process.start()
        self.pid = self._process.pid or 0

    def poll(self) -> int | None:
        """Return its exit status, None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait until it has exited."""
        self._process.join(timeout)
        return self._process.exitcode

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._process.terminate()


class WorkerProcess:
    """A worker in a process of its own, with a log file."""

    def __init__(self, process: subprocess.Popen[bytes] | ForkedProcess, log: Path) -> None:
        self.log = log
        self.process = process
        self.pid = process.pid
        self.started_at = time.monotonic()

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    @property
    def id(self) -> str:
        """Its worker id, once its log names it."""
        found = re.search(r"Worker ([0-9a-f-]{36}) started", self.log.read_text(errors="replace"))
        return found[1] if found else ""

    def children(self) -> list[int]:
        """The processes in which its tasks run."""
        try:
            return [child.pid for child in psutil.Process(self.pid).children()]
        except psutil.NoSuchProcess:
            return []

    def logged(self, words: str) -> int:
        """Return how often its log contains these words."""
        return self.log.read_text(errors="replace").count(words)

    def until_started(self) -> Self:
        until(lambda: self.logged(" started with ") or not self.is_alive, "a worker starts")
        return self

    def kill(self) -> None:
        """Kill it and its children, and wait until it has exited."""
        for pid in (self.pid, *self.children()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


class Rig:
    """One new database, the workers on it, and everything that was acknowledged to callers.

    With a `data_dir`, the database is that of its embedded server, and workers get the directory:
    they start the server again if it dies, and the rig itself never does.
    """

    def __init__(
        self,
        server_url: str,
        seed: int,
        *,
        longest_seconds: float = 1e9,
        data_dir: Path | None = None,
    ) -> None:
        self.part = (1, 1)
        self._ends_at = time.monotonic() + longest_seconds
        self.random = random.Random(seed)
        self.folder = Path(tempfile.mkdtemp(prefix="session-tasks-rig-"))
        self.gates = self.folder / "gates"
        self.gates.mkdir()
        self._journal = journals.Reader(self.folder / "journal")
        self.acknowledged: list[Acknowledged] = []
        self.workers: list[WorkerProcess] = []
        self._server_url = server_url
        self._name = "" if data_dir is not None else f"chaos_{uuid.uuid4().hex}"
        url = make_url(server_url)
        if self._name:
            self._administer(f"CREATE DATABASE {self._name}")
            url = url.set(database=self._name)
        self.url = url.render_as_string(hide_password=False)
        self._way_in = (
            {"SESSION_TASKS_DATABASE_URL": self.url}
            if data_dir is None
            else {"SESSION_TASKS_DATA_DIR": str(data_dir)}
        )
        upgrade_schema(self.url)
        self.settings = self.settings_for(self.url)
        self.database = Database(self.settings, self.url)
        with self.database.driver_connection() as connection:
            history.install(connection)

    def settings_for(self, url: str) -> Settings:
        values = {name.lower(): value for name, value in SETTINGS.items()}
        return Settings.model_validate({**values, "database_url": url, "pool_size": 12})

    @property
    def is_time_up(self) -> bool:
        """Whether the programme must stop injecting faults."""
        return HOSTILITY_ENDED.is_set() or time.monotonic() > self._ends_at

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.kill()
        self.database.close()
        if self._name:
            self._administer(f"DROP DATABASE {self._name} WITH (FORCE)")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _administer(self, statement: str) -> None:
        engine = create_engine(self._server_url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(statement))
        engine.dispose()

    def rows(self, statement: str, **parameters: Any) -> list[Any]:
        with self.database.engine.connect() as connection:
            return list(connection.execute(text(statement), parameters))

    # -- workers and sessions ---------------------------------------------------------------------

    def worker(
        self,
        *options: str,
        point: str = "",
        arrival: int = 1,
        environment: Mapping[str, str] | None = None,
        command: Sequence[str] = ("-m", "chaos.worker"),
        is_forked: bool = False,
    ) -> WorkerProcess:
        """Start a worker: by a Python command, or forked, which is faster."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("SESSION_TASKS_")}
        paths = (str(REPOSITORY), str(REPOSITORY / "backend"))
        whole_environment = {
            **kept,
            **{f"SESSION_TASKS_{name}": value for name, value in SETTINGS.items()},
            **self._way_in,
            "PYTHONPATH": os.pathsep.join(paths),
            "PYTHONUNBUFFERED": "1",
            journals.PATH: str(self.folder / "journal"),
            GATES: str(self.gates),
            POINT: point,
            ARRIVAL: str(arrival),
            **(environment or {}),
        }
        log = self.folder / f"worker-{len(self.workers)}.log"
        log.touch()
        process: subprocess.Popen[bytes] | ForkedProcess
        if is_forked:
            process = ForkedProcess(options, whole_environment, log)
        else:
            with log.open("ab") as output:
                process = subprocess.Popen(
                    [sys.executable, *command, *options],
                    env=whole_environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    cwd=self.folder,
                    start_new_session=True,
                )
        worker = WorkerProcess(process, log)
        self.workers.append(worker)
        return worker

    def start(
        self,
        behaviour: str = "work",
        *,
        auto_advance: bool = False,
        database: Database | None = None,
        **options: Any,
    ) -> uuid.UUID:
        """Create a session and start its first task; return its id after the acknowledgement."""
        with (database or self.database).transaction() as db:
            sessions = SessionRepository(db)
            session = sessions.create_session(
                options={"behaviour": behaviour, **options}, auto_advance=auto_advance
            )
            moved = sessions.start_task(session.id, TaskType.PROCESSING)
        self.acknowledged.append(Acknowledged("started", moved.session_id, moved.task_id))
        return moved.session_id

    def journal(self, word: str) -> list[journals.Entry]:
        """Return the journal entries with this word."""
        return self._journal.entries(word)

    def warm_up(self) -> None:
        """Wait until the workers have run a session to its end, so that their children exist."""
        until(lambda: not self.unsettled(), "the first session ends")

    def until_begun(self, session_id: uuid.UUID) -> journals.Entry:
        """Wait until a handler runs the session; return the entry that names its process."""
        return until(
            lambda: next(
                (e for e in self.journal("begun") if e.subject[0] == str(session_id)), None
            ),
            "a handler begins",
        )

    def status(self, session_id: uuid.UUID) -> tuple[str, int]:
        """Return the status and the failure count of the session's task."""
        row = self.rows(
            "SELECT status, retry_count FROM session_tasks WHERE session_id = :id", id=session_id
        )[0]
        return row[0], row[1]

    def until_status(self, session_id: uuid.UUID, status: str) -> None:
        until(lambda: self.status(session_id)[0] == status, f"{session_id} is {status}")

    def live_count(self) -> int:
        return int(self.rows("SELECT count(*) FROM session_tasks WHERE status = 'running'")[0][0])

    # -- the verdict ------------------------------------------------------------------------------

    def unsettled(self) -> list[str]:
        """Return the sessions that have not reached an end."""
        return [
            f"{row.id}: lost at {row.stage}, {row.status}, {row.retry_count} failures"
            for row in self.rows(
                "SELECT s.id, s.stage, t.status, t.retry_count FROM sessions s"
                " LEFT JOIN session_tasks t ON t.session_id = s.id"
                " WHERE NOT coalesce(t.status = 'cancelled'"
                " OR (t.status = 'failed' AND t.retry_count = 3)"
                " OR (t.status = 'completed' AND (s.stage = 'completed' OR NOT s.auto_advance)),"
                " false)"
            )
        ]

    def settle(self, seconds: float = DEADLINE_SECONDS) -> None:
        """Wait until every session has ended, or until nothing has changed for this long."""
        moved = -1
        while moved != (moved := self._moved_count()):
            with contextlib.suppress(TooLate):
                until(lambda: not self.unsettled(), "every session ends", seconds)
                break

    def broken(self, *, settle_seconds: float = DEADLINE_SECONDS) -> list[str]:
        """Wait until every session has ended; then return all violations, as text."""
        self.settle(settle_seconds)
        with self.database.driver_connection() as connection:
            recorded = history.read(connection)
        return [
            *self.unsettled(),
            *history.violations(recorded, self.acknowledged),
            *self._wrong_results(),
            *(
                f"{row[0]}: a lease without a running task"
                for row in self.rows(
                    "SELECT session_id FROM session_task_leases l WHERE NOT EXISTS (SELECT FROM"
                    " session_tasks t WHERE t.session_id = l.session_id AND t.status = 'running')"
                )
            ),
            *self._logged_errors(),
        ]

    def _moved_count(self) -> int:
        return int(self.rows("SELECT count(*) FROM history_tasks")[0][0])

    def outcome_counts(self) -> dict[str, int]:
        return {
            row[0]: row[1]
            for row in self.rows("SELECT new_status, count(*) FROM history_tasks GROUP BY 1")
        }

    def _wrong_results(self) -> Iterator[str]:
        """Find results that are missing, doubled, or of a task that was not completed."""
        done = (
            "SELECT count(*) FROM history_tasks h WHERE h.session_id = s.id"
            " AND h.new_status = 'completed' AND h.new_type = '{}'"
        )
        for row in self.rows(
            "SELECT s.id, (SELECT count(*) FROM tickets WHERE session_id = s.id) tickets,"
            " (SELECT count(*) FROM exports WHERE session_id = s.id) exports,"
            f" ({done.format('processing')}) processed, ({done.format('export')}) exported"
            " FROM sessions s"
        ):
            if row.processed > 1 or row.exported > 1:
                yield f"{row.id}: completed {row.processed} and {row.exported} times"
            if (row.tickets, row.exports) != (TICKETS * row.processed, row.exported):
                yield f"{row.id}: {row.tickets} tickets and {row.exports} exports, not its results"

    def _logged_errors(self) -> Iterator[str]:
        """Find errors in the workers' logs: no injected fault may be logged as one."""
        for worker in self.workers:
            for line in worker.log.read_text(errors="replace").splitlines():
                if " ERROR " in line or '"level": "error"' in line or "CRITICAL" in line:
                    yield f"{worker.log.name}: {line[:300]} … {line[300:][-300:]}"
