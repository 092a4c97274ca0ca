"""Alembic's environment: migrations run one at a time, under an advisory lock."""

from __future__ import annotations

from alembic import context
from sqlalchemy import NullPool, text
from sqlalchemy.schema import CreateSchema

from app.core.connections import Connector
from app.core.pool import conninfo_of, pooled_engine
from app.core.schema_version import (
    FIRST_WITH_OWN_TABLE,
    VERSION_TABLE,
    give_version_back,
    present_revision,
    take_version_over,
)
from app.models import Base

ADVISORY_LOCK = 0x5E55_1047
"""Ours alone by convention (PostgreSQL, section 13.3.5); held until the migration commits."""

SESSION_SETTINGS = {
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "plan_cache_mode": "auto",
    "enable_seqscan": "on",
}
"""A migration may take long, also between two statements, and may have to read a whole table."""


_HAS_SCHEMA = text("SELECT to_regnamespace(:schema) IS NOT NULL")
"""Asked first: `IF NOT EXISTS` needs the right to create schemas all the same."""


def run_migrations() -> None:
    """Run the migrations in one transaction, after other processes that migrate."""
    url = context.config.get_main_option("sqlalchemy.url") or ""
    schema = context.config.get_main_option("schema") or None
    settings = SESSION_SETTINGS | ({} if schema is None else {"search_path": schema})
    connector = Connector(conninfo_of(url), settings, connect_timeout=10)
    engine = pooled_engine(url, connector, poolclass=NullPool)
    with engine.connect() as connection, connection.begin():
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
        connection.execute(
            text("SELECT set_config('lock_timeout', :milliseconds, true)"),
            {"milliseconds": context.config.get_main_option("lock_milliseconds")},
        )
        if schema is not None and not connection.scalar(_HAS_SCHEMA, {"schema": schema}):
            connection.execute(CreateSchema(schema))
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            compare_server_default=True,
            version_table=VERSION_TABLE,
            version_table_schema=take_version_over(connection),
        )
        context.run_migrations()
        present = present_revision(connection)
        if not _has_own_table(present):
            give_version_back(connection, present)
    engine.dispose()


def _has_own_table(revision: str | None) -> bool:
    """Whether the migration that made the version table our own is among those that have run."""
    if revision is None:
        return False
    run = context.script.iterate_revisions(revision, "base")
    return any(script.revision == FIRST_WITH_OWN_TABLE for script in run)


run_migrations()
