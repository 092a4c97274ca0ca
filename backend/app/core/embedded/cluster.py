"""Create a cluster, and start and stop its server; called with the startup lock held.

No process id decides anything: a connection shows whether the server is up, and the server lock,
which all its processes inherited, whether one of them is left. PostgreSQL's own guards stay.
"""

from __future__ import annotations

import os
import platform
import re
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import time
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.pq import PGconn, Ping

from app.core.embedded.binaries import find_binaries, runnable
from app.core.embedded.locks import POLL_SECONDS, FileLock, is_held
from app.core.embedded.server_directory import (
    PORT,
    SOCKET_NAME,
    opened_directory,
    read_own_file,
)
from app.core.errors import DatabaseUnavailable

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Sequence

    from app.core.embedded.binaries import Binaries
    from app.core.embedded.server_directory import ServerDirectory

DATABASE = "session_tasks"
USER = "session_tasks"
CONNECTION_OPTIONS = {
    "channel_binding": "disable",
    "gssencmode": "disable",
    "target_session_attrs": "any",
}
"""Of every connection by a Unix socket, whatever the environment sets (`PGCHANNELBINDING`, say)."""

START_SECONDS = 120.0
"""How long a server may take to respond; recovery after a crash is part of it."""

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
_FIRST_RELIABLE_SYNCFS = (5, 8)
_CONFIGURATION = """
# Chosen by session-tasks for a laptop; edit as you like. Durability is as PostgreSQL ships it.
# Where it listens, its log and max_connections are arguments of the server.
shared_buffers = 128MB
timezone = 'UTC'
log_timezone = 'UTC'
log_checkpoints = off
"""
"""Appended to `postgresql.conf` when the cluster is made."""

_NO_ENTRY = "could not look up effective user ID"
_NSS_WRAPPERS = ("lib/*/libnss_wrapper.so", "lib64/libnss_wrapper.so", "lib/libnss_wrapper.so")
_NEXT_STEP = (
    "See that the disk has 100 MB free, is not mounted noexec, and that the directory is the"
    " account's own; or set SESSION_TASKS_DATA_DIR to another one, or SESSION_TASKS_DATABASE_URL."
)
_NEXT_STEPS = {
    _NO_ENTRY: "Install libnss-wrapper, or run this under an account that /etc/passwd lists, or"
    " set SESSION_TASKS_DATABASE_URL.",
    "shared memory segment": "Enlarge /dev/shm (docker run --shm-size=64m), or set"
    " SESSION_TASKS_DATABASE_URL.",
}
"""By a part of the error's message."""

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


def bring_up(directory: ServerDirectory, seconds: float = START_SECONDS) -> str:
    """Return the version of the running server, started if it did not run.

    `seconds` is how long it may take to respond; it goes on starting after that.

    Raises:
        DatabaseUnavailable: it cannot be started; the error quotes the log's last lines.
        OSError: its cluster cannot be created.

    """
    deadline = time.monotonic() + seconds
    starts = log_start = 0
    while True:
        if not _listens(directory):
            log_start = _start(directory)
            starts += 1
        version = _await_answer(directory, log_start, deadline)
        if version is not None:
            return version
        if starts == STARTS:
            said = _log(directory, log_start)
            raise DatabaseUnavailable(
                f"The embedded PostgreSQL in {directory.home} did not start: {said}",
                next_step=next_step(
                    said, f"See {directory.log}; or set SESSION_TASKS_DATABASE_URL."
                ),
            )
        # It was stopping already, or was killed while it started.


def shut_down(directory: ServerDirectory) -> None:
    """Stop the server, its data safe on disk (fast shutdown), and wait until it has ended.

    Raises:
        DatabaseUnavailable: some of its processes do not end.

    """
    with FileLock(directory.server_lock) as lock:
        if not lock.try_alone() and (postmaster := _postmaster(directory)) is not None:
            _signal(postmaster, signal.SIGINT)
            lock.alone_within(STOP_SECONDS)
        _end_leftovers(directory, lock)
    directory.drop_socket_directory()


