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
    TaskValidationError,
)
from app.models.step import TaskStep
from app.repositories.content_repository import ContentRepository
from app.repositories.session_repository import SessionRepository
from app.tasks.intake_check import check_intake, option_problems, raise_problems
from app.values.options import SessionOptions
from app.values.states import TaskStatus, TaskType

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from uuid import UUID

    from sqlalchemy.orm import Session as DbSession

    from app.core.config import Settings
    from app.core.database import Database
    from app.repositories.content_reader import IncomingDocument
    from app.repositories.session_snapshot import SessionSnapshot
    from app.repositories.transitions import Transition
    from app.tasks.intake_check import ReadProblems

OF_THE_EXPORT = frozenset(("to", "project_key", "issue_type"))
"""Options that the export uses; all others are of processing."""


_FIRST_INTENT = "intent 1"
"""The step of `app.tasks.jira.delivery` before its first request."""


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

    def __bool__(self) -> bool:
        """Whether anything is changed."""
        return bool(self.options or self.documents or self.without)


def check_retry(  # noqa: PLR0913 - whose session, what to change, and how it is read
    database: Database,
    session: SessionSnapshot,
    changes: Changes,
    settings: Settings,
    *,
    read: ReadProblems | None = None,
    option_name: Callable[[str], str] = str,
    resets: bool = False,
) -> None:
    """Return if the session could be opened as the changes leave it: the check of the intake.

    Where no attempts are left, and the retry does not reset them (`resets`), nothing is read: it is
    refused for that.

    `read` is called in place of `document_problems`, for documents that this process is not to
    read; by then no transaction is open.

    Raises:
        DocumentError: the session has no document of that name, or none would be left.
        ConfigurationError, DocumentError: what is wrong, if it is one thing.
        IntakeRefused: everything that is wrong.
        TaskValidationError: a change comes too late.

    """
    if session.status is TaskStatus.FAILED and not (session.can_be_retried or resets):
        return
    has_documents = bool(changes.documents or changes.without)
    refuse_too_late(session, changes.options, has_documents=has_documents, option_name=option_name)
    options = SessionOptions.from_json({**session.options, **changes.options})
    if session.task_type in {None, TaskType.PROCESSING}:
        with database.transaction() as db:
            names = _names_left(ContentRepository(db), session.session_id, changes)
        documents = _documents_left(database, session.session_id, changes)
        check_intake(documents, names, options, settings, read=read)
    elif changes.options:
        raise_problems(option_problems(options, settings))
        if options.to != session.options.get("to"):
            _refuse_another_site(database, session)


def retry_changed(
    db: DbSession,
    session: SessionSnapshot,
    changes: Changes,
    *,
    owner: str | None,
    expected_task_id: UUID | None,
) -> Transition:
    """Run the session's task again with these changes, which `check_retry` has let pass.

    All of it is done in the transaction of `db`.

    Raises:
        DocumentError: the session has no document of that name, or none would be left.
        TaskError: the task may not be retried, another run has begun meanwhile, or a change comes
            too late.

    """
    has_documents = bool(changes.documents or changes.without)
    refuse_too_late(session, changes.options, has_documents=has_documents)
    content = ContentRepository(db)
    sessions = SessionRepository(db, owner=owner)
    done = sessions.retry_task(session.session_id, expected_task_id=expected_task_id)
    if changes.options:
        sessions.change_options(session.session_id, changes.options)
    if has_documents:
        _names_left(content, session.session_id, changes)
    for name in changes.without:
        content.remove_document(session.session_id, name)
    for document in changes.documents:
        content.replace_document(session.session_id, document)
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


def _refuse_another_site(database: Database, session: SessionSnapshot) -> None:
    """Return if nothing of the session was sent to the site that it has now.

    Raises:
        TaskValidationError: there are issues there, or may be.

    """
    with database.transaction() as db:
        intent = db.get(TaskStep, (session.session_id, TaskType.EXPORT, _FIRST_INTENT))
    if intent is not None:
        raise TaskValidationError(
            f"Session {session.short_id} has sent issues to {session.options.get('to')}: the rest "
            "cannot go elsewhere",
            ErrorCategory.USER_FIXABLE,
            next_step="Retry without another site, or open a new session for what is missing.",
            session_id=session.session_id,
        )


def _names_left(content: ContentRepository, session_id: UUID, changes: Changes) -> list[str]:
    """Return the names of the documents that a retry leaves in the session.

    Raises:
        DocumentError: the session has no document of a name that is given, or none would be left.

    """
    there = content.document_names(session_id)
    for name in (*changes.without, *(document.name for document in changes.documents)):
        if name not in there:
            raise no_document_named(name, there)
    left = [name for name in there if name not in changes.without]
    if there and not left:
        raise DocumentError(
            "A session needs a document",
            name=there[-1],
            next_step="Open a new session with other documents instead.",
        )
    return left


def no_document_named(name: str, there: Sequence[str]) -> DocumentError:
    """Return the error for a name that none of the session's documents has."""
    known = ", ".join(there[:5]) + (" …" if len(there) > 5 else "")  # noqa: PLR2004
    return DocumentError(
        f"The session has no document named {name}",
        name=name,
        next_step=f"Give one of these names: {known}.",
    )


def _documents_left(
    database: Database, session_id: UUID, changes: Changes
) -> Iterator[IncomingDocument]:
    new = {document.name: document for document in changes.documents}
    with database.transaction() as db:
        for document in ContentRepository(db).documents(session_id):
            if document.name not in changes.without:
                yield new.get(document.name, document)
