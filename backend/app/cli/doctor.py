"""`doctor`: check the installation, and say how to fix what fails.

One file of more than 450 lines: one function for each check.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
from collections import Counter
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum
from importlib import resources
from importlib.util import find_spec
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Column, Table
from sqlalchemy import exists, func, select, text

from app.cli.exit_codes import ExitCode, exit_code_of
from app.cli.jira_commands import PATIENCE_SECONDS
from app.cli.opening import load_settings
from app.cli.parameters import AsJson
from app.cli.terminal import Terminal
from app.core.config import EngineName, Settings
from app.core.database import Database
from app.core.embedded import abandoned_clusters, at_home, find_binaries
from app.core.errors import TaskError
from app.core.schema_version import newest_revision, require_current_schema
from app.core.wording import count_text, duration_text, size_text
from app.engines.broker import BrokerProbe
from app.models.lease import SessionTaskLease
from app.models.rights import require_rights
from app.models.session import Session, SessionTask
from app.presentation.workers import paused_text
from app.repositories.pause_repository import read_pauses
from app.repositories.worker_repository import WORKER_STATES, count_unserved, live_workers
from app.tasks.jira.sites import configured_targets, open_client
from app.tasks.registry import BUILT_IN_HANDLERS, checked_handlers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from rich.console import Console

LEAST_FREE_BYTES = 100 * 1000 * 1000
LITTLE_FREE_BYTES = 1000 * 1000 * 1000
LARGEST_CLOCK_DIFFERENCE_SECONDS = 5.0
MOST_LOCKS_TOLD = 3


class Verdict(Enum):
    """The result of a check."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check, with the way to fix what fails.

    Attributes:
        counts: the figures in `found`, by name, for scripts.

    """

    name: str
    verdict: Verdict
    found: str
    remedy: str = ""
    exit_code: ExitCode = ExitCode.OK
    counts: Mapping[str, int] = field(default_factory=dict)


def doctor_command(as_json: AsJson = False) -> ExitCode:
    """Check everything that Session Tasks needs, and say how to fix what is wrong.

    Exits 0 if nothing is missing, 5 if the database is unavailable, 1 or 2 for anything else.
    """
    terminal = Terminal(is_json=as_json)
    checks: list[Check] = []
    with terminal.people.status("Looking …") if terminal.people.is_terminal else _nothing():
        checks += examine()
    code = max((check.exit_code for check in checks), default=ExitCode.OK)
    if as_json:
        said = [asdict(check) | {"verdict": check.verdict.value} for check in checks]
        counts: dict[str, int] = {}
        for check in said:
            del check["exit_code"]
            counts |= check.pop("counts")
        terminal.write_json({"checks": said, "counts": counts, "exit_code": int(code)})
    else:
        _print_checks(terminal.out, checks)
    return code


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def examine() -> Iterator[Check]:
    """Run all checks, each after those that it depends on."""
    yield _python()
    yield _packaged_schema()
    try:
        settings = load_settings()
    except TaskError as error:
        yield _failure("settings", error)
        return
    yield _settings()
    yield _office()
    yield _handlers(settings)
    if settings.database_url is None:
        yield from _embedded(settings)
    yield from _database(settings)
    if settings.engine == EngineName.CELERY:
        yield _celery(settings)
    for target in configured_targets(settings):
        yield _jira(settings, target)


def _failure(name: str, error: TaskError) -> Check:
    code = exit_code_of(error)
    return Check(name, Verdict.FAILED, error.message, error.next_step, code)


def _python() -> Check:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return Check("Python", Verdict.OK, found)


def _packaged_schema() -> Check:
    """Check that Atlassian's schema is, byte for byte, the one that its provenance names."""
    folder = resources.files("app.tasks.adf") / "schema"
    try:
        provenance = json.loads((folder / "provenance.json").read_text())
        version = provenance["version"]
        content = (folder / f"adf-full-{version}.json").read_bytes()
    except (OSError, ValueError, KeyError) as error:
        found = f"cannot be read: {error}"
    else:
        if hashlib.sha256(content).hexdigest() == provenance["sha256"]:
            return Check("ADF schema", Verdict.OK, f"Atlassian's {version}, unmodified")
        found = "differs from the file that its provenance names"
    remedy = "Install Session Tasks again."
    return Check("ADF schema", Verdict.FAILED, found, remedy, ExitCode.UNEXPECTED)


