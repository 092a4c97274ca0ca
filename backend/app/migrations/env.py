"""What Alembic runs around each migration: one at a time, under an advisory lock."""

from __future__ import annotations

from alembic import context
from sqlalchemy import create_engine, pool, text

from app.models import Base

ADVISORY_LOCK = 0x5E55_1047
"""Ours alone by convention (PostgreSQL, section 13.3.5); held until the migration commits."""


def run_migrations() -> None:
    """Run what is asked for in one transaction, after whoever else is migrating."""
    url = context.config.get_main_option("sqlalchemy.url") or ""
    engine = create_engine(
        url,
        poolclass=pool.NullPool,
        hide_parameters=True,
        connect_args={"connect_timeout": 10, "options": "-c timezone=UTC"},
    )
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
