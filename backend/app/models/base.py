"""The declarative base: names of constraints, and the column types that all tables share."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import Enum
from typing import Any, ClassVar

from sqlalchemy import DateTime, Dialect, MetaData
from sqlalchemy import Enum as SQLEnum
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator

NAMING_CONVENTION = {
    "pk": "pk_%(table_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
}


class UtcDateTime(TypeDecorator[datetime]):
    """A timezone-aware moment, always UTC on the way in and on the way out.

    A naive datetime is refused with `ValueError`: its moment is unknown.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Return the moment as it is; refuse one without a time zone."""
        if value is not None and value.tzinfo is None:
            msg = f"{value!r} has no time zone; use datetime.now(UTC)"
            raise ValueError(msg)
        return value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Return the moment in UTC."""
        return value.astimezone(UTC) if value is not None else None


def enum_by_value(enum_type: type[Enum], name: str) -> SQLEnum:
    """A column type that stores an enum's *values* as text under a CHECK of the given name.

    Not a PostgreSQL ENUM type: those can neither lose a value nor change inside every
    transaction (PostgreSQL, section 8.7.4).
    """
    return SQLEnum(
        enum_type,
        name=name,
        native_enum=False,
        create_constraint=True,
        length=20,
        values_callable=lambda members: [member.value for member in members],
    )


class Base(DeclarativeBase):
    """The base of every table of the product."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: UtcDateTime(),
        dict[str, Any]: JSONB(none_as_null=True),
    }


def utc_now() -> datetime:
    """Return the present moment, for objects in memory; rows use the database's clock."""
    return datetime.now(UTC)


def format_utc(moment: datetime) -> str:
    """Return the moment as failure contexts store it: `2026-01-31T12:00:00Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