def _office() -> Check:
    """Check whether workbooks and Word files can be read."""
    missing = [module for module in ("python_calamine", "mammoth") if find_spec(module) is None]
    if missing:
        return Check(
            "office documents",
            Verdict.OK,
            "not read: .xlsx, .ods and .docx need pip install 'session-tasks[office]'",
        )
    return Check("office documents", Verdict.OK, ".xlsx, .ods and .docx can be read")


def _handlers(settings: Settings) -> Check:
    """Check that the handlers can be imported; with Celery they need not be on this machine."""
    try:
        references = checked_handlers(settings)
    except TaskError as error:
        check = _failure("handlers", error)
        if settings.engine == EngineName.CELERY:
            return replace(check, verdict=Verdict.WARNING, exit_code=ExitCode.OK)
        return check
    own = [
        f"{task_type.value}: {reference}"
        for task_type, reference in references.items()
        if reference != BUILT_IN_HANDLERS[task_type]
    ]
    return Check("handlers", Verdict.OK, ", ".join(own) or "built in")


def _settings() -> Check:
    prefix = str(Settings.model_config.get("env_prefix"))
    known = {f"{prefix}{name}".upper() for name in Settings.model_fields}
    given = {
        name.upper().partition("__")[0] for name in os.environ if name.upper().startswith(prefix)
    }
    unknown = sorted(given - known)
    if unknown:
        return Check(
            "settings",
            Verdict.WARNING,
            f"{', '.join(unknown)}: no such setting; it has no effect",
            "See docs/operations.md for the list of settings.",
        )
    return Check("settings", Verdict.OK, f"{len(given)} given, the rest at their defaults")


def _embedded(settings: Settings) -> Iterator[Check]:
    try:
        binaries = find_binaries()
    except TaskError as error:
        yield _failure("PostgreSQL's programs", error)
    else:
        origin = "from the wheel" if binaries.is_wheel else "of this machine"
        found = f"{binaries.version} {origin}, in {binaries.directory}"
        yield Check("PostgreSQL's programs", Verdict.OK, found)
    try:
        yield _data_directory(at_home(settings.data_dir))
    except TaskError as error:
        yield _failure("data directory", error)
    yield from _abandoned_clusters()


def _abandoned_clusters() -> Iterator[Check]:
    """Name the clusters that outlived their data directories, if there are any."""
    found = list(abandoned_clusters())
    if not found:
        return
    named = "; ".join(f"{one.home} (of {one.data_dir})" for one in found)
    kept = [str(one.home) for one in found if not one.is_removable]
    remedy = "" if len(kept) == len(found) else "Remove them: session-tasks cleanup. "
    if kept:
        remedy += f"Mount the disk of the data directory, or remove: {', '.join(kept)}."
    yield Check(
        "abandoned databases",
        Verdict.WARNING,
        f"{len(found)} whose data directory is gone: {named}",
        remedy.strip(),
        counts={"abandoned_databases": len(found)},
    )


def _data_directory(directory: Path) -> Check:
    existing = next(path for path in (directory, *directory.parents) if path.exists())
    name = "data directory"
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        return Check(
            name,
            Verdict.FAILED,
            f"{directory}: {existing} is not writable",
            "Set SESSION_TASKS_DATA_DIR to a directory that this account can write to.",
            ExitCode.DATABASE_UNREACHABLE,
        )
    free = shutil.disk_usage(existing).free
    found = f"{directory}, {size_text(free)} free"
    if (directory / "postgresql").is_symlink():
        found += f"; the database lies in {(directory / 'postgresql').resolve()}"
    if free < LEAST_FREE_BYTES:
        remedy = "Free some space, or set SESSION_TASKS_DATA_DIR to a larger disk."
        return Check(name, Verdict.FAILED, found, remedy, ExitCode.DATABASE_UNREACHABLE)
    if free < LITTLE_FREE_BYTES:
        return Check(name, Verdict.WARNING, found, "Free some space before the disk is full.")
    return Check(name, Verdict.OK, found)


