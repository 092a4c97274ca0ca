"""A server is set up where it can be, as PostgreSQL ships it; where it cannot, why is said."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import psycopg
import pytest

from app.core.embedded import EmbeddedServer, binaries, find_binaries
from app.core.errors import DatabaseUnavailable
from app.core.pool import conninfo_of
from tests.integration.embedded.users import (
    is_running,
    query,
    user_process,
)


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
        assert (server._directory.socket_directory.stat().st_mode & 0o777) == 0o700


def test_durability_stays_as_postgresql_ships_it(data_dir: Path) -> None:
    with EmbeddedServer.acquire(data_dir) as server:
        for setting in ("fsync", "synchronous_commit", "full_page_writes", "data_checksums"):
            assert query(server, f"SHOW {setting}") == "on"


@pytest.mark.parametrize(
    ("release", "expected"), [("6.1.0-9-amd64", "syncfs"), ("5.8", "syncfs"), ("5.4.0", "fsync")]
)
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no syncfs")
def test_a_recovery_syncs_in_one_call_where_the_kernel_reports_errors(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, release: str, expected: str
) -> None:
    monkeypatch.setattr(platform, "release", lambda: release)
    with EmbeddedServer.acquire(data_dir) as server:
        assert query(server, "SHOW recovery_init_sync_method") == expected


def test_data_survive_a_stop_and_a_move(data_dir: Path) -> None:
    with EmbeddedServer.acquire(data_dir / "old") as server:
        query(server, "CREATE TABLE kept AS SELECT 42 AS answer")
    (data_dir / "old").rename(data_dir / "new")
    with EmbeddedServer.acquire(data_dir / "new") as server:
        assert query(server, "SELECT answer FROM kept") == 42


@pytest.mark.parametrize("name", ["x" * 200, "a,b", 'quo"te', "mit Räumen"])
def test_a_path_that_no_socket_can_have_gets_a_short_private_one(data_dir: Path, name: str) -> None:
    with EmbeddedServer.acquire(data_dir / name) as server:
        assert query(server, "SELECT 1") == 1
        short = server._directory.socket_directory
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
        assert server._directory.socket_directory != planted
    assert planted.is_dir()


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
        configuration = server._directory.cluster / "postgresql.conf"
    with configuration.open("a") as file:
        file.write("no_such_setting = 1\n")
    with pytest.raises(DatabaseUnavailable, match="no_such_setting") as caught:
        EmbeddedServer.acquire(data_dir)
    assert "server.log" in caught.value.next_step
    assert not is_running(server)


def test_the_environment_of_another_server_changes_nothing_or_is_named(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGCHANNELBINDING", "require")
    monkeypatch.setenv("PGGSSENCMODE", "require")
    monkeypatch.setenv("PGTARGETSESSIONATTRS", "standby")
    monkeypatch.setenv("PGOPTIONS", "-c default_transaction_read_only=on")
    with EmbeddedServer.acquire(data_dir) as server:
        monkeypatch.setenv("PGOPTIONS", "")
        with psycopg.connect(conninfo_of(server.url)) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        for name, value in {"PGSERVICE": "nosuch", "PGREQUIREAUTH": "scram-sha-256"}.items():
            with monkeypatch.context() as patch:
                patch.setenv(name, value)
                with pytest.raises(DatabaseUnavailable, match="cannot be connected to") as refused:
                    EmbeddedServer.acquire(data_dir)
            assert name in str(refused.value.next_step)


def test_a_cluster_of_another_major_version_is_left_alone_and_explained(data_dir: Path) -> None:
    with EmbeddedServer.acquire(data_dir) as server:
        version = server._directory.cluster / "PG_VERSION"
    version.write_text("9\n")
    with pytest.raises(DatabaseUnavailable, match="created by PostgreSQL 9") as caught:
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


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DatabaseUnavailable, match="file") as caught:
        EmbeddedServer.acquire(tmp_path / "file" / "data")
    assert "SESSION_TASKS_DATA_DIR" in caught.value.next_step


def test_a_long_log_is_put_aside_at_the_next_start(data_dir: Path) -> None:
    with EmbeddedServer.acquire(data_dir) as server:
        log = server._directory.log
    with log.open("a") as file:
        file.write("x" * 2_000_000)
    with EmbeddedServer.acquire(data_dir):
        assert log.stat().st_size < 10_000
        assert log.with_name("server.log.1").stat().st_size > 2_000_000
