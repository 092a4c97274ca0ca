"""The shop's own tables, by a base of its own.

Two are named as ours are; they are used by an engine that does not see ours.
"""

from __future__ import annotations

import uuid

from sqlalchemy import ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from app.models import Session


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"

    number: Mapped[int] = mapped_column(primary_key=True)
    session_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(Session.id, ondelete="CASCADE"))


class Document(Base):
    __tablename__ = "documents"

    number: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]


class Export(Base):
    __tablename__ = "exports"

    number: Mapped[int] = mapped_column(primary_key=True)