def _listens(directory: ServerDirectory) -> bool:
    """Whether a postmaster has the socket open, without waiting for its response."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(directory.socket_directory / SOCKET_NAME))
        except BlockingIOError:
            return True  # too many wait in its queue
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except OSError as error:
            if str(error) == "AF_UNIX path too long":  # moved to a longer path since it ran
                return False
            raise
    return True


def _await_answer(directory: ServerDirectory, log_start: int, deadline: float) -> str | None:
    """Return the version of the running server; None if its last process has ended."""
    began = time.monotonic()
    address = make_conninfo(
        host=str(directory.socket_directory), port=PORT, connect_timeout=5, **CONNECTION_OPTIONS
    )
    reason = "no response"
    was_ready = False
    while time.monotonic() < deadline:
        try:
            return _version_with_database(address)
        except psycopg.OperationalError as error:
            reason = str(error)  # it starts, has ended, or is out of connections for now
        if not is_held(directory.server_lock):
            return None
        is_ready = PGconn.ping(address.encode()) in {Ping.OK, Ping.NO_ATTEMPT}
        if was_ready and is_ready and not _is_crowded(reason):
            names = ", ".join(sorted(name for name in os.environ if name.startswith("PG")))
            raise DatabaseUnavailable(
                f"The embedded PostgreSQL in {directory.home} cannot be connected to: {reason}",
                next_step=f"Of {names}, unset what is meant for another server."
                if names
                else f"See {directory.log}.",
            )
        was_ready = is_ready
        time.sleep(POLL_SECONDS)
    raise DatabaseUnavailable(
        f"The embedded PostgreSQL in {directory.home} runs but did not take a connection for"
        f" {time.monotonic() - began:.0f} s ({reason}): {_log(directory, log_start)}",
        next_step=f"See {directory.log}; if it is recovering, try again later.",
    )


def _is_crowded(reason: str) -> bool:
    return "too many clients" in reason or "connection slots" in reason


def _version_with_database(address: str) -> str:
    """Return the server's version; its database is created if it is missing."""
    with psycopg.connect(
        make_conninfo(address, user=USER, dbname="postgres", options=""),
        autocommit=True,
    ) as connection:
        found = connection.execute(
            "SELECT 1 FROM pg_catalog.pg_database WHERE datname = %s", [DATABASE]
        ).fetchone()
        if found is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
        major, minor = divmod(connection.info.server_version, 10_000)
        return f"{major}.{minor}"


def _start(directory: ServerDirectory) -> int:
    """Start the server, on a new cluster if there is none; return where its log begins."""
    with FileLock(directory.server_lock) as lock:
        _end_leftovers(directory, lock)
        with runnable(directory, find_binaries(_major_of(directory))) as (binaries, inherited):
            if _major_of(directory) is None:
                _make_cluster(directory, binaries)
            directory.make_socket_directory()
            _drop_stale_pid_files(directory)
            log_start = _turn_log(directory)
            _launch(directory, binaries, [lock.descriptor, *inherited])
    return log_start


def _launch(directory: ServerDirectory, binaries: Binaries, inherited: Sequence[int]) -> None:
    """Start a detached server, which holds the inherited locks until it has ended."""
    sockets = str(directory.socket_directory).replace('"', '""')
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": f'"{sockets}"',
        "unix_socket_permissions": "0700",
        "port": PORT,
        "logging_collector": "off",
        "log_destination": "stderr",
        "cluster_name": "session-tasks",
        "max_connections": MOST_CONNECTIONS,
    }
    if _has_syncfs():
        settings["recovery_init_sync_method"] = "syncfs"
    options = [part for item in settings.items() for part in ("-c", "=".join(item))]
    # sh's background job outlives it and belongs to init: no zombie of ours when it ends.
    script = 'log=$1; shift; "$@" </dev/null >>"$log" 2>&1 &'
    server: Sequence[str | Path] = [binaries.postgres, "-D", directory.cluster, *options]
    answer = directory.run(
        ["/bin/sh", "-c", script, "sh", directory.log, *server], pass_fds=inherited
    )
    if answer.returncode != 0 or answer.stderr:
        raise DatabaseUnavailable(
            f"The embedded PostgreSQL could not be launched: {_tail(answer.stderr)}",
            next_step=f"See that {directory.home} can be written by the server's account.",
        )


def _has_syncfs() -> bool:
    """Whether one call can sync the thousand files before a recovery.

    That is on Linux from 5.8 on; older kernels do not report failed writes.
    """
    version = re.match(r"(\d+)\.(\d+)", platform.release())
    return (
        sys.platform == "linux"
        and version is not None
        and (int(version[1]), int(version[2])) >= _FIRST_RELIABLE_SYNCFS
    )


def _make_cluster(directory: ServerDirectory, binaries: Binaries) -> None:
    """Create the cluster under another name, and move it when it is complete.

    Raises:
        OSError: initdb failed, with its message.

    """
    for half_made in directory.home.glob("cluster.new-*"):
        # An initdb whose caller was killed may still write to it: then the next start removes it.
        shutil.rmtree(half_made, ignore_errors=True)
    new = directory.home / f"cluster.new-{secrets.token_hex(4)}"
    try:
        _initdb(directory, binaries, new)
        directory.shell('printf %s "$2" >>"$1"', new / "postgresql.conf", _CONFIGURATION)
        _run_initdb(directory, [binaries.initdb, "--sync-only", "-D", new])
        new.rename(directory.cluster)
        with opened_directory(directory.home) as descriptor:
            os.fsync(descriptor)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)  # its errors would hide the first one
        raise


