"""Processes share one embedded server, however any of them ends; the last one stops it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
import sqlalchemy
from chaos.waiting import until

from app.core.embedded import EmbeddedServer, server
from app.core.embedded.cluster import _postmaster
from app.core.embedded.locks import is_held
from app.core.errors import DatabaseUnavailable
from tests.integration.embedded.users import (
    DEADLINE,
    USER_PROCESS,
    is_running,
    leave,
    query,
    started_at,
    user_process,
)


def test_users_share_one_server_and_the_last_one_out_stops_it(data_dir: Path) -> None:
    first = EmbeddedServer.acquire(data_dir)
    second = EmbeddedServer.acquire(data_dir)
    assert first.url == second.url
    start = started_at(first)
    first.release()
    first.release()
    assert started_at(second) == start
    second.release()
    assert not is_running(second)
    with pytest.raises(sqlalchemy.exc.OperationalError):
        started_at(second)


def test_another_process_joins_and_takes_over_the_duty_to_stop(data_dir: Path) -> None:
    with user_process(data_dir) as other:
        url = other.stdout.readline().strip()
        with EmbeddedServer.acquire(data_dir) as server:
            assert server.url == url
            start = started_at(server)
        assert is_running(server)
        with EmbeddedServer.acquire(data_dir) as server:
            assert started_at(server) == start
        leave(other)
    assert not is_running(server)


def test_the_server_ends_by_itself_with_a_program_that_forgets_to_release(data_dir: Path) -> None:
    forgetful = USER_PROCESS.replace("server.release()", "sys.exit(0)")
    with user_process(data_dir, forgetful) as process:
        assert process.stdout.readline()
        process.stdin.close()
        assert process.wait(DEADLINE) == 0
    assert not is_held(data_dir / "postgresql" / "server.lock")


def test_a_killed_user_counts_no_more(data_dir: Path) -> None:
    with user_process(data_dir) as other:
        assert other.stdout.readline()
        with EmbeddedServer.acquire(data_dir) as server:
            other.kill()
            other.wait(DEADLINE)
            assert query(server, "SELECT 1") == 1
        assert not is_running(server)


def test_a_child_forked_by_a_killed_user_keeps_no_count(data_dir: Path) -> None:
    forking = USER_PROCESS.replace(
        "print(server.url",
        "import os, time\nif os.fork() == 0:\n    time.sleep(600)\nprint(server.url",
    )
    with user_process(data_dir, forking, start_new_session=True) as other:
        assert other.stdout.readline()
        try:
            with EmbeddedServer.acquire(data_dir) as server:
                other.kill()
                other.wait(DEADLINE)
            assert not is_running(server)
        finally:
            os.killpg(other.pid, signal.SIGKILL)


def test_a_forked_child_releases_nothing_of_its_parents(data_dir: Path) -> None:
    forking = USER_PROCESS.replace(
        "print(server.url",
        "import os\nchild = os.fork()\n"
        "if child == 0:\n    server.release()\n    sys.exit(7)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7\nprint(server.url",
    )
    with user_process(data_dir, forking) as other:
        url = other.stdout.readline().strip().replace("+psycopg", "")
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        leave(other)
    assert not is_held(data_dir / "postgresql" / "server.lock")


def test_ctrl_c_in_the_terminal_ends_the_command_not_the_server(data_dir: Path) -> None:
    with user_process(data_dir, start_new_session=True, stderr=subprocess.DEVNULL) as other:
        assert other.stdout.readline()
        with EmbeddedServer.acquire(data_dir) as server:
            start = started_at(server)
            os.killpg(other.pid, signal.SIGINT)
            assert other.wait(DEADLINE) != 0
            assert started_at(server) == start


def test_many_processes_at_once_share_one_server(data_dir: Path) -> None:
    with ExitStack() as stack:
        users = [stack.enter_context(user_process(data_dir)) for _ in range(6)]
        urls = {user.stdout.readline() for user in users}
        assert len(urls) == 1
        with EmbeddedServer.acquire(data_dir) as server:
            start = started_at(server)
            for user in users[:-1]:
                leave(user)
            assert started_at(server) == start
        leave(users[-1])
    assert not is_running(server)


def test_coming_and_going_at_random_never_fails_anybody(data_dir: Path) -> None:
    restless = """
import sys
from pathlib import Path
import psycopg
from app.core.embedded import EmbeddedServer
for _ in range(8):
    with EmbeddedServer.acquire(Path(sys.argv[1])) as server:
        with psycopg.connect(server.url.replace("+psycopg", "")) as connection:
            connection.execute("SELECT 1")
print("done")
"""
    with ExitStack() as stack:
        users = [stack.enter_context(user_process(data_dir, restless)) for _ in range(4)]
        assert [user.stdout.read() for user in users] == ["done\n"] * 4
    assert not is_held(data_dir / "postgresql" / "server.lock")


def test_threads_of_one_process_share_one_server(data_dir: Path) -> None:
    held: list[EmbeddedServer] = []
    threads = [
        threading.Thread(target=lambda: held.append(EmbeddedServer.acquire(data_dir)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert len(held) == 4
    assert len({started_at(server) for server in held}) == 1
    for each in held:
        each.release()
    assert not is_running(held[0])


def test_a_command_that_hangs_while_starting_is_named_after_a_while(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "STARTUP_LOCK_SECONDS", 0.05)
    with EmbeddedServer.acquire(data_dir) as held:
        with held._directory.startup_locked(1), pytest.raises(DatabaseUnavailable) as caught:
            EmbeddedServer.acquire(data_dir)
        assert "decision.lock" in caught.value.message


def test_release_does_not_mind_that_the_directory_was_removed(data_dir: Path) -> None:
    server = EmbeddedServer.acquire(data_dir)
    os.kill(_postmaster(server._directory) or 0, signal.SIGQUIT)
    until(lambda: not is_running(server), "the server is gone")
    shutil.rmtree(data_dir / "postgresql")
    server.release()
