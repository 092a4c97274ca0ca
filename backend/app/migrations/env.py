"""What Alembic runs around each migration: one at a time, under an advisory lock."""

from __future__ import annotations

from alembic import context
from sqlalchemy import NullPool, text

from app.core.connections import Connector
from app.models import Base

ADVISORY_LOCK = 0x5E55_1047
"""Ours alone by convention (PostgreSQL, section 13.3.5); held until the migration commits."""

SESSION_SETTINGS = {"statement_timeout": "0", "plan_cache_mode": "auto", "enable_seqscan": "on"}
"""A migration may take long, and may have to read a whole table."""


def run_migrations() -> None:
    """Run what is asked for in one transaction, after whoever else is migrating."""
    url = context.config.get_main_option("sqlalchemy.url") or ""
    engine = Connector(url, SESSION_SETTINGS, connect_timeout=10).engine(poolclass=NullPool)
    with engine.connect() as connection, connection.begin():
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
        connection.execute(
            text("SELECT set_config('lock_timeout', :milliseconds, true)"),
            {"milliseconds": context.config.get_main_option("lock_milliseconds")},
        )
        context.configure(
            connection=connection, target_metadata=Base.metadata, compare_server_default=True
        )
        context.run_migrations()
    engine.dispose()


run_migrations()
