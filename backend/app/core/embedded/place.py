"""Where a data directory's server keeps its files, and which account it runs under.

::

    DATA_DIR/postgresql          the home: a directory, or a link to one that the account can enter
        belongs-to               the data directory this was made for, for people
        decision.lock            held exclusively to start or stop the server
        users.lock               held together by every process that uses the server
        server.lock              inherited, so held, by every process of the server
        cluster/                 PostgreSQL's data
        run                      the socket's directory, or a link to a short private one
        server.log, server.log.1

PostgreSQL refuses to run as root. Root therefore runs it under an account without privileges (the
home's owner; at first `postgres` where there is one, else `nobody`), creates no account and
changes no mode of a directory that is not its own: where the account cannot enter the data
directory, the home is made in `/var/lib/session-tasks` and linked to.

The home belongs to that account, which may put links there. Root therefore has the account itself
make and write whatever lies in it, and follows no link in it.
"""

from __future__ import annotations

import logging
import os
import pwd
import re
import shutil
import stat
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from app.core.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

logger = logging.getLogger(__name__)

STATE_DIRECTORY = Path("/var/lib/session-tasks")
UNPRIVILEGED_ACCOUNTS = ("postgres", "nobody")
PORT = "5432"
"""Only a part of the socket's name: nothing listens on TCP."""

SOCKET_NAME = f".s.PGSQL.{PORT}"
LONGEST_SOCKET_PATH = 103
"""Bytes that fit sockaddr_un everywhere: Linux takes 107, macOS 103."""

_PLAIN_PATH = re.compile(r"/[\w./+@:=~-]*", re.ASCII)
"""Paths that neither libpq's `host` (a list) nor PostgreSQL's list of directories takes apart."""


