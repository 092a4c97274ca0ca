"""The content of a session: its documents, and the results of the three tasks."""

from __future__ import annotations

import uuid

from sqlalchemy import ARRAY, JSON, ForeignKey, LargeBinary, Text
from sqlalchemy import text as sql_text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base


class _Numbered:
    """A row that belongs to a session, at a position that starts with 1."""

    session_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True
    )
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


class Document(_Numbered, Base):
    """A document as submitted, byte for byte."""

    __tablename__ = "documents"

    name: Mapped[str] = mapped_column(Text)
    content: Mapped[bytes] = mapped_column(LargeBinary)


class Ticket(_Numbered, Base):
    """A ticket that processing made; its description is ADF, stored as text."""

    __tablename__ = "tickets"

    title: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(JSON)
    source_name: Mapped[str] = mapped_column(Text)
    source_row: Mapped[int]
    fields: Mapped[str | None] = mapped_column(JSON)
    parent: Mapped[int | None]


class Export(_Numbered, Base):
    """One body of `POST /rest/api/3/issue/bulk`, ready to be sent."""

    __tablename__ = "exports"

    body: Mapped[str] = mapped_column(JSON)
    issue_count: Mapped[int]


class ValidationFinding(_Numbered, Base):
    """One reason why Jira would refuse a ticket, from the last validation."""

    __tablename__ = "validation_findings"

    ticket: Mapped[int]
    title: Mapped[str] = mapped_column(Text)
    source_name: Mapped[str] = mapped_column(Text)
    source_row: Mapped[int]
    path: Mapped[str] = mapped_column(Text)
    rule: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)


class DeliveredIssue(_Numbered, Base):
    """An issue that the session's export created in Jira; `position` is its ticket's number."""

    __tablename__ = "delivered_issues"

    issue_id: Mapped[str] = mapped_column(Text)
    key: Mapped[str] = mapped_column(Text)
    url: Mapped[str] = mapped_column(Text)


class SessionNote(_Numbered, Base):
    """A note for the user that is not a failure: a guessed encoding, for example."""

    __tablename__ = "session_notes"

    text: Mapped[str] = mapped_column(Text)
    options: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=sql_text("'{}'"))
