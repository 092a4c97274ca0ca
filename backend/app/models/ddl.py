"""Makes `create_all` create everything that the migrations create, which is more than tables.

The function and its triggers, the sentinel's row, and the version, so that `Database.open` accepts
such a database. A test compares the catalogues. Whether a schema is translated
(`schema_translate_map`) or searched for (`search_path`): all of it is where the tables are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, event, insert, text

from app.core.schema_version import (
    INSTALLED_SCHEMA,
    VERSION_TABLE,
    newest_revision,
    write_version,
)
from app.models.base import Base
from app.models.lease import LeaseSentinel
from app.models.session import Session

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Table

# Migration 0012 says why it is written so.
DELETE_LEASES = """
CREATE OR REPLACE FUNCTION {schema}.delete_leases_of_deleted_sessions() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        EXECUTE format('TRUNCATE %I.session_task_leases', TG_TABLE_SCHEMA);
    ELSE
        EXECUTE format('
            WITH held AS MATERIALIZED (
                SELECT session_id FROM %1$I.session_task_leases
                 WHERE session_id IN (SELECT id FROM deleted)
                 ORDER BY session_id FOR UPDATE)
            DELETE FROM %1$I.session_task_leases AS lease USING held
             WHERE lease.session_id = held.session_id', TG_TABLE_SCHEMA);
    END IF;
    RETURN NULL;
END $$"""

TRIGGERS = (
    """
CREATE TRIGGER delete_leases AFTER DELETE ON {schema}.sessions REFERENCING OLD TABLE AS deleted
FOR EACH STATEMENT EXECUTE FUNCTION {schema}.delete_leases_of_deleted_sessions()""",
    """
CREATE TRIGGER truncate_leases AFTER TRUNCATE ON {schema}.sessions
FOR EACH STATEMENT EXECUTE FUNCTION {schema}.delete_leases_of_deleted_sessions()""",
)


def _schema(connection: Connection) -> str:
    """Return the schema of the tables, quoted."""
    translated = connection.get_execution_options().get("schema_translate_map", {}).get(None)
    if translated is not None:
        return connection.dialect.identifier_preparer.quote_schema(translated)
    return str(connection.scalar(INSTALLED_SCHEMA))


@event.listens_for(Session.__table__, "after_create")
def _create_triggers(_table: Table, connection: Connection, **_: Any) -> None:
    schema = _schema(connection)
    for statement in (DELETE_LEASES, *TRIGGERS):
        connection.execute(text(statement.replace("{schema}", schema)))


@event.listens_for(LeaseSentinel.__table__, "after_create")
def _insert_sentinel(_table: Table, connection: Connection, **_: Any) -> None:
    connection.execute(insert(LeaseSentinel).values(id=1))


@event.listens_for(Base.metadata, "after_create")
def _write_version(
    _metadata: object, connection: Connection, *, tables: Collection[Table], **_: Any
) -> None:
    if Session.__table__ in tables:
        write_version(connection, _schema(connection), VERSION_TABLE, newest_revision())


@event.listens_for(Base.metadata, "before_drop")
def _drop_the_rest(
    _metadata: object, connection: Connection, *, tables: Collection[Table], **_: Any
) -> None:
    if Session.__table__ in tables:
        schema = _schema(connection)
        connection.execute(text(f"DROP TABLE IF EXISTS {schema}.{VERSION_TABLE}"))
        name = "delete_leases_of_deleted_sessions"
        connection.execute(text(f"DROP FUNCTION IF EXISTS {schema}.{name} CASCADE"))
