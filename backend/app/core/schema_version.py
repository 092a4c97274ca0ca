"""Whether the database is at this version's migration, and how it gets there (Alembic).

Alembic is imported only by what migrates: it takes 11 MB and a good part of a command's start, and
whether anything is to be done can be told without it.
"""

from __future__ import annotations

import threading
from importlib.resources import files
from typing import TYPE_CHECKING

from sqlalchemy import text

from app.core.errors import SchemaOutdated

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Engine

_one_at_a_time = threading.Lock()
"""Alembic keeps the migration that runs in module globals; processes wait in PostgreSQL."""


LOCK_SECONDS = 10.0
"""How long a migration waits for a table: whoever comes after it waits behind it."""


def alembic_config(url: str) -> Config:
    """Alembic's configuration for the migrations that live in this package."""
    from alembic.config import Config  # noqa: PLC0415 - see the module

    config = Config()
    config.set_main_option("script_location", "app:migrations")
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    config.set_main_option("lock_milliseconds", f"{LOCK_SECONDS * 1_000:.0f}")
    return config


def upgrade_schema(url: str, revision: str = "head") -> None:
    """Bring the database up to date; several at once wait for one another (advisory lock).

    Raises:
        SchemaOutdated: the database is at a migration that this version does not know.

    """
    from alembic import command  # noqa: PLC0415 - see the module
    from alembic.util import CommandError  # noqa: PLC0415

    try:
        with _one_at_a_time:
            command.upgrade(alembic_config(url), revision)
    except CommandError as error:
        raise SchemaOutdated(
            f"The database cannot be upgraded: {error}",
            next_step="It was made by a newer version, it seems: upgrade session-tasks.",
        ) from error


def downgrade_schema(url: str, revision: str) -> None:
    """Take the database back to an earlier migration, with the data that only later ones have."""
    from alembic import command  # noqa: PLC0415 - see the module

    with _one_at_a_time:
        command.downgrade(alembic_config(url), revision)


def bring_schema_up_to_date(engine: Engine) -> None:
    """Upgrade the database if it is not at this version's migration.

    Raises:
        SchemaOutdated: the database is at a migration that this version does not know.

    """
    present, needed = schema_revisions(engine)
    if present != needed:
        upgrade_schema(engine.url.render_as_string(hide_password=False))


def schema_revisions(engine: Engine) -> tuple[str | None, str]:
    """The migration the database is at, and the one this version needs."""
    with engine.connect() as connection:
        has_any = connection.scalar(text("SELECT to_regclass('alembic_version') IS NOT NULL"))
        present = (
            connection.scalar(text("SELECT version_num FROM alembic_version")) if has_any else None
        )
    return present, newest_revision()


def newest_revision() -> str:
    """The last of the migrations in this package, which are numbered in their file names."""
    versions = files("app.migrations") / "versions"
    return max(
        file.name.partition("_")[0] for file in versions.iterdir() if file.name[:1].isdigit()
    )


def require_current_schema(engine: Engine) -> None:
    """Return if the database is at this version's migration.

    Raises:
        SchemaOutdated: it is not.

    """
    present, needed = schema_revisions(engine)
    if present != needed:
        raise SchemaOutdated(
            f"The database is at migration {present or 'none'}, this version needs {needed}",
            next_step="Run session-tasks db upgrade.",
        )
