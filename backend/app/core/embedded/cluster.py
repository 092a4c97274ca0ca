"""Making a cluster, starting its server, finding it alive, stopping it.

Everything here is called with the decision lock held. Two questions are asked, and neither
of a process id: *does it answer?* (a connection) and *is any process of it left?* (the server
lock, which all of them inherited). PostgreSQL's own guards stay as they are.
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
from psycopg import pq, sql

from app.core.embedded.binaries import find_binaries, runnable
from app.core.embedded.locks import POLL_SECONDS, FileLock, is_held
from app.core.embedded.place import PORT, SOCKET_NAME, read_own_file
from app.core.errors import DatabaseUnavailable

if TYPE_CHECKING:
    import subprocess
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
_FIRST_RELIABLE_SYNCFS = (5, 8)
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

_NO_ENTRY = "could not look up effective user ID"
_NSS_WRAPPERS = ("lib/*/libnss_wrapper.so", "lib64/libnss_wrapper.so", "lib/libnss_wrapper.so")
_NEXT_STEP = (
    "See that the disk has 100 MB free, is not mounted noexec, and that the directory is the"
    " account's own; or set SESSION_TASKS_DATABASE_URL."
)
_NEXT_STEPS = {
    _NO_ENTRY: "Install libnss-wrapper, or run this under an account that /etc/passwd lists, or"
    " set SESSION_TASKS_DATABASE_URL.",
    "shared memory segment": "Enlarge /dev/shm (docker run --shm-size=64m), or set"
    " SESSION_TASKS_DATABASE_URL.",
}
"""By what PostgreSQL says."""

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
            f"The embedded PostgreSQL could not be set up in {place.home}: {error}.",
            next_step=_next_step(str(error)),
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
                f"The embedded PostgreSQL in {place.home} did not start:"
                f" {(said := _log(place, log_start))}",
                next_step=_next_step(said, f"See {place.log}; or set SESSION_TASKS_DATABASE_URL."),
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
        with runnable(place, find_binaries(_major_of(place))) as (binaries, inherited):
            if _major_of(place) is None:
                _make_cluster(place, binaries)
            place.make_socket_directory()
            _drop_stale_pid_files(place)
            log_start = _turn_log(place)
            _launch(place, binaries, [lock.descriptor, *inherited])
    return log_start


def _launch(place: Place, binaries: Binaries, inherited: Sequence[int]) -> None:
    """Start a detached server, which holds the inherited locks until it has ended."""
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
    if _has_syncfs():
        settings["recovery_init_sync_method"] = "syncfs"
    options = [part for item in settings.items() for part in ("-c", "=".join(item))]
    # sh's background job outlives it and belongs to init: no zombie of ours when it ends.
    script = 'log=$1; shift; "$@" </dev/null >>"$log" 2>&1 &'
    server: Sequence[str | Path] = [binaries.postgres, "-D", place.cluster, *options]
    answer = place.run(["/bin/sh", "-c", script, "sh", place.log, *server], pass_fds=inherited)
    if answer.returncode != 0 or answer.stderr:
        raise DatabaseUnavailable(
            f"The embedded PostgreSQL could not be launched: {_tail(answer.stderr)}",
            next_step=f"See that {place.home} can be written by the server's account.",
        )


def _has_syncfs() -> bool:
    """Whether one call can sync all files before a recovery: there are a thousand.

    On Linux, and from 5.8 on: older kernels do not report what could not be written.
    """
    version = re.match(r"(\d+)\.(\d+)", platform.release())
    return (
        sys.platform == "linux"
        and version is not None
        and (int(version[1]), int(version[2])) >= _FIRST_RELIABLE_SYNCFS
    )


def _make_cluster(place: Place, binaries: Binaries) -> None:
    """Make the cluster under another name and move it when it is whole: half of one never counts.

    Raises:
        OSError: initdb failed; carries what it said.

    """
    for half_made in place.home.glob("cluster.new-*"):
        # An initdb whose caller was killed may still write to it: then it goes next time.
        shutil.rmtree(half_made, ignore_errors=True)
    new = place.home / f"cluster.new-{secrets.token_hex(4)}"
    try:
        _initdb(place, binaries, new)
        place.shell('printf %s "$2" >>"$1"', new / "postgresql.conf", _CONFIGURATION)
        _run_initdb(place, [binaries.initdb, "--sync-only", "-D", new])
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
        answer = _run_initdb(place, [binaries.initdb, "-N", "-D", directory, *options, *locale])
        if answer.returncode == 0:
            return
        if "invalid locale" not in answer.stderr:
            break
    raise OSError(_tail(answer.stderr))


def _run_initdb(place: Place, command: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
    """Run initdb; an account without an entry in /etc/passwd gets one from nss_wrapper, if there.

    As in the images of containers that run under any number (`docker run --user 12345`).
    """
    answer = place.run(command)
    library = next(chain.from_iterable(map(Path("/usr").glob, _NSS_WRAPPERS)), None)
    if _NO_ENTRY not in answer.stderr or library is None:
        return answer
    uid, gid = (os.geteuid(), os.getegid()) if (a := place.account) is None else (a.uid, a.gid)
    with tempfile.NamedTemporaryFile("w") as entries:
        entries.write(f"session-tasks:x:{uid}:{gid}::/:/bin/false\n")
        entries.flush()
        Path(entries.name).chmod(0o644)
        environment = {
            "LD_PRELOAD": str(library),
            "NSS_WRAPPER_PASSWD": entries.name,
            "NSS_WRAPPER_GROUP": "/dev/null",
        }
        return place.run(command, extra_environment=environment)


def _next_step(said: str, usual: str = _NEXT_STEP) -> str:
    """Return what to do about an error of PostgreSQL's."""
    return next((step for sign, step in _NEXT_STEPS.items() if sign in said), usual)


def _major_of(place: Place) -> int | None:
    version = read_own_file(place.cluster / "PG_VERSION")
    return int(version) if version else None


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
    lines = read_own_file(place.cluster / "postmaster.pid").splitlines()
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
    socket_file = place.socket_directory / SOCKET_NAME
    stale = (place.cluster / "postmaster.pid", socket_file, f"{socket_file}.lock")
    place.shell('rm -f -- "$@"', *stale)


def _signal(process: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, number)


def _turn_log(place: Place) -> int:
    try:
        size = place.log.lstat().st_size
    except FileNotFoundError:
        return 0
    if size <= LOG_BYTES:
        return size
    place.log.replace(place.log.with_name("server.log.1"))
    return 0


def _log(place: Place, start: int) -> str:
    return _tail(read_own_file(place.log, start))


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
