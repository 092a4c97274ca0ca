"""Making a cluster, starting its server, finding it alive, stopping it.

Everything here is called with the decision lock held. Two questions are asked, and neither
of a process id: *does it answer?* (a connection) and *is any process of it left?* (the server
lock, which all of them inherited). PostgreSQL's own guards stay as they are.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg import pq, sql

from app.core.embedded.binaries import find_binaries, runnable
from app.core.embedded.locks import POLL_SECONDS, FileLock, is_held
from app.core.embedded.place import PORT, SOCKET_NAME
from app.core.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.core.embedded.binaries import Binaries
    from app.core.embedded.place import Place

DATABASE = "session_tasks"
USER = "session_tasks"
START_SECONDS = 120.0
"""How long a server may take to answer; recovery after a crash is part of it."""

STOP_SECONDS = 60.0
"""How long a fast shutdown may take before an immediate one follows."""

MOST_CONNECTIONS = "300"
"""Every command that shares the server brings a pool; PostgreSQL's own 100 are soon taken."""

KILL_SECONDS = 10.0
"""How long processes may take to end after a signal that they cannot defer."""

SIGNAL_AGAIN_SECONDS = 0.1
"""A process may have been forked, or become `postgres`, since the last round of signals."""

LOG_BYTES = 1024 * 1024
"""A log larger than this is put aside at the next start; one older log is kept."""

_FIRST_BUILTIN_LOCALE = 17
_CONFIGURATION = """
# Chosen by session-tasks for a laptop; edit as you like. Durability is as PostgreSQL ships it.
# Where it listens, its log and max_connections are arguments of the server.
shared_buffers = 128MB
jit = off                       # short statements only: compiling them would cost more
timezone = 'UTC'
log_timezone = 'UTC'
log_checkpoints = off
"""
"""Appended to `postgresql.conf` when the cluster is made."""

_LIST_PROCESSES = """
for process in /proc/[0-9]*; do
    read -r name <"$process/comm" || continue
    if [ "$name" = postgres ] && [ "$process/cwd" -ef "$1" ]; then
        echo "${process#/proc/}"
    fi
done
"""


STARTS = 3
"""How often a server is started that ends before it responds: it may have been killed."""


def bring_up(place: Place, seconds: float = START_SECONDS) -> str:
    """Return the version of the running server, started if it did not run.

    `seconds` is how long it may take to answer; it is left to itself after that.

    Raises:
        DatabaseUnavailable: it cannot be made or started; the error carries the log's last lines.

    """
    try:
        return _bring_up(place, seconds)
    except OSError as error:
        raise DatabaseUnavailable(
            f"The embedded PostgreSQL in {place.home} could not be started: {error}.",
            next_step="See that its disk has room and that the directory is the account's own.",
        ) from error


def _bring_up(place: Place, seconds: float) -> str:
    deadline = time.monotonic() + seconds
    starts = log_start = 0
    while True:
        if not _listens(place):
            _end_leftovers(place)
            log_start = _start(place)
            starts += 1
        version = _await_answer(place, log_start, deadline)
        if version is not None:
            return version
        if starts == STARTS:
            raise DatabaseUnavailable(
                f"The embedded PostgreSQL in {place.home} did not start: {_log(place, log_start)}",
                next_step=f"See {place.log}; or set SESSION_TASKS_DATABASE_URL.",
            )
        # It was on its way out when we came, or was killed while it started.


def shut_down(place: Place) -> None:
    """End the server, its data safe on disk (fast shutdown), and wait until it is gone.

    Raises:
        DatabaseUnavailable: processes of it are left that do not end.

    """
    deadline = time.monotonic() + STOP_SECONDS
    is_asked = False
    while is_held(place.server_lock):
        if not is_asked:
            postmaster = _postmaster(place)
            if postmaster is None:
                break  # killed, its backends orphaned; or not yet come so far
            _signal(postmaster, signal.SIGINT)
            is_asked = True
        elif time.monotonic() > deadline:
            break
        time.sleep(POLL_SECONDS)
    _end_leftovers(place)
    place.drop_socket_directory()