@dataclass(frozen=True, slots=True)
class Account:
    """The unprivileged account that root runs the server under."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Place:
    """The home of one server, and the account it runs under (None: the caller's own)."""

    home: Path
    account: Account | None

    @classmethod
    def of(cls, data_dir: Path) -> Self:
        """Return the place of this data directory's server, made if it was not there.

        Raises:
            DatabaseUnavailable: the directory cannot be made or entered; says what to do.

        """
        try:
            return cls._of(at_home(data_dir))
        except OSError as error:
            raise DatabaseUnavailable(
                f"The embedded PostgreSQL has no place in {data_dir}: {error}.",
                next_step="Set SESSION_TASKS_DATA_DIR to a directory that this account may write.",
            ) from error

    @classmethod
    def _of(cls, data_dir: Path) -> Self:
        is_root = os.geteuid() == 0
        # Others may pass through what root makes, so that the server's account can.
        data_dir.mkdir(mode=0o711 if is_root else 0o700, parents=True, exist_ok=True)
        entry = data_dir / "postgresql"
        if not os.path.lexists(entry):
            _make_home(entry, _unprivileged_account() if is_root else None)
        home = entry.resolve()
        if not home.is_dir():
            raise DatabaseUnavailable(
                f"The embedded database of {data_dir} was in {home}, and that is gone.",
                next_step=f"Bring it back, or remove the link {entry} to begin with an empty one.",
            )
        owner = home.stat().st_uid
        if is_root and owner != 0:
            place = cls(home, account_of(owner))
            if home.parent == STATE_DIRECTORY:
                place.note_data_directory(data_dir)
            return place
        if not is_root and owner == os.geteuid():
            return cls(home, None)
        reader = "PostgreSQL refuses to run as root" if is_root else "this is another account"
        raise DatabaseUnavailable(
            f"The embedded database in {home} belongs to {account_of(owner).name}, and {reader}.",
            next_step="Give it to the account that is to run it (chown -R), or set"
            " SESSION_TASKS_DATA_DIR to another directory.",
        )

    @property
    def cluster(self) -> Path:
        """PostgreSQL's data directory."""
        return self.home / "cluster"

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.home / "server.log"

    @property
    def decision_lock(self) -> Path:
        """Held exclusively to start or stop the server."""
        return self.home / "decision.lock"

    @property
    def users_lock(self) -> Path:
        """Held together by every process that uses the server."""
        return self.home / "users.lock"

    @property
    def server_lock(self) -> Path:
        """Held by every process of the server, from the first to the last."""
        return self.home / "server.lock"

    @property
    def socket_directory(self) -> Path:
        """Where the server's socket is, if it runs."""
        return (self.home / "run").resolve()

    def make_lock_files(self) -> None:
        """Create the lock files, owned by the account, unless another process has."""
        paths = (self.decision_lock, self.users_lock, self.server_lock)
        if not all(os.path.lexists(path) for path in paths):
            self.shell('for path; do : >>"$path" || exit; done', *paths)

    def note_data_directory(self, data_dir: Path) -> None:
        """Keep, in a home that lies elsewhere, whose it is: the directory may have been moved."""
        note = self.home / "belongs-to"
        if read_own_file(note) != note_of(data_dir):
            self.shell('printf %s "$2" >"$1.new" && mv -f "$1.new" "$1"', note, note_of(data_dir))

    def make_socket_directory(self) -> None:
        """See that `run` is a private directory whose socket's path is short enough and plain.

        Where the home's path is too long, it is a link to a new directory in the temporary one. A
        link whose target is not ours (a temporary directory is emptied at reboot, and anybody may
        put something there) is replaced.
        """
        run = self.home / "run"
        if _is_socket_path(run):
            if run.is_symlink():
                run.unlink()
            if not run.is_dir():
                self.shell('mkdir -m 700 "$1"', run)
            return
        if (
            run.is_symlink()
            and self._is_private(run.readlink())
            and _is_socket_path(run.readlink())
        ):
            return
        if run.is_symlink():
            run.unlink()
        elif run.is_dir():
            shutil.rmtree(run)
        roots = (Path(tempfile.gettempdir()), Path("/tmp"))  # noqa: S108 - a private one inside
        root = next(root for root in roots if _is_socket_path(root / "session-tasks-12345678"))
        short = self.shell('mktemp -d "$1"', root / "session-tasks-XXXXXXXX")
        run.symlink_to(short.strip())

    def drop_socket_directory(self) -> None:
        """Remove the short directory in the temporary one, if there is one and it is empty."""
        run = self.home / "run"
        if run.is_symlink() and self._is_private(run.readlink()):
            with suppress(OSError):  # what else lies in there is not ours to remove
                run.readlink().rmdir()
            run.unlink()

    def run(
        self,
        command: Sequence[str | Path],
        *,
        extra_environment: Mapping[str, str] | None = None,
        **options: Any,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as the server's account, in its own session, with nothing of ours around.

        Its own session: a Ctrl-C in the terminal is for the command, not for the server.
        """
        if self.account is not None:
            options |= {"user": self.account.uid, "group": self.account.gid, "extra_groups": []}
        return subprocess.run(  # noqa: S603 - PostgreSQL's programs and sh, arguments as a list
            command,
            check=False,
            cwd="/",
            env={**_environment(), **(extra_environment or {})},
            umask=0o077,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            **options,
        )

    def shell(self, script: str, *arguments: str | Path) -> str:
        """Run a few lines of sh as the server's account, `arguments` as $1 and so on.

        Raises:
            OSError: they failed; says why.

        """
        answer = self.run(["/bin/sh", "-c", script, "sh", *arguments])
        if answer.returncode != 0:
            raise OSError(answer.stderr.strip() or f"sh ended with {answer.returncode}")
        return answer.stdout

    def _is_private(self, directory: Path) -> bool:
        try:
            status = directory.lstat()
        except FileNotFoundError:
            return False
        uid = self.account.uid if self.account is not None else os.geteuid()
        mode = stat.S_IMODE(status.st_mode)
        return stat.S_ISDIR(status.st_mode) and status.st_uid == uid and mode == stat.S_IRWXU


def _is_socket_path(directory: Path) -> bool:
    path = str(directory / SOCKET_NAME)
    return _PLAIN_PATH.fullmatch(path) is not None and len(path) <= LONGEST_SOCKET_PATH


def _make_home(entry: Path, account: Account | None) -> None:
    """Make the home in one step, so that of several commands one wins and the others join it."""
    data_dir = entry.parent
    is_elsewhere = account is not None and not _can_enter(account, data_dir)
    if is_elsewhere:
        STATE_DIRECTORY.mkdir(mode=0o755, parents=True, exist_ok=True)
    parent = STATE_DIRECTORY if is_elsewhere else data_dir
    home = Path(
        tempfile.mkdtemp(prefix=f"{data_dir.name}-" if is_elsewhere else ".new-", dir=parent)
    )
    try:
        _write_note(home, data_dir, account)
        if is_elsewhere:
            entry.symlink_to(home)
            logger.warning(
                "The embedded database of %s lies in %s: the account %s, which runs it, cannot"
                " enter %s",
                data_dir, home, account.name if account else "", data_dir,
            )  # fmt: skip
        else:
            home.rename(entry)  # fails where another command's home stands: it is never empty
    except OSError:
        shutil.rmtree(home)
        if not os.path.lexists(entry):
            raise


def _write_note(home: Path, data_dir: Path, account: Account | None) -> None:
    """Say in a new home whose it is, and make the account its owner."""
    directory = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with open(os.open("belongs-to", flags, 0o600, dir_fd=directory), "wb") as note:  # noqa: PTH123
            note.write(os.fsencode(note_of(data_dir)))
            if account is not None:
                os.fchown(note.fileno(), account.uid, account.gid)
                os.fchown(directory, account.uid, account.gid)
    finally:
        os.close(directory)


def at_home(data_dir: Path) -> Path:
    """Return the absolute path, `~` written out.

    Raises:
        DatabaseUnavailable: this account has no home directory.

    """
    try:
        return data_dir.expanduser().absolute()
    except RuntimeError as error:
        raise DatabaseUnavailable(
            f"The data directory is {data_dir}, and this account has no home directory.",
            next_step="Set SESSION_TASKS_DATA_DIR, HOME or SESSION_TASKS_DATABASE_URL.",
        ) from error


def note_of(data_dir: Path) -> str:
    """Return what a home's `belongs-to` says: the data directory, and the disk that it is on."""
    return f"{data_dir}\ndevice {data_dir.stat().st_dev}\n"


def read_own_file(path: Path, start: int = 0) -> str:
    """Return the text of a file in a home; empty if it is missing.

    Raises:
        OSError: it is a link, or cannot be read.

    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return ""
    with open(descriptor, "rb") as file:  # noqa: PTH123
        file.seek(start)
        return os.fsdecode(file.read())


def _can_enter(account: Account, directory: Path) -> bool:
    """Ask the system by doing it: modes alone would not know of access control lists."""
    answer = Place(directory, account).run(["/bin/sh", "-c", 'cd -- "$1"', "sh", directory])
    return answer.returncode == 0


def _unprivileged_account() -> Account:
    for name in UNPRIVILEGED_ACCOUNTS:
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(name, entry.pw_uid, entry.pw_gid)
    raise DatabaseUnavailable(
        "PostgreSQL refuses to run as root, and this machine has neither of the accounts"
        f" {' and '.join(UNPRIVILEGED_ACCOUNTS)} to run it under.",
        next_step="Run this command as another user, or set SESSION_TASKS_DATABASE_URL.",
    )


def account_of(uid: int) -> Account:
    """Return the account with this number; one without an entry gets a name that says so."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Account(f"user {uid}", uid, uid)
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _environment() -> dict[str, str]:
    """Messages in English, times in UTC, and no PG* variable that would lead elsewhere."""
    kept = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
    return {name: os.environ[name] for name in kept if name in os.environ} | {
        "LC_ALL": "C",
        "TZ": "UTC",
    }