def _initdb(directory: ServerDirectory, binaries: Binaries, cluster: Path) -> None:
    if binaries.major >= _FIRST_BUILTIN_LOCALE:
        locales = [["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]]
    else:  # the C library's own C.UTF-8, where it has one
        locales = [["--locale=C.UTF-8"], ["--locale=C"]]
    options = ["--username", USER, "--auth=trust", "--encoding=UTF8", "--data-checksums"]
    for locale in locales:
        answer = _run_initdb(directory, [binaries.initdb, "-N", "-D", cluster, *options, *locale])
        if answer.returncode == 0:
            return
        if "invalid locale" not in answer.stderr:
            break
    raise OSError(_tail(answer.stderr))


def _run_initdb(
    directory: ServerDirectory, command: Sequence[str | Path]
) -> subprocess.CompletedProcess[str]:
    """Run initdb; an account without an entry in /etc/passwd gets one from nss_wrapper, if there.

    As in the images of containers that run under any number (`docker run --user 12345`).
    """
    answer = directory.run(command)
    library = next(chain.from_iterable(map(Path("/usr").glob, _NSS_WRAPPERS)), None)
    if _NO_ENTRY not in answer.stderr or library is None:
        return answer
    uid, gid = (os.geteuid(), os.getegid()) if (a := directory.account) is None else (a.uid, a.gid)
    with tempfile.NamedTemporaryFile("w") as entries:
        entries.write(f"session-tasks:x:{uid}:{gid}::/:/bin/false\n")
        entries.flush()
        Path(entries.name).chmod(0o644)
        environment = {
            "LD_PRELOAD": str(library),
            "NSS_WRAPPER_PASSWD": entries.name,
            "NSS_WRAPPER_GROUP": "/dev/null",
        }
        return directory.run(command, extra_environment=environment)


def next_step(said: str, usual: str = _NEXT_STEP) -> str:
    """Return what to do about this error of PostgreSQL or of the system."""
    return next((step for sign, step in _NEXT_STEPS.items() if sign in said), usual)


def _major_of(directory: ServerDirectory) -> int | None:
    version = read_own_file(directory.cluster / "PG_VERSION")
    return int(version) if version else None


def _end_leftovers(directory: ServerDirectory, lock: FileLock) -> None:
    """End the backends that outlived a killed postmaster, and hold the server lock alone.

    They hold shared memory that a new server must not share. Their data are safe: what was
    committed is in the write-ahead log.

    Raises:
        DatabaseUnavailable: they do not end.

    """
    for number in (signal.SIGQUIT, signal.SIGKILL):
        deadline = time.monotonic() + KILL_SECONDS
        while time.monotonic() < deadline:
            if lock.try_alone():
                return
            for process in _processes(directory):
                _signal(process, number)
            lock.alone_within(SIGNAL_AGAIN_SECONDS)
    raise DatabaseUnavailable(
        f"Processes of an earlier embedded PostgreSQL in {directory.home} do not end",
        next_step="End the postgres processes of that directory, and try again.",
    )


def _processes(directory: ServerDirectory) -> list[int]:
    """Return the processes named `postgres` that work in the cluster; none where there is no /proc.

    Run as the server's account: root in a container may not see where others' processes work.
    """
    answer = directory.run(["/bin/sh", "-c", _LIST_PROCESSES, "sh", directory.cluster])
    return [int(number) for number in answer.stdout.split()]


def _postmaster(directory: ServerDirectory) -> int | None:
    """Return the postmaster's id; never one that another process has by now."""
    lines = read_own_file(directory.cluster / "postmaster.pid").splitlines()
    if not lines:
        return None
    process = int(lines[0])
    is_alive = (
        process in _processes(directory) if Path("/proc/self").exists() else _listens(directory)
    )
    return process if is_alive else None


def _drop_stale_pid_files(directory: ServerDirectory) -> None:
    """Remove the files with the process id of a killed server: another process may have it by now.

    PostgreSQL would then refuse to start.
    """
    if _processes(directory):  # started without our locks: PostgreSQL refuses rightly
        return
    socket_file = directory.socket_directory / SOCKET_NAME
    stale = (directory.cluster / "postmaster.pid", socket_file, f"{socket_file}.lock")
    directory.shell('rm -f -- "$@"', *stale)


def _signal(process: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, number)


def _turn_log(directory: ServerDirectory) -> int:
    try:
        size = directory.log.lstat().st_size
    except FileNotFoundError:
        return 0
    if size <= LOG_BYTES:
        return size
    directory.log.replace(directory.log.with_name("server.log.1"))
    return 0


def _log(directory: ServerDirectory, start: int) -> str:
    return _tail(read_own_file(directory.log, start))


def _tail(text: str) -> str:
    echo = "FATAL:  the database system is "  # starting up: the responses to our own probes
    lines = [line for line in text.splitlines() if line.strip() and echo not in line]
    return "\n".join(lines[-8:]) or "(it said nothing)"
