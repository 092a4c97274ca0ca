"""The PostgreSQL server of a race, with a database for each adapter."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql
from sqlalchemy import make_url

from app.core.embedded import EmbeddedServer


@dataclass(frozen=True, slots=True)
class RaceServer:
    """A server with unchanged durability, in which databases can be created.

    Attributes:
        url: the database to connect to for creating others, as libpq reads it.
        description: version and settings of the server.

    """

    url: str
    description: str

    def fresh(self, name: str) -> str:
        """Create an empty database of this name, replacing an older one; return its URL."""
        database = f"race_{name}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            identifier = sql.Identifier(database)
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(identifier)
            )
            connection.execute(sql.SQL("CREATE DATABASE {}").format(identifier))
        return make_url(self.url).set(database=database).render_as_string(hide_password=False)

    def drop(self, name: str) -> None:
        """Drop the database that `fresh` created."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(
                    sql.Identifier(f"race_{name}")
                )
            )

    @contextlib.contextmanager
    def wal(self) -> Iterator[WrittenAhead]:
        """Measure the WAL of the block, after a checkpoint, so that full-page images are its own.

        It is the whole server's WAL: nothing else may write meanwhile.
        """
        written = WrittenAhead()
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("CHECKPOINT")
            before = _wal_statistics(connection)
            yield written
            after = _wal_statistics(connection)
        written.bytes, written.records, written.full_page_images = (
            now - then for now, then in zip(after, before, strict=True)
        )


@dataclass(slots=True)
class WrittenAhead:
    """Counts of pg_stat_wal: total bytes, records, and the full-page images among them."""

    bytes: int = 0
    records: int = 0
    full_page_images: int = 0


def _wal_statistics(connection: psycopg.Connection[tuple[int, ...]]) -> tuple[int, int, int]:
    connection.execute("SELECT pg_stat_force_next_flush()")
    row = connection.execute(
        "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn, wal_records, wal_fpi FROM pg_stat_wal"
    ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1]), int(row[2])


@contextlib.contextmanager
def open_server(given_url: str | None) -> Iterator[RaceServer]:
    """Yield the given server, or start an embedded one with PostgreSQL's default settings."""
    if given_url is not None:
        url = make_url(given_url).set(drivername="postgresql")
        yield _described(url.render_as_string(hide_password=False), "given")
        return
    folder = Path(tempfile.mkdtemp(prefix="session-tasks-race-"))
    folder.chmod(0o711)
    server = EmbeddedServer.acquire(folder)
    try:
        url = make_url(server.url).set(drivername="postgresql")
        yield _described(url.render_as_string(hide_password=False), "embedded")
    finally:
        server.release()
        shutil.rmtree(folder, ignore_errors=True)


def _described(url: str, which: str) -> RaceServer:
    with psycopg.connect(url) as connection:

        def setting(name: str) -> str:
            row = connection.execute("SELECT current_setting(%s)", [name]).fetchone()
            assert row is not None
            return str(row[0])

        return RaceServer(
            url,
            f"PostgreSQL {setting('server_version')}, {which}, "
            f"synchronous_commit {setting('synchronous_commit')}, fsync {setting('fsync')}, "
            f"shared_buffers {setting('shared_buffers')}",
        )
