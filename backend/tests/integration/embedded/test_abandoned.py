"""Clusters that outlive their data directories are listed, and removed when nobody uses them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from chaos.waiting import until

from app.cli.doctor import _abandoned_clusters
from app.cli.operation_commands import cleanup_command
from app.core.embedded import EmbeddedServer, abandoned_clusters, remove_abandoned, server_directory
from app.core.embedded.cluster import _postmaster
from tests.integration.embedded.users import user_process

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root's clusters lie elsewhere")


def _abandoned(data_dir: Path) -> list[Path]:
    return [one.home for one in abandoned_clusters() if one.data_dir == data_dir]


def _has_ended(process: int) -> bool:
    is_there = psutil.pid_exists(process)
    return not is_there or psutil.Process(process).status() == psutil.STATUS_ZOMBIE


def test_a_cluster_whose_data_directory_is_gone_is_listed_and_removed(
    root_only_dir: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    gone = root_only_dir / "data"
    with EmbeddedServer.acquire(gone) as server:
        home = server.home
    assert _abandoned(gone) == []
    shutil.rmtree(gone)
    assert _abandoned(gone) == [home]
    (check,) = _abandoned_clusters()
    assert f"{home} (of {gone})" in check.found
    assert "session-tasks cleanup" in check.remedy
    monkeypatch.setenv("SESSION_TASKS_DATA_DIR", str(data_dir))
    cleanup_command(as_json=True)
    assert str(home) in json.loads(capsys.readouterr().out)["databases_deleted"]
    assert not home.exists()


def test_a_server_that_idles_in_an_abandoned_cluster_is_ended(root_only_dir: Path) -> None:
    gone = root_only_dir / "data"
    with user_process(gone) as other:
        other.stdout.readline()
        home = (gone / "postgresql").resolve()
        shutil.rmtree(gone)
        assert _abandoned(gone) == []  # it is used
        postmaster = _postmaster(server_directory.ServerDirectory(home, None)) or 0
        other.kill()
        other.wait()
    assert psutil.pid_exists(postmaster)
    (mine,) = [one for one in abandoned_clusters() if one.data_dir == gone]
    mine.remove()
    assert not home.exists()
    until(lambda: _has_ended(postmaster), "it has ended")


def test_a_moved_data_directory_keeps_its_cluster(root_only_dir: Path) -> None:
    with EmbeddedServer.acquire(root_only_dir / "data") as server:
        home = server.home
    (root_only_dir / "data").rename(root_only_dir / "moved")
    EmbeddedServer.acquire(root_only_dir / "moved").release()
    assert (home / "belongs-to").read_text().startswith(str(root_only_dir / "moved"))
    assert _abandoned(root_only_dir / "data") == []
    (root_only_dir / "moved").rename(root_only_dir / "data")


def test_a_cluster_of_a_disk_that_is_not_mounted_is_kept(root_only_dir: Path) -> None:
    gone = root_only_dir / "data"
    with EmbeddedServer.acquire(gone) as server:
        home = server.home
    shutil.rmtree(gone)
    (home / "belongs-to").write_text(f"{gone}\ndevice 1\n")
    remove_abandoned()
    assert home.exists()
    (check,) = _abandoned_clusters()
    assert f"Mount the disk of the data directory, or remove: {home}" in check.remedy
    shutil.rmtree(home)


@pytest.mark.long
def test_a_killed_test_run_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("""
import subprocess, sys, time
from app.core.config import Settings
from app.core.database import Database

def test_it(tmp_path):
    with Database.open(Settings(data_dir=tmp_path / "elsewhere")):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        print(tmp_path, child.pid, flush=True)
        time.sleep(600)
""")
    tests = Path(__file__).parents[2]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SESSION_TASKS_")}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    with subprocess.Popen(
        [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider",
         "--confcutdir", tests, "-p", "tests.conftest", tmp_path / "test_it.py"],
        cwd=tests.parent, env=environment, stdout=subprocess.PIPE, text=True,
    ) as run:  # fmt: skip
        assert run.stdout is not None
        folder, child = next(line.split() for line in run.stdout if "/" in line)
        home = (Path(folder) / "elsewhere" / "postgresql").resolve()
        assert home.is_dir()
        os.kill(run.pid, signal.SIGKILL)
    until(lambda: not Path(folder).exists() and not home.exists(), "all is gone")
    assert _has_ended(int(child))
