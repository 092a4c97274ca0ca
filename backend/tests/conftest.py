"""One temporary PostgreSQL for the whole run, one migrated database per test process.

The server is the embedded one, in a folder of this run, so that a new machine needs nothing.
`SESSION_TASKS_TEST_DATABASE_URL` names another server to test against; its role must be allowed
to create databases. No local server is used unless it is named there.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from sqlalchemy import URL, create_engine, make_url, text

from app.core.config import Settings
from app.core.database import Database
from app.core.embedded import EmbeddedServer
from app.core.schema_version import upgrade_schema
from app.models.guard import install_guard
from app.models.session import Session
from app.repositories.session_repository import SessionRepository

SERVER_URL = "SESSION_TASKS_TEST_DATABASE_URL"
DATA_DIR = "SESSION_TASKS_TEST_DATA_DIR"
GUARDED = "SESSION_TASKS_TEST_GUARD"
"""Set to run the tests under the guard of `app.models.guard`; some break the law on purpose."""

_server = pytest.StashKey[EmbeddedServer]()
_remover = pytest.StashKey["subprocess.Popen[bytes]"]()


# On a loaded machine, any example may take longer than Hypothesis' usual 200 ms.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")


def pytest_configure(config: pytest.Config) -> None:
    """Start the run's server once, in the process that starts the others."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell starts background processes with SIGINT ignored, and the commands that the
        # tests interrupt would inherit that.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in [name for name in os.environ if name.startswith("SESSION_TASKS_")]:
        if not name.startswith("SESSION_TASKS_TEST_"):
            del os.environ[name]
    if hasattr(config, "workerinput") or config.option.collectonly:
        return
    folder = tempfile.mkdtemp(prefix="session-tasks-test-")
    # As root, the server runs under another account, which must be able to enter the folder.
    Path(folder).chmod(0o711)
    os.environ[DATA_DIR] = folder
    config.stash[_remover] = subprocess.Popen(
        [sys.executable, "-m", "tests.remover", folder],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    if config.option.basetemp is None:
        config.option.basetemp = f"{folder}/tmp"
    if SERVER_URL not in os.environ:
        config.stash[_server] = EmbeddedServer.acquire(Path(folder))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the run's server and have its folder removed."""
    if server := config.stash.get(_server, None):
        server.release()
    if remover := config.stash.get(_remover, None):
        del os.environ[DATA_DIR]
        remover.communicate()


@pytest.fixture(scope="session")
def server_url() -> Iterator[URL]:
    """The server to create databases on."""
    if SERVER_URL in os.environ:
        yield make_url(os.environ[SERVER_URL]).set(drivername="postgresql+psycopg")
        return
    with EmbeddedServer.acquire(Path(os.environ[DATA_DIR])) as server:
        yield make_url(server.url)


def _administer(server_url: URL, statement: str) -> None:
    engine = create_engine(server_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()


@pytest.fixture(scope="session")
def template_database(server_url: URL) -> Iterator[str]:
    """The name of a migrated database without connections."""
    name = f"template_{uuid.uuid4().hex}"
    _administer(server_url, f"CREATE DATABASE {name}")
    url = server_url.set(database=name)
    upgrade_schema(url.render_as_string(hide_password=False))
    if GUARDED in os.environ:
        _install_guard(url)
    yield name
    _administer(server_url, f"DROP DATABASE {name} WITH (FORCE)")


def _install_guard(url: URL) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        install_guard(connection)
    engine.dispose()


@pytest.fixture(scope="session")
def shared_database_url(server_url: URL, template_database: str) -> Iterator[str]:
    """A migrated database for all tests of this process that use sessions of their own."""
    name = f"shared_{uuid.uuid4().hex}"
    _administer(server_url, f"CREATE DATABASE {name} TEMPLATE {template_database}")
    yield server_url.set(database=name).render_as_string(hide_password=False)
    _administer(server_url, f"DROP DATABASE {name} WITH (FORCE)")


class SpareDatabase:
    """A migrated database that is emptied between tests, which is much faster than creating one.

    One that a test has changed beyond its rows (a trigger, for example) is dropped.
    """

    def __init__(self, server_url: URL, template: str) -> None:
        self._server_url = server_url
        self._template = template
        self._name = ""
        self._pristine: Any = None

    def url(self) -> str:
        """Return the database, empty and without connections."""
        if self._name and self._empty() != self._pristine:
            self.discard()
        if not self._name:
            self._name = f"spare_{uuid.uuid4().hex}"
            _administer(self._server_url, f"CREATE DATABASE {self._name} TEMPLATE {self._template}")
            # Durability is tested by tests with a server of their own.
            _administer(
                self._server_url, f"ALTER DATABASE {self._name} SET synchronous_commit = off"
            )
            self._pristine = self._empty()
        return self._server_url.set(database=self._name).render_as_string(hide_password=False)

    def discard(self) -> None:
        """Drop the database."""
        if self._name:
            _administer(self._server_url, f"DROP DATABASE {self._name} WITH (FORCE)")
            self._name = ""

    def _empty(self) -> Any:
        """Delete all rows; return everything else that a test may have changed."""
        engine = create_engine(self._server_url.set(database=self._name))
        with engine.begin() as connection:
            for statement in _EMPTY:
                connection.execute(text(statement))
            shape = connection.execute(text(_SHAPE)).one()
        engine.dispose()
        return tuple(shape)


_EMPTY = (
    """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()""",
    """DO $$
       DECLARE one text;
       BEGIN
           FOR one IN SELECT tablename FROM pg_tables WHERE schemaname = 'public'
                         AND tablename NOT IN ('sessions', 'session_tasks_version')
           LOOP EXECUTE format('DELETE FROM %I', one);
           END LOOP;
       END$$""",
    "DELETE FROM sessions",
    "INSERT INTO session_task_lease_sentinel (id) VALUES (1)",
)
_SHAPE = (
    "SELECT (SELECT array_agg(tgname ORDER BY tgname) FROM pg_trigger WHERE NOT tgisinternal),"
    " (SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace),"
    " (SELECT array_agg(attrelid::regclass::text || attname ORDER BY 1) FROM pg_attribute a"
    " JOIN pg_class c ON c.oid = a.attrelid WHERE relnamespace = 'public'::regnamespace),"
    " (SELECT array_agg(conname ORDER BY conname) FROM pg_constraint),"
    " (SELECT array_agg(version_num) FROM session_tasks_version)"
)


@pytest.fixture(scope="session")
def spare_database(server_url: URL, template_database: str) -> Iterator[SpareDatabase]:
    """The database that the tests of this process use, one after the other."""
    spare = SpareDatabase(server_url, template_database)
    yield spare
    spare.discard()


@pytest.fixture
def empty_database_url(server_url: URL, template_database: str) -> Iterator[str]:
    """An empty migrated database, for this test alone."""
    name = f"test_{uuid.uuid4().hex}"
    _administer(server_url, f"CREATE DATABASE {name} TEMPLATE {template_database}")
    yield server_url.set(database=name).render_as_string(hide_password=False)
    _administer(server_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def blank_database_url(server_url: URL) -> Iterator[str]:
    """A database without our schema, for this test alone."""
    name = f"blank_{uuid.uuid4().hex}"
    _administer(server_url, f"CREATE DATABASE {name}")
    yield server_url.set(database=name).render_as_string(hide_password=False)
    _administer(server_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database_url(spare_database: SpareDatabase) -> str:
    """An empty migrated database, used by this test alone while it runs."""
    return spare_database.url()


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    """Settings that point at this test's database."""
    return Settings(database_url=database_url, data_dir=tmp_path, pool_size=12)


@pytest.fixture
def database(settings: Settings, database_url: str) -> Iterator[Database]:
    """This test's database, open."""
    with Database(settings, database_url) as database:
        yield database


@pytest.fixture
def act(database: Database) -> Callable[[Callable[[SessionRepository], Any]], Any]:
    """Call a function of the repository in a transaction of its own."""

    def run(what: Callable[[SessionRepository], Any]) -> Any:
        with database.transaction() as db:
            return what(SessionRepository(db))

    return run


@pytest.fixture
def make_session(database: Database) -> Callable[..., Session]:
    """Create committed sessions; takes the arguments of `SessionRepository.create_session`."""

    def make(*documents: Any, **options: Any) -> Session:
        options.setdefault("auto_advance", False)
        with database.transaction() as db:
            return SessionRepository(db).create_session(documents, **options)

    return make
