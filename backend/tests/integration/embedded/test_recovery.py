"""Recovery of an embedded server that was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from chaos.waiting import until

from app.core.embedded import EmbeddedServer, server_directory
from app.core.embedded.cluster import _LIST_PROCESSES, _postmaster
from app.core.errors import DatabaseUnavailable
from tests.integration.embedded.users import (
    DEADLINE,
    is_running,
    query,
    started_at,
    user_process,
)


def _loop_without_end(server: EmbeddedServer) -> None:
    with suppress(sqlalchemy.exc.OperationalError):
        query(server, "DO $$ DECLARE i int := 0; BEGIN LOOP i := 1 - i; END LOOP; END $$")


def test_a_killed_server_is_recovered_with_its_orphans_at_the_same_url(data_dir: Path) -> None:
    with EmbeddedServer.acquire(data_dir) as server:
        query(server, "CREATE TABLE kept AS SELECT 42 AS answer")
        busy = threading.Thread(target=_loop_without_end, args=[server])
        busy.start()  # it does not notice the postmaster's death, and keeps the shared memory
        in_loop = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'DO %'"
        until(lambda: query(server, in_loop) == 1, "the statement runs")
        postmaster = _postmaster(server._directory)
        assert postmaster is not None
        os.kill(postmaster, signal.SIGKILL)
        until(lambda: _postmaster(server._directory) is None, "the server is gone")
        assert is_running(server), "the orphan should be there still"

        with EmbeddedServer.acquire(data_dir) as next_user:
            busy.join(DEADLINE)
            assert not busy.is_alive()
            assert next_user.url == server.url
            assert query(server, "SELECT answer FROM kept") == 42
    assert not is_running(server)


def test_a_user_brings_its_killed_server_back(data_dir: Path) -> None:
    with EmbeddedServer.acquire(data_dir) as server:
        start = started_at(server)
        server.ensure_running()
        assert started_at(server) == start
        os.kill(_postmaster(server._directory) or 0, signal.SIGKILL)
        until(lambda: _postmaster(server._directory) is None, "the server is gone")
        server.ensure_running()
        assert started_at(server) > start
    with pytest.raises(DatabaseUnavailable, match="released"):
        server.ensure_running()


def test_the_last_one_out_of_a_killed_server_clears_up(data_dir: Path) -> None:
    with EmbeddedServer.acquire(data_dir) as server:
        os.kill(_postmaster(server._directory) or 0, signal.SIGKILL)
    assert not is_running(server)


def test_a_stale_pid_file_that_names_a_living_process_hinders_and_harms_nobody(
    data_dir: Path,
) -> None:
    with EmbeddedServer.acquire(data_dir) as server:
        postmaster = _postmaster(server._directory)
        pid_file = server._directory.cluster / "postmaster.pid"
        left_behind = pid_file.read_text()
    home = server._directory
    # PostgreSQL checks only processes of its own account.
    account = home.account
    run_as: dict[str, Any] = {} if account is None else {"user": account.uid, "group": account.gid}
    owner = home.home.stat()
    with subprocess.Popen(["sleep", "600"], cwd="/", **run_as) as bystander:
        try:
            pid_file.write_text(left_behind.replace(str(postmaster), str(bystander.pid), 1))
            socket_lock = home.socket_directory / f"{server_directory.SOCKET_NAME}.lock"
            socket_lock.write_text(f"{bystander.pid}\n")
            for path in (pid_file, socket_lock):
                os.chown(path, owner.st_uid, owner.st_gid)
            with EmbeddedServer.acquire(data_dir) as server:
                assert query(server, "SELECT 1") == 1
            assert bystander.poll() is None
        finally:
            bystander.kill()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_only_the_servers_own_processes_are_counted_as_its_own(data_dir: Path) -> None:
    with EmbeddedServer.acquire(data_dir) as server:
        home = server._directory
        shell = "exec sleep 600"  # a user's shell in the data directory
        with subprocess.Popen(["/bin/sh", "-c", shell], cwd=home.cluster) as visitor:
            try:
                answer = home.run(["/bin/sh", "-c", _LIST_PROCESSES, "sh", home.cluster])
                found = [int(number) for number in answer.stdout.split()]
                assert visitor.pid not in found
                assert _postmaster(home) in found
            finally:
                visitor.kill()


def test_an_initdb_that_was_killed_half_way_is_done_again(data_dir: Path) -> None:
    home = data_dir / "postgresql"
    with user_process(data_dir) as other:
        until(lambda: any(home.glob("cluster.new-*/base")), "a cluster is being made")
        other.kill()
        other.wait(DEADLINE)
    assert not (home / "cluster").exists()
    with EmbeddedServer.acquire(data_dir) as server:
        assert query(server, "SELECT 1") == 1


def test_what_a_half_made_cluster_left_is_cleared_away(data_dir: Path) -> None:
    EmbeddedServer.acquire(data_dir).release()
    home = data_dir / "postgresql"
    (home / "cluster").rename(home / "cluster.new-half")
    (home / "cluster.new-half" / "PG_VERSION").unlink()
    with EmbeddedServer.acquire(data_dir):
        assert not list(home.glob("cluster.new-*"))
