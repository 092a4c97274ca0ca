"""Retry a failed or cancelled task, with other options and documents: a retry that can succeed.

The API, the pages and the command all call it. What can still change something is taken, and
nothing else: after processing, other documents come too late; after export, another project does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from app.core.errors import (
    DocumentError,
    ErrorCategory,
    IntakeRefused,
    TaskError,
    TaskValidationError,
)
from app.models.options import SessionOptions
from app.models.session import TaskType
from app.repositories.content_repository import ContentRepository
from app.repositories.session_repository import SessionRepository
from app.tasks.documents.tickets import check_readable
from app.tasks.intake_check import option_problems, rule_problems

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from uuid import UUID

    from sqlalchemy.orm import Session as DbSession

    from app.core.config import Settings
    from app.repositories.content_reader import IncomingDocument
    from app.repositories.session_snapshot import SessionSnapshot
    from app.repositories.transitions import Transition

OF_THE_EXPORT = frozenset(("to", "project_key", "issue_type"))
"""Options that the export uses; all others are of processing."""


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes that a retry makes to its session.

    Attributes:
        options: None for one that is to be as if it was not chosen.
        documents: to put in place of those of the same names.
        without: names of documents to leave out.

    """

    options: Mapping[str, Any] = field(default_factory=dict)
    documents: Sequence[IncomingDocument] = ()
    without: Sequence[str] = ()


def retry_changed(  # noqa: PLR0913 - whose session, which run, and what to change
    db: DbSession,
    session: SessionSnapshot,
    changes: Changes,
    settings: Settings,
    *,
    owner: str | None,
    expected_task_id: UUID | None,
) -> Transition:
    """Run the session's task again with these changes, all in the transaction of `db`.

    Raises:
        DocumentError: the session has no document of that name, or none would be left; or a new
            one cannot be opened.
        ConfigurationError, IntakeRefused: an option cannot be used.
        TaskError: the task may not be retried, another run has begun meanwhile, or a change comes
            too late.

    """
    has_documents = bool(changes.documents or changes.without)
    refuse_too_late(session, changes.options, has_documents=has_documents)
    content = ContentRepository(db)
    if changes.options:
        _check_options(session, changes.options, settings, content)
    sessions = SessionRepository(db, owner=owner)
    done = sessions.retry_task(session.session_id, expected_task_id=expected_task_id)
    if changes.options:
        sessions.change_options(session.session_id, changes.options)
    leave_out(content, session.session_id, changes.without)
    for document in changes.documents:
        check_readable(document.name, document.content)
        if not content.replace_document(session.session_id, document):
            raise DocumentError(
                f"The session has no document called {document.name}",
                name=document.name,
                next_step="Give the corrected one the name of the one it stands in for.",
            )
    return done


def refuse_too_late(
    session: SessionSnapshot,
    options: Collection[str],
    *,
    has_documents: bool,
    option_name: Callable[[str], str] = str,
) -> None:
    """Return if what is to be changed can still change something.

    Raises:
        TaskValidationError: the task that would use it has completed.

    """
    if session.task_type in {None, TaskType.PROCESSING}:
        return
    late = ["documents"] if has_documents else []
    late += [
        option_name(name)
        for name in options
        if name not in OF_THE_EXPORT or session.task_type is TaskType.ADF_VALIDATION
    ]
    if late and session.task_type is not None:
        raise TaskValidationError(
            f"Session {session.short_id} is at {session.task_type.value}: it is too late for "
            f"other {', '.join(late)}",
            ErrorCategory.USER_FIXABLE,
            next_step="Open a new session with the documents.",
            session_id=session.session_id,
        )


def leave_out(content: ContentRepository, session_id: UUID, names: Sequence[str]) -> None:
    """Remove documents from the session.

    Raises:
        DocumentError: the session has no document of that name, or no other.

    """
    for name in names:
        there = content.document_names(session_id)
        if name not in there:
            known = ", ".join(there[:5]) + (" …" if len(there) > 5 else "")  # noqa: PLR2004
            raise DocumentError(
                f"The session has no document named {name}",
                name=name,
                next_step=f"Give one of these names: {known}.",
            )
        if len(there) == 1:
            raise DocumentError(
                "A session needs a document",
                name=name,
                next_step="Open a new session with other documents instead.",
            )
        content.remove_document(session_id, name)


def _check_options(
    session: SessionSnapshot,
    changed: Mapping[str, Any],
    settings: Settings,
    content: ContentRepository,
) -> None:
    options = SessionOptions.from_json({**session.options, **changed})
    problems: list[TaskError] = option_problems(options, settings)
    if "map" in changed:
        problems += rule_problems(options, content.document_names(session.session_id))
    if len(problems) > 1:
        raise IntakeRefused(problems)
    if problems:
        raise problems[0]
