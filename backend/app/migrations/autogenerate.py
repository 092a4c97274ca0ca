"""How a program that has Alembic migrations of its own lets our tables be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.core.schema_version import VERSION_TABLE
from app.models import Base

if TYPE_CHECKING:
    from sqlalchemy.schema import SchemaItem

__all__ = ["include_object"]


def include_object(
    object_: SchemaItem,  # noqa: ARG001 - Alembic's signature
    name: str | None,
    type_: str,
    reflected: bool,
    compare_to: SchemaItem | None,
) -> bool:
    """Keep Alembic's autogenerate in another program from dropping our tables.

    For `context.configure(include_object=...)` in that program's `env.py`, where our tables are in
    a schema that it looks at. False for a table of ours that the program's own models do not name.
    """
    is_theirs = not reflected or compare_to is not None
    return type_ != "table" or is_theirs or name not in {*Base.metadata.tables, VERSION_TABLE}
