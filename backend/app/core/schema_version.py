"""Whether the database is at this version's migration, and how it gets there (Alembic).

Alembic is imported only by what migrates: it takes 11 MB and a good part of a command's start, and
whether anything is to be done is known without it.
"""

from __future__ import annotations

import functools
import re
import threading
from importlib.resources import files
from typing import TYPE_CHECKING, cast

from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from app.core.database_errors import translated_errors
from app.core.errors import DatabaseForbidden, DatabaseUnsuitable, SchemaOutdated

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection, Engine

_REVISION = re.compile(r'^(revision|down_revision) = "(\w+)"$', re.MULTILINE)

_NOT_ALLOWED = {"42501", "3F000"}
"""Insufficient privilege, no such schema (PostgreSQL, appendix A)."""

_one_at_a_time = threading.Lock()
"""Alembic keeps the migration that runs in module globals; processes wait in PostgreSQL."""


VERSION_TABLE = "session_tasks_version"
"""Alembic's table for our migrations: a program of which ours is a part keeps its own."""

FORMER_VERSION_TABLE = "alembic_version"
"""Which it was before `FIRST_WITH_OWN_TABLE`, and which a program beside ours may use as well."""

FIRST_WITH_OWN_TABLE = "0012"

INSTALLED_SCHEMA = text("""
SELECT coalesce((SELECT relnamespace::regnamespace::text FROM pg_class
                  WHERE oid = to_regclass('session_tasks')),
                quote_ident(current_schema()))""")
"""The schema of our tables, quoted; where there are none yet, the one that will hold them."""

_UNUSABLE_SCHEMA = text("""
SELECT format('GRANT USAGE ON SCHEMA %I TO %I', nspname, current_user)
  FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
 WHERE relname = 'session_tasks' AND NOT has_schema_privilege(relnamespace, 'USAGE')
   AND quote_ident(nspname) = ANY (regexp_split_to_array(current_setting('search_path'), ', *'))
 LIMIT 1""")

_OTHER_SCHEMA = text("""
SELECT relnamespace::regnamespace FROM pg_class
 WHERE relname = 'session_tasks_version' AND relkind = 'r' LIMIT 1""")

_HAS_TABLES = text("""
SELECT to_regclass(:schema || '.session_tasks') IS NOT NULL,
       to_regclass(:schema || '.session_tasks_version') IS NOT NULL,
       to_regclass(:schema || '.alembic_version') IS NOT NULL""")

LOCK_SECONDS = 10.0
"""How long a migration waits for a table: later statements queue behind it."""


def alembic_config(url: str, schema: str | None = None) -> Config:
    """Alembic's configuration for the migrations that live in this package.

    Args:
        schema: makes all tables in it, and the schema itself; otherwise `search_path` decides.

    """
    from alembic.config import Config  # noqa: PLC0415 - see the module

    config = Config()
    config.set_main_option("script_location", "app:migrations")
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    config.set_main_option("schema", schema or "")
    config.set_main_option("lock_milliseconds", f"{LOCK_SECONDS * 1_000:.0f}")
    return config


def upgrade_schema(url: str, revision: str = "head", *, schema: str | None = None) -> None:
    """Bring the database up to date; several at once wait for one another (advisory lock).

    Raises:
        SchemaOutdated: the database is at a migration that this version does not know.
        DatabaseUnsuitable: the role may not create tables there, or `search_path` names no schema.

    """
    from alembic import command  # noqa: PLC0415 - see the module
    from alembic.util import CommandError  # noqa: PLC0415

    try:
        with _one_at_a_time:
            command.upgrade(alembic_config(url, schema), revision)
    except CommandError as error:
        raise SchemaOutdated(
            f"The database cannot be upgraded: {error}",
            next_step="It was made by a newer version, it seems: upgrade session-tasks.",
        ) from error
    except ProgrammingError as error:
        if getattr(error.orig, "sqlstate", None) not in _NOT_ALLOWED:
            raise
        raise DatabaseUnsuitable(
            f"The database cannot be upgraded: {str(error.orig).splitlines()[0]}",
            next_step="GRANT CREATE ON SCHEMA … TO the role, upgrade as the tables' owner, or name "
            "a schema of its own: SESSION_TASKS_DATABASE_SCHEMA.",
        ) from error


def downgrade_schema(url: str, revision: str, *, schema: str | None = None) -> None:
    """Take the database back to an earlier migration, with the data that only later ones have."""
    from alembic import command  # noqa: PLC0415 - see the module

    with _one_at_a_time:
        command.downgrade(alembic_config(url, schema), revision)


def bring_schema_up_to_date(engine: Engine, schema: str | None = None) -> None:
    """Upgrade the database if it is not at this version's migration.

    Raises:
        SchemaOutdated: the database is at a migration that this version does not know.

    """
    present, needed = schema_revisions(engine)
    if present != needed:
        upgrade_schema(engine.url.render_as_string(hide_password=False), schema=schema)


def schema_revisions(engine: Engine) -> tuple[str | None, str]:
    """The migration the database is at, and the one this version needs.

    Raises:
        DatabaseForbidden: the role may not use the schema of our tables.

    """
    with translated_errors(), engine.connect() as connection:
        require_usage(connection)
        return present_revision(connection), newest_revision()