def _database(settings: Settings) -> Iterator[Check]:
    try:
        database = Database.open(settings, require_current=False)
    except TaskError as error:
        yield _failure("database", error)
        return
    with database:
        for name, look in (
            ("database", _server),
            ("locks", _locks),  # which the following may be kept waiting by
            ("rights", _rights),
            ("migration", _migration),
            ("clock", _clock),
            ("sessions", _sessions),
            ("workers", _workers),
            ("claims", _claims),
        ):
            check = _looked(name, look, database)
            yield check
            if check.verdict is Verdict.FAILED:
                return


def _looked(name: str, look: Callable[[Database], Check], database: Database) -> Check:
    try:
        return look(database)
    except TaskError as error:
        return _failure(name, error)


def _server(database: Database) -> Check:
    with database.transaction() as db:
        version = db.scalar(text("SHOW server_version"))
    kind = "embedded" if database.server is not None else "given by SESSION_TASKS_DATABASE_URL"
    return Check("database", Verdict.OK, f"PostgreSQL {version} responds ({kind})")


def _rights(database: Database) -> Check:
    require_rights(database)
    return Check("rights", Verdict.OK, "the role may read and write every table")


def _migration(database: Database) -> Check:
    require_current_schema(database.engine)
    return Check("migration", Verdict.OK, f"{newest_revision()}, the newest")


def _clock(database: Database) -> Check:
    with database.transaction() as db:
        theirs = db.scalars(select(func.clock_timestamp())).one()
    difference = abs((datetime.now(UTC) - theirs).total_seconds())
    if difference > LARGEST_CLOCK_DIFFERENCE_SECONDS:
        return Check(
            "clock",
            Verdict.WARNING,
            f"{duration_text(difference)} away from the database's",
            "Set up NTP. Tasks use the database's clock, but logs use this one.",
        )
    return Check("clock", Verdict.OK, "agrees with the database's")


def _sessions(database: Database) -> Check:
    with database.transaction() as db:
        sessions = db.scalars(select(func.count()).select_from(Session)).one()
        leased_until = SessionTaskLease.leased_until
        waiting, overdue, all_live = db.execute(
            select(
                func.count().filter(leased_until.is_(None)),
                func.count().filter(leased_until < func.clock_timestamp()),
                func.count(),
            ).select_from(SessionTaskLease)
        ).one()
        unleased = db.scalars(
            select(func.count())
            .select_from(SessionTask)
            .where(
                SessionTask.is_running,
                ~exists().where(SessionTaskLease.session_id == SessionTask.session_id),
            )
        ).one()
    found = f"{sessions:,}, of which {all_live:,} live and {waiting:,} waiting for a worker"
    counts = {
        "sessions": sessions,
        "live": all_live,
        "waiting": waiting,
        "lease_expired": overdue,
        "running_without_lease": unleased,
    }
    troubles = [
        f"{count:,} {what}"
        for count, what in (
            (overdue, "whose worker does not respond"),
            (unleased, "running without a lease"),
        )
        if count
    ]
    if troubles:
        return Check(
            "sessions",
            Verdict.WARNING,
            "; ".join((found, *troubles)),
            "Run session-tasks sweep, or start a worker: session-tasks worker.",
            counts=counts,
        )
    return Check("sessions", Verdict.OK, found, counts=counts)


def _workers(database: Database) -> Check:
    """Count the workers that are alive, and the tasks that no worker takes."""
    with database.autocommit_connection() as connection:
        workers, unserved = live_workers(connection), count_unserved(connection)
    states = Counter(worker.state for worker in workers)
    found = ", ".join(f"{states[state]:,} {state}" for state in WORKER_STATES if states[state])
    found = f"{len(workers):,} alive: {found}" if workers else "none is alive"
    counts = {"workers": len(workers), "waiting_without_worker": unserved}
    if not unserved:
        return Check("workers", Verdict.OK, found, counts=counts)
    return Check(
        "workers",
        Verdict.WARNING,
        f"{found}; {count_text(unserved, 'task')} waiting, and no worker takes them",
        "Start one: session-tasks worker, or with Celery: celery -A app.engines.celery worker.",
        counts=counts,
    )