def _listens(place: Place) -> bool:
    """Whether a postmaster has the socket open: the kernel's answer, at once."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(place.socket_directory / SOCKET_NAME))
        except BlockingIOError:
            return True  # too many wait in its queue
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except OSError as error:
            if str(error) == "AF_UNIX path too long":  # moved to a longer path since it ran
                return False
            raise
    return True


def _await_answer(place: Place, log_start: int, deadline: float) -> str | None:
    """Return the version of the running server; None if its last process has ended."""
    began = time.monotonic()
    reason = "no answer"
    conninfo = (
        f"host={place.socket_directory} port={PORT} user={USER} dbname=postgres connect_timeout=5"
    )
    while time.monotonic() < deadline:
        ping = pq.PGconn.ping(conninfo.encode())
        if ping == pq.Ping.OK:
            try:
                return _see_to_database(conninfo)
            except psycopg.OperationalError as error:
                reason = str(error)  # ended in between, or out of connections for now
        elif ping == pq.Ping.NO_RESPONSE and not is_held(place.server_lock):
            return None
        time.sleep(POLL_SECONDS)
    raise DatabaseUnavailable(
        f"The embedded PostgreSQL in {place.home} runs but did not take a connection for"
        f" {time.monotonic() - began:.0f} s ({reason}): {_log(place, log_start)}",
        next_step=f"See {place.log}; if it is recovering, try again later.",
    )


def _see_to_database(conninfo: str) -> str:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        found = connection.execute(
            "SELECT 1 FROM pg_catalog.pg_database WHERE datname = %s", [DATABASE]
        ).fetchone()
        if found is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
        major, minor = divmod(connection.info.server_version, 10_000)
        return f"{major}.{minor}"


def _start(place: Place) -> int:
    """Start the server, the cluster made if need be; return where in the log its part begins."""
    with FileLock(place.server_lock) as lock:
        if not lock.try_alone():
            raise DatabaseUnavailable(
                f"Processes of an earlier embedded PostgreSQL in {place.home} are still there.",
                next_step="End the postgres processes of that directory, and try again.",
            )
        binaries = runnable(place, find_binaries(_major_of(place)))
        if _major_of(place) is None:
            _make_cluster(place, binaries)
        place.make_socket_directory()
        _drop_stale_pid_files(place)
        log_start = _turn_log(place)
        _launch(place, binaries, lock)
    return log_start


def _launch(place: Place, binaries: Binaries, lock: FileLock) -> None:
    """Start a detached server, which holds the server lock until it has ended."""
    directory = str(place.socket_directory).replace('"', '""')
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": f'"{directory}"',
        "unix_socket_permissions": "0700",
        "port": PORT,
        "logging_collector": "off",
        "log_destination": "stderr",
        "cluster_name": "session-tasks",
        "max_connections": MOST_CONNECTIONS,
    }
    options = [part for item in settings.items() for part in ("-c", "=".join(item))]
    # sh's background job outlives it and belongs to init: no zombie of ours when it ends.
    script = 'log=$1; shift; "$@" </dev/null >>"$log" 2>&1 &'
    server: Sequence[str | Path] = [binaries.postgres, "-D", place.cluster, *options]
    answer = place.run(
        ["/bin/sh", "-c", script, "sh", place.log, *server], pass_fds=[lock.descriptor]
    )
    if answer.returncode != 0 or answer.stderr:
        raise DatabaseUnavailable(
            f"The embedded PostgreSQL could not be launched: {_tail(answer.stderr)}",
            next_step=f"See that {place.home} can be written by the server's account.",
        )


def _make_cluster(place: Place, binaries: Binaries) -> None:
    """Make the cluster under another name and move it when it is whole: half of one never counts.

    Raises:
        DatabaseUnavailable: initdb failed; carries what it said.

    """
    for half_made in place.home.glob("cluster.new-*"):
        # An initdb whose caller was killed may still write to it: then it goes next time.
        shutil.rmtree(half_made, ignore_errors=True)
    new = Path(tempfile.mkdtemp(prefix="cluster.new-", dir=place.home))
    try:
        place.give(new)
        _initdb(place, binaries, new)
        with (new / "postgresql.conf").open("a") as configuration:
            configuration.write(_CONFIGURATION)
            configuration.flush()
            os.fsync(configuration.fileno())
        new.rename(place.cluster)
        _sync(place.home)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)  # the first error is the one to hear about
        raise


def _initdb(place: Place, binaries: Binaries, directory: Path) -> None:
    if binaries.major >= _FIRST_BUILTIN_LOCALE:
        locales = [["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]]
    else:  # the C library's own C.UTF-8, where it has one
        locales = [["--locale=C.UTF-8"], ["--locale=C"]]
    options = ["--username", USER, "--auth=trust", "--encoding=UTF8", "--data-checksums"]
    for locale in locales:
        answer = place.run([binaries.initdb, "-D", directory, *options, *locale])
        if answer.returncode == 0:
            return
        if "invalid locale" not in answer.stderr:
            break
    raise DatabaseUnavailable(
        f"The embedded PostgreSQL could not be set up in {place.home}: {_tail(answer.stderr)}",
        next_step="See that the disk has 100 MB free and is not mounted noexec; or set"
        " SESSION_TASKS_DATABASE_URL.",
    )


def _major_of(place: Place) -> int | None:
    try:
        return int((place.cluster / "PG_VERSION").read_text())
    except FileNotFoundError:
        return None


def _end_leftovers(place: Place) -> None:
    """See that no process of an earlier server is left: backends that outlived a killed postmaster.

    They hold shared memory that a new server must not share. Their data are safe: what was
    committed is in the write-ahead log.
    """
    with FileLock(place.server_lock) as lock:
        for number in (signal.SIGQUIT, signal.SIGKILL):
            deadline = time.monotonic() + KILL_SECONDS
            while time.monotonic() < deadline:
                if lock.try_alone():
                    return
                for process in _processes(place):
                    _signal(process, number)
                lock.alone_within(SIGNAL_AGAIN_SECONDS)
    raise DatabaseUnavailable(
        f"Processes of an earlier embedded PostgreSQL in {place.home} do not end.",
        next_step="End the postgres processes of that directory, and try again.",
    )


def _processes(place: Place) -> list[int]:
    """Return the server's processes as Linux knows them: `postgres`, working in the cluster.

    Asked as the server's account: in a container, root may not see where others' processes work.
    """
    answer = place.run(["/bin/sh", "-c", _LIST_PROCESSES, "sh", place.cluster])
    return [int(number) for number in answer.stdout.split()]


def _postmaster(place: Place) -> int | None:
    """Return the process to shut down; never a number that another process has by now."""
    try:
        lines = (place.cluster / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return None
    if not lines:
        return None
    process = int(lines[0])
    is_alive = process in _processes(place) if Path("/proc/self").exists() else _listens(place)
    return process if is_alive else None


def _drop_stale_pid_files(place: Place) -> None:
    """Remove what a killed server left: its number may be another process's by now, or a zombie's.

    PostgreSQL would then refuse to start. Not where one was started past us: it refuses rightly.
    """
    if _processes(place):
        return
    (place.cluster / "postmaster.pid").unlink(missing_ok=True)
    for name in (SOCKET_NAME, f"{SOCKET_NAME}.lock"):
        (place.socket_directory / name).unlink(missing_ok=True)


def _signal(process: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, number)


def _turn_log(place: Place) -> int:
    try:
        size = place.log.stat().st_size
    except FileNotFoundError:
        return 0
    if size <= LOG_BYTES:
        return size
    place.log.replace(place.log.with_name("server.log.1"))
    return 0


def _log(place: Place, start: int) -> str:
    try:
        with place.log.open("rb") as log:
            log.seek(start)
            return _tail(log.read().decode(errors="replace"))
    except FileNotFoundError:
        return "(no log)"


def _tail(text: str) -> str:
    echo = "FATAL:  the database system is "  # starting up: the responses to our own probes
    lines = [line for line in text.splitlines() if line.strip() and echo not in line]
    return "\n".join(lines[-8:]) or "(it said nothing)"


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
