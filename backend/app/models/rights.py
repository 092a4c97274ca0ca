"""The rights on the tables that the database role needs, and the GRANT for those it lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from app.core.errors import DatabaseForbidden
from app.core.schema_version import INSTALLED_SCHEMA, VERSION_TABLE, require_usage
from app.models.base import Base

if TYPE_CHECKING:
    from app.core.database import Database

_LACKING = text("""
WITH ours (name, rights) AS (
    SELECT :schema || '.' || name,
           CASE name WHEN :version THEN '{SELECT}' ELSE '{SELECT,INSERT,UPDATE,DELETE}' END::text[]
      FROM unnest(CAST(:tables AS text[])) AS names (name)),
lacking (name, rights) AS (
    SELECT name, string_agg(needed, ', ' ORDER BY array_position(rights, needed))
      FROM ours, unnest(rights) AS needed
     WHERE NOT has_table_privilege(to_regclass(name), needed) GROUP BY name)
SELECT format('GRANT %s ON %s TO %I', rights, string_agg(name, ', ' ORDER BY name), current_user)
  FROM lacking GROUP BY rights
UNION ALL
SELECT format('ALTER TABLE %s DISABLE ROW LEVEL SECURITY', name)
  FROM ours WHERE row_security_active(to_regclass(name))""")
"""Returns nothing for tables that do not exist, whose rights are null."""


def require_rights(database: Database) -> None:
    """Check that the role may read and write every row of our tables that exist.

    Raises:
        DatabaseForbidden: it may not; the error names the statements to execute.

    """
    tables = [*Base.metadata.tables, VERSION_TABLE]
    with database.translated_errors(), database.engine.connect() as connection:
        require_usage(connection)
        missing = connection.scalars(
            _LACKING,
            {
                "schema": connection.scalar(INSTALLED_SCHEMA),
                "tables": [name.rpartition(".")[2] for name in tables],
                "version": VERSION_TABLE,
            },
        ).all()
    if missing:
        raise DatabaseForbidden(
            f"The database role lacks rights: {'; '.join(missing)}",
            next_step="Execute this as the tables' owner.",
        )
