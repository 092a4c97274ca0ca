"""Create sessions, one or many, with their documents, by one statement and one COPY."""

from __future__ import annotations

import contextvars
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from psycopg.types.json import Jsonb

from app.models.content import Document
from app.repositories.content_reader import IncomingDocument
from app.repositories.results_writer import copy_rows, copy_statement
from app.values.states import TaskType

if TYPE_CHECKING:
    import psycopg

    from app.repositories.transitions import Start

_CREATE = """
INSERT INTO sessions (id, owner, label, options, auto_advance)
SELECT * FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::jsonb[], %s::boolean[])
    ON CONFLICT (id) DO NOTHING
RETURNING id"""

_COPY_DOCUMENTS = copy_statement(
    Document.__tablename__, ("session_id", "position", "name", "content")
)


@dataclass(frozen=True, slots=True)
class SessionDraft:
    """A session to be created, with its documents.

    Attributes:
        label: at most 200 characters.
        starts: whether processing is started in the same transaction.
        session_id, task_id: chosen by the caller, so that a repeated creation is recognized.
        context: the caller's, for the log line of the start.

    """

    owner: str
    label: str
    options: Mapping[str, Any]
    auto_advance: bool
    documents: Sequence[IncomingDocument]
    starts: bool = False
    session_id: uuid.UUID = field(default_factory=uuid.uuid4)
    task_id: uuid.UUID = field(default_factory=uuid.uuid4)
    context: contextvars.Context = field(default_factory=contextvars.copy_context)

    @property
    def start(self) -> Start:
        """The start of its processing."""
        return self.session_id, TaskType.PROCESSING, self.task_id


def create_sessions(connection: psycopg.Connection[Any], drafts: Sequence[SessionDraft]) -> None:
    """Create these sessions in the caller's transaction; one that already exists is unchanged.

    So a creation may be repeated where the outcome of its commit is unknown.
    """
    created = {
        session_id
        for (session_id,) in connection.execute(
            _CREATE,
            (
                [draft.session_id for draft in drafts],
                [draft.owner for draft in drafts],
                [draft.label for draft in drafts],
                [Jsonb(dict(draft.options)) for draft in drafts],
                [draft.auto_advance for draft in drafts],
            ),
        )
    }
    copy_rows(
        connection,
        _COPY_DOCUMENTS,
        (
            (draft.session_id, position, document.name, document.content)
            for draft in drafts
            if draft.session_id in created
            for position, document in enumerate(draft.documents, 1)
        ),
    )