def require_usage(connection: Connection) -> None:
    """Check that no schema with our tables is hidden, as one without the right USAGE is.

    Raises:
        DatabaseForbidden: one on `search_path` is.

    """
    grant = connection.scalar(_UNUSABLE_SCHEMA)
    if grant is not None:
        raise DatabaseForbidden(
            f"The database role lacks rights: {grant}",
            next_step="Execute this as the schema's owner.",
        )


def present_revision(connection: Connection) -> str | None:
    """The migration the database is at, in whichever table it stands; None where there is none."""
    schema = str(connection.scalar(INSTALLED_SCHEMA))
    is_installed, has_own, has_former = connection.execute(_HAS_TABLES, {"schema": schema}).one()
    if has_own:
        statement = text(f"SELECT version_num FROM {schema}.{VERSION_TABLE}")  # noqa: S608 - quoted
        return cast("str | None", connection.scalar(statement))
    if not (is_installed and has_former):  # if there is such a table, it is another program's
        return None
    statement = text(
        f"SELECT version_num FROM {schema}.{FORMER_VERSION_TABLE}"  # noqa: S608 - quoted
        " WHERE version_num = ANY(:ours)"
    )
    return cast("str | None", connection.scalar(statement, {"ours": list(_revisions())}))


def take_version_over(connection: Connection) -> str:
    """Move our row from the former version table to our own; others' rows stay there.

    Returns the schema of our tables, for Alembic, which quotes it itself.
    """
    schema = str(connection.scalar(INSTALLED_SCHEMA))
    _, has_own, has_former = connection.execute(_HAS_TABLES, {"schema": schema}).one()
    present = present_revision(connection)
    if has_former and not has_own and present is not None:
        write_version(connection, schema, VERSION_TABLE, present)
        _forget_version(connection, f"{schema}.{FORMER_VERSION_TABLE}", present)
    return str(connection.scalar(text("SELECT (parse_ident(:schema))[1]"), {"schema": schema}))


def give_version_back(connection: Connection, revision: str | None) -> None:
    """Move our row to the former table, where versions before `FIRST_WITH_OWN_TABLE` look."""
    schema = str(connection.scalar(INSTALLED_SCHEMA))
    if revision is not None:
        write_version(connection, schema, FORMER_VERSION_TABLE, revision)
        _forget_version(connection, f"{schema}.{VERSION_TABLE}", revision)
    else:
        connection.execute(text(f"DROP TABLE IF EXISTS {schema}.{VERSION_TABLE}"))


def write_version(connection: Connection, schema: str, table: str, revision: str) -> None:
    """Add the revision to a version table, which is made as Alembic makes it.

    Args:
        schema: quoted.

    """
    connection.execute(
        text(
            f"CREATE TABLE IF NOT EXISTS {schema}.{table} (version_num varchar(32) NOT NULL,"
            f" CONSTRAINT {table}_pkc PRIMARY KEY (version_num))"
        )
    )
    connection.execute(
        text(f"INSERT INTO {schema}.{table} VALUES (:revision)"),  # noqa: S608 - quoted
        {"revision": revision},
    )


def _forget_version(connection: Connection, table: str, revision: str) -> None:
    """Delete our row, and the table where nothing else is in it."""
    connection.execute(
        text(f"DELETE FROM {table} WHERE version_num = :revision"),  # noqa: S608 - quoted
        {"revision": revision},
    )
    if not connection.scalar(text(f"SELECT EXISTS (SELECT FROM {table})")):  # noqa: S608 - quoted
        connection.execute(text(f"DROP TABLE {table}"))


def newest_revision() -> str:
    """The migration of this package that no other one follows."""
    former = _revisions()
    return next(revision for revision in former if revision not in former.values())


@functools.cache
def _revisions() -> dict[str, str | None]:
    """Each migration of this package, and the one before it, as their files say."""
    versions = files("app.migrations") / "versions"
    found: dict[str, str | None] = {}
    for file in versions.iterdir():
        named = dict(_REVISION.findall(file.read_text("utf-8"))) if file.name[:1].isdigit() else {}
        if named:
            found[named["revision"]] = named.get("down_revision")
    return found


def require_current_schema(engine: Engine) -> None:
    """Return if the database is at this version's migration.

    Raises:
        SchemaOutdated: it is not.

    """
    present, needed = schema_revisions(engine)
    if present == needed:
        return
    with translated_errors(), engine.connect() as connection:
        elsewhere = connection.scalar(_OTHER_SCHEMA)
    if present is None and elsewhere is not None:
        raise SchemaOutdated(
            f"There are no tables of Session Tasks here, but in the schema {elsewhere}, which "
            "search_path does not name",
            next_step=f"Set SESSION_TASKS_DATABASE_SCHEMA to {elsewhere}, or the role's "
            "search_path; or make new tables: session-tasks db upgrade.",
        )
    raise SchemaOutdated(
        f"The database is at migration {present or 'none'}, this version needs {needed}",
        next_step="Run session-tasks db upgrade.",
    )