def _claims(database: Database) -> Check:
    """Report paused claims, since when, and by which account."""
    with database.autocommit_connection() as connection:
        pauses = read_pauses(connection)
    if not pauses:
        return Check("claims", Verdict.OK, "not paused")
    first = min(pauses, key=lambda pause: pause.paused_at)
    return Check(
        "claims",
        Verdict.WARNING,
        f"{paused_text(pauses)}, since {first.paused_at:%Y-%m-%d %H:%M} UTC by {first.paused_by}",
        "To resume: session-tasks resume.",
    )


# A role that is not a member of pg_read_all_stats sees only its own activity.
_LONG_LOCKS = """
SELECT pid, usename, application_name, state,
       extract(epoch FROM clock_timestamp() - xact_start)::float8 AS seconds
  FROM pg_stat_activity AS activity
 WHERE datname = current_database() AND backend_type = 'client backend'
   AND xact_start < clock_timestamp() - make_interval(secs => :seconds)
   AND EXISTS (SELECT FROM pg_locks
                WHERE pg_locks.pid = activity.pid AND granted AND mode <> 'AccessShareLock'
                  AND relation IN (SELECT to_regclass(name)
                                      FROM unnest(CAST(:tables AS text[])) AS ours (name)))
 ORDER BY xact_start"""


def _locks(database: Database) -> Check:
    """Find transactions that lock sessions for longer than others wait for a lock."""
    tables = [model.__tablename__ for model in (Session, SessionTask, SessionTaskLease)]
    with database.transaction() as db:
        longest = db.execute(
            text(_LONG_LOCKS),
            {"seconds": database.settings.lock_timeout_seconds, "tables": tables},
        ).all()
    if not longest:
        return Check("locks", Verdict.OK, "none is held for long")
    held = "; ".join(
        f"process {each.pid} ({each.usename}, {each.application_name or 'no name'}, {each.state})"
        f" for {duration_text(each.seconds)}"
        for each in longest[:MOST_LOCKS_TOLD]
    )
    return Check(
        "locks",
        Verdict.WARNING,
        f"{count_text(len(longest), 'transaction')} with sessions locked for long: {held}",
        f"The sessions they lock must wait. End one that was forgotten: "
        f"SELECT pg_terminate_backend({longest[0].pid})",
    )


def _celery(settings: Settings) -> Check:
    if settings.broker_url is None:
        return Check(
            "broker",
            Verdict.FAILED,
            "SESSION_TASKS_ENGINE is celery, but SESSION_TASKS_BROKER_URL is not set",
            "Set it, or unset SESSION_TASKS_ENGINE.",
            ExitCode.USAGE,
        )
    try:
        count = BrokerProbe(settings).count_messages()
    except TaskError as error:
        return _failure("broker", error)
    found = f"takes messages; {count_text(count, 'message')} in the queue {settings.queue}"
    return Check("broker", Verdict.OK, found, counts={"broker_messages": count})


def _jira(settings: Settings, target: str) -> Check:
    """Check that the account can sign in; `jira check --project` checks a project."""
    try:
        with open_client(settings, target, patience_seconds=PATIENCE_SECONDS) as client:
            name = client.myself().get("displayName", "?")
    except TaskError as error:
        return _failure(target, error)
    return Check(target, Verdict.OK, f"{client.site.url}, signed in as {name}")


def _print_checks(console: Console, checks: list[Check]) -> None:
    marks = {
        Verdict.OK: "[bold green]✓[/]",
        Verdict.WARNING: "[bold yellow]![/]",
        Verdict.FAILED: "[bold red]✗[/]",
    }
    table = Table.grid("", "", Column(overflow="fold"), padding=(0, 2))
    for check in checks:
        table.add_row(marks[check.verdict], f"[bold]{escape(check.name)}[/]", escape(check.found))
        if check.remedy:
            table.add_row("", "", f"[bold]→ {escape(check.remedy)}[/]")
    console.print(table)
