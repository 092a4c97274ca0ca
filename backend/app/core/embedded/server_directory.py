"""The directory with a server's files, and the account that it runs under.

::

    DATA_DIR/postgresql          the home: a directory, or a link to one that the account can enter
        belongs-to               the data directory this was made for, for people
        decision.lock            held exclusively to start or stop the server
        users.lock               held together by every process that uses the server
        server.lock              inherited, so held, by every process of the server
        cluster/                 PostgreSQL's data
        run                      the socket's directory, or a link to a short private one
        server.log, server.log.1

The names on disk stay as they are: commands of several versions share them.

PostgreSQL refuses to run as root. Root therefore runs it under an account without privileges (the
home's owner; at first `postgres` where there is one, else `nobody`), creates no account and
changes no mode of a directory that is not its own: where the account cannot enter the data
directory, the home is made in `/var/lib/session-tasks` and linked to. The account may put links
into its home, so root follows none there, and has the account itself write what lies in it.
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
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from app.core.embedded.locks import FileLock
from app.core.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

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


class ServerDirectory:
    """The home of one server, and the account that it runs under.

    Attributes:
        account: None for the caller's own.
        cluster: PostgreSQL's data directory.
        log: the server's log.
        startup_lock: held exclusively to start or stop the server.
        clients_lock: held together by every process that uses the server.
        server_lock: held by every process of the server, from the first to the last.

    """

    def __init__(self, home: Path, account: Account | None) -> None:
        self.home = home
        self.account = account
        self.cluster = home / "cluster"
        self.log = home / "server.log"
        self.startup_lock = home / "decision.lock"
        self.clients_lock = home / "users.lock"
        self.server_lock = home / "server.lock"

    @classmethod
    def of(cls, data_dir: Path) -> Self:
        """Return that of this data directory's server; it is made if there is none.

        Raises:
            DatabaseUnavailable: this account may not use it; says what to do.
            OSError: the directory cannot be made or entered.

        """
        data_dir = at_home(data_dir)
        is_root = os.geteuid() == 0
        # Others may pass through what root makes, so that the server's account can.
        data_dir.mkdir(mode=0o711 if is_root else 0o700, parents=True, exist_ok=True)
        entry = data_dir / "postgresql"
        if not os.path.lexists(entry):
            _make_home(entry, _unprivileged_account() if is_root else None)
        home = entry.resolve()
        if not home.is_dir():
            raise DatabaseUnavailable(
                f"The embedded database of {data_dir} was in {home}, and that is gone",
                next_step=f"Bring it back, or remove the link {entry} to begin with an empty one.",
            )
        owner = home.stat().st_uid
        if is_root and owner != 0:
            directory = cls(home, account_of(owner))
            if home.parent == STATE_DIRECTORY:
                directory.note_data_directory(data_dir)
            return directory
        if not is_root and owner == os.geteuid():
            return cls(home, None)
        reader = "PostgreSQL refuses to run as root" if is_root else "this is another account"
        raise DatabaseUnavailable(
            f"The embedded database in {home} belongs to {account_of(owner).name}, and {reader}",
            next_step="Give it to the account that is to run it (chown -R), or set"
            " SESSION_TASKS_DATA_DIR to another directory.",
        )

    @property
    def socket_directory(self) -> Path:
        """Where the server's socket is, if it runs."""
        return (self.home / "run").resolve()

    @contextmanager
    def startup_locked(self, seconds: float) -> Iterator[None]:
        """Hold the lock for starting and stopping the server; the lock files are made before.

        Raises:
            DatabaseUnavailable: it has been held for longer than `seconds`.

        """
        paths = (self.startup_lock, self.clients_lock, self.server_lock)
        if not all(os.path.lexists(path) for path in paths):
            self.shell('for path; do : >>"$path" || exit; done', *paths)
        with FileLock(self.startup_lock) as lock:
            if not lock.alone_within(seconds):
                raise DatabaseUnavailable(
                    "The embedded PostgreSQL has been starting or stopping for"
                    f" {seconds:.0f} s: {self.startup_lock} is held",
                    next_step="If it is recovering, try again later; if a session-tasks process"
                    " hangs or is suspended, end it, and try again.",
                )
            yield

    def note_data_directory(self, data_dir: Path) -> None:
        """Note the data directory in the home, which may lie elsewhere."""
        note = self.home / "belongs-to"
        text = f"{data_dir}\ndevice {data_dir.stat().st_dev}\n"
        if read_own_file(note) != text:
            self.shell('printf %s "$2" >"$1.new" && mv -f "$1.new" "$1"', note, text)

    def make_socket_directory(self) -> None:
        """Make `run` a private directory whose socket's path is short enough and plain.

        Where the home's path is too long, `run` is a link to a new directory in the temporary one.
        A link whose target is not ours is replaced: a temporary directory is emptied at reboot, and
        anybody may write there.
        """
        run = self.home / "run"
        is_usable = _is_socket_path(run)
        if run.is_symlink():
            short = run.readlink()
            if not is_usable and self._is_private(short) and _is_socket_path(short):
                return
            run.unlink()
        if is_usable:
            if not run.is_dir():
                self.shell('mkdir -m 700 "$1"', run)
            return
        if run.is_dir():
            shutil.rmtree(run)
        roots = (Path(tempfile.gettempdir()), Path("/tmp"))  # noqa: S108 - a private one inside
        root = next(root for root in roots if _is_socket_path(root / "session-tasks-12345678"))
        run.symlink_to(self.shell('mktemp -d "$1"', root / "session-tasks-XXXXXXXX").strip())

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
        """Run a program as the server's account, in a session where no Ctrl-C reaches it."""
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
        """Run a few lines of sh as the server's account; `arguments` are $1 and so on.

        Raises:
            OSError: they failed.

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
        if account is not None:
            with opened_directory(home) as descriptor:
                os.fchown(descriptor, account.uid, account.gid)
        ServerDirectory(home, account).note_data_directory(data_dir)
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


@contextmanager
def opened_directory(path: Path) -> Iterator[int]:
    """Yield a descriptor of the directory; OSError if the path is a link."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def at_home(data_dir: Path) -> Path:
    """Return the absolute path, `~` written out.

    Raises:
        DatabaseUnavailable: this account has no home directory.

    """
    try:
        return data_dir.expanduser().absolute()
    except RuntimeError as error:
        raise DatabaseUnavailable(
            f"The data directory is {data_dir}, and this account has no home directory",
            next_step="Set SESSION_TASKS_DATA_DIR, HOME or SESSION_TASKS_DATABASE_URL.",
        ) from error


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
    """Try it: access control lists do not show in the mode."""
    home = ServerDirectory(directory, account)
    return home.run(["/bin/sh", "-c", 'cd -- "$1"', "sh", directory]).returncode == 0


def _unprivileged_account() -> Account:
    for name in UNPRIVILEGED_ACCOUNTS:
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(name, entry.pw_uid, entry.pw_gid)
    raise DatabaseUnavailable(
        "PostgreSQL refuses to run as root, and this machine has neither of the accounts"
        f" {' and '.join(UNPRIVILEGED_ACCOUNTS)} to run it under",
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
