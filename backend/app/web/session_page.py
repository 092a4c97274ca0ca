"""The page of one session, and its acts: retry, cancel, start, reset, delete."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from io import BytesIO
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from anyio import from_thread
from fastapi import APIRouter, Form, Query, Request, Response
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from app.api import tasks
from app.api.application import MOST_FORM_FIELDS
from app.api.problems import PreconditionFailed, kind_of
from app.api.resources import SafeText
from app.api.services import Administrator, Caller, ServicesOf, audit_act
from app.api.uploads import NewSession, usable_documents
from app.core.errors import (
    ConfigurationError,
    DatabaseBusy,
    DocumentError,
    TaskError,
)
from app.engines.reading_apart import problems_apart
from app.models.access import KeyRole
from app.presentation.failures import failure_report
from app.presentation.import_files import import_command
from app.presentation.labels import OPTION_FLAGS, WHO_CAN_FIX
from app.presentation.notes import note_texts
from app.repositories.content_repository import ContentRepository
from app.repositories.content_summary import summarize_content
from app.repositories.pause_repository import read_pauses
from app.repositories.session_queries import SessionQueries
from app.repositories.session_repository import SessionRepository
from app.repositories.session_snapshot import SessionSnapshot
from app.repositories.transition_errors import session_not_found
from app.repositories.worker_repository import live_workers
from app.tasks.intake_check import raise_problems
from app.tasks.jira.sites import configured_targets
from app.tasks.retrying import Changes, check_retry, retry_changed
from app.values.states import TaskStatus
from app.web import wording
from app.web.expectation import times_left
from app.web.headline import NAMES_IN_SENTENCES, headline
from app.web.new_session import UNUSABLE, field_problems, refused_fields, with_offered_key
from app.web.page import PageOf
from app.web.retry_form import (
    CHOICES,
    changes,
    editable_options,
    offered_label,
    option_label,
    options_text,
    takes_documents,
    target_choices,
)
from app.web.session_view import (
    acts,
    run_shown,
    stage_lines,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy.orm import Session as DbSession

    from app.api.services import Services
    from app.repositories.access_repository import Principal
    from app.web.page import Page

router = APIRouter(include_in_schema=False)

TICKETS_PER_PAGE = 25
FINDINGS_SHOWN = 50
DOCUMENTS_SHOWN = 100
LOOK_AGAIN = timedelta(seconds=5)
"""While a session waits, its page also changes with time alone, without an event."""

LAST_TICKET = 1_000_000_000
CONFLICTS = frozenset({409, 412})

_NO_DOCUMENT = UploadFile(BytesIO())
"""Stands for the documents where a retry replaces none, so that only the options are checked."""

Run = Annotated[SafeText, Form(max_length=64)]
After = Annotated[int, Query(ge=0, le=LAST_TICKET)]


@router.get("/sessions/{session_id}")
def session_page(
    session_id: UUID, caller: Caller, services: ServicesOf, page: PageOf, after: After = 0
) -> Response:
    """Show one session; `after` is the last ticket of the previous page of tickets."""
    return _render(page, services, caller, session_id, after=after)


@router.post("/sessions/{session_id}/retry")
async def retry(
    session_id: UUID, request: Request, caller: Caller, services: ServicesOf, page: PageOf
) -> Response:
    """Retry the task with the form's corrections, if the run it showed is still the last one."""
    async with request.form(
        max_files=services.settings.max_documents, max_fields=MOST_FORM_FIELDS
    ) as form:
        given = {name: value for name, value in form.items() if isinstance(value, str)}
        documents = [
            upload
            for upload in form.getlist("documents")
            if isinstance(upload, UploadFile) and upload.filename
        ]
        without = [name for name in form.getlist("without") if isinstance(name, str)]
        async with services.uploads.turn(caller.key_id):
            return await run_in_threadpool(
                _retry, page, services, caller, session_id, given, documents, without
            )


@router.post("/sessions/{session_id}/cancel")
def cancel(
    session_id: UUID, caller: Caller, services: ServicesOf, page: PageOf, run: Run
) -> Response:
    """Cancel the run that the page showed, and no other."""
    name = _task_name(services, caller, session_id)
    return _acted(
        page,
        session_id,
        lambda: tasks.cancel_task(session_id, caller, services, if_match=run),
        f"Cancelled {name}.",
    )


@router.post("/sessions/{session_id}/start")
def start(
    session_id: UUID, caller: Caller, services: ServicesOf, page: PageOf, run: Run
) -> Response:
    """Start the task that the page named as the next."""
    with services.database.transaction() as db:
        session = _unchanged(db, caller, session_id, run)
        task_type = session.next_task_type if session is not None else None
    if task_type is None:
        return _moved_on(page, session_id)
    return _acted(
        page,
        session_id,
        lambda: from_thread.run(tasks.start, services, caller, session_id, task_type),
        f"Started {NAMES_IN_SENTENCES[task_type]}.",
    )


@router.post("/sessions/{session_id}/reset")
def reset(session_id: UUID, caller: Administrator, services: ServicesOf, page: PageOf) -> Response:
    """Reset the failed task's attempts."""
    return _acted(
        page,
        session_id,
        lambda: tasks.reset_task(session_id, caller, services),
        "The attempts are reset. Nothing runs yet: retry when you are ready.",
    )


@router.post("/sessions/{session_id}/delete")
def delete(
    session_id: UUID, caller: Caller, services: ServicesOf, page: PageOf, run: Run
) -> Response:
    """Delete the session, if its last run is the one that the page showed."""
    try:
        with services.database.transaction(waits_briefly=True) as db:
            session = _unchanged(db, caller, session_id, run)
            if session is not None:
                SessionRepository(db, owner=caller.sees).delete_session(session_id)
                audit_act(db, caller, "Session deleted", session)
    except DatabaseBusy as error:
        return _refused(page, session_id, error)
    if session is None:
        return _moved_on(page, session_id)
    return page.redirect("/sessions", said=f"Deleted “{wording.label_of(session)}”.")


def _retry(  # noqa: PLR0913, PLR0917 - what a route is given
    page: Page,
    services: Services,
    caller: Principal,
    session_id: UUID,
    given: Mapping[str, str],
    documents: list[UploadFile],
    without: list[str],
) -> Response:
    with services.database.transaction() as db:
        session = _unchanged(db, caller, session_id, given.get("run", ""))
        there = ContentRepository(db).document_names(session_id)
    if session is None:
        return _moved_on(page, session_id)
    offered = editable_options(session, there)
    try:
        wanted = changes(offered, given)
        form = NewSession.model_validate(wanted | {"documents": documents or [_NO_DOCUMENT]})
        usable, problems = usable_documents(form, services.settings)
        if documents:
            raise_problems(problems)
        changed = Changes(
            {name: form.given()[name] for name in wanted},
            list(usable.read()),
            without if takes_documents(session) else [],
        )
        if session.can_be_restarted:
            settings = services.settings
            check_retry(services.database, session, changed, settings, read=problems_apart)
        with services.database.transaction(waits_briefly=True) as db:
            run = session.task_id
            retry_changed(db, session, changed, owner=session.owner, expected_task_id=run)
            audit_act(db, caller, "Task retried", session)
    except ValidationError as error:
        said = field_problems(error)
        return _render(page, services, caller, session_id, refused=said, given=given)
    except (DocumentError, ConfigurationError) as error:
        said = refused_fields(error, (option.name for option in offered))
        given = with_offered_key(given, said)
        return _render(page, services, caller, session_id, refused=said, given=given)
    except TaskError as error:
        return _refused(page, session_id, error)
    name = NAMES_IN_SENTENCES[session.task_type] if session.task_type else "the task"
    return page.redirect(f"/sessions/{session_id}", said=f"Started {name} again.")


def _render(  # noqa: PLR0913 - what a route is given
    page: Page,
    services: Services,
    caller: Principal,
    session_id: UUID,
    *,
    after: int = 0,
    refused: Mapping[str, str] | None = None,
    given: Mapping[str, str] | None = None,
) -> Response:
    with services.database.transaction() as db:
        session = seen(db, caller, session_id)
        content = summarize_content(db, session_id, most_findings=FINDINGS_SHOWN)
        repository = ContentRepository(db)
        tickets = repository.ticket_titles(session_id, after=after, limit=TICKETS_PER_PAGE)
        on_page = range(after + 1, after + TICKETS_PER_PAGE + 1)
        findings = content.findings
        if content.counts.findings > len(findings):
            findings = tuple(repository.findings(session_id, tickets=on_page))
        times = SessionRepository(db, owner=caller.sees).get(session_id).stage_times
        is_waiting = session.status is TaskStatus.RUNNING and session.claimed_at is None
        changes_by_itself = is_waiting or session.retry_at is not None
        workers = live_workers(db.connection()) if is_waiting else None
        pauses = read_pauses(db.connection()) if is_waiting else ()
        left = times_left(db, session.owner, [session]).get(session_id, "")
    choices = CHOICES | {"to": target_choices(services.settings)}
    return page.render(
        "session.html",
        status_code=UNUSABLE if refused else 200,
        session=session,
        headline=headline(session, session.moment, workers=workers, pauses=pauses),
        moment=session.moment,
        look_again_at=session.moment + LOOK_AGAIN if changes_by_itself else None,
        time_left=left,
        stages=stage_lines(session, times, session.moment),
        failure=failure_report(session, option_label),
        who_can_fix=WHO_CAN_FIX,
        acts=acts(session, content.counts, page.server, is_admin=caller.role is KeyRole.ADMIN)
        if caller.may_act
        else [],
        needs_new_session=session.needs_new_session,
        run=run_shown(session),
        editable_options=[
            replace(option, chosen=(given or {}).get(option.name, option.value))
            for option in editable_options(
                session, [document.name for document in content.documents]
            )
            if option.name != "to" or configured_targets(services.settings)
        ],
        flags={name: flag.split()[0] for name, flag in OPTION_FLAGS.items()},
        takes_documents=takes_documents(session),
        choices=choices,
        refused=refused or {},
        options=options_text(session.options, choices),
        content=content,
        notes=note_texts(content.notes, offered_label(services.settings)),
        documents_shown=DOCUMENTS_SHOWN,
        tickets=tickets,
        faulty={found.ticket: found.rule for found in findings},
        after=after,
        tickets_per_page=TICKETS_PER_PAGE,
        retention_days=services.settings.retention_days,
        import_command=import_command(services.settings.jira_url),
    )


def seen(db: DbSession, caller: Principal, session_id: UUID) -> SessionSnapshot:
    """Return the session's current state.

    Raises:
        SessionNotFound: there is none, it was deleted, or it is another owner's.

    """
    snapshot = SessionQueries(db, owner=caller.sees).snapshot(session_id)
    if snapshot is None:
        raise session_not_found(session_id)
    return snapshot


def _unchanged(
    db: DbSession, caller: Principal, session_id: UUID, run: str
) -> SessionSnapshot | None:
    """Return the session, if its last run is still the one that the page showed."""
    session = seen(db, caller, session_id)
    return session if run_shown(session) == run else None


def _task_name(services: Services, caller: Principal, session_id: UUID) -> str:
    with services.database.transaction() as db:
        session = seen(db, caller, session_id)
    return NAMES_IN_SENTENCES[session.task_type] if session.task_type else "the task"


def _acted(page: Page, session_id: UUID, act: Callable[[], object], said: str) -> Response:
    """Do it and redirect to the session's page, which says `said`, or that the state changed."""
    try:
        act()
    except PreconditionFailed:
        return _moved_on(page, session_id)
    except TaskError as error:
        return _refused(page, session_id, error)
    return page.redirect(f"/sessions/{session_id}", said=said)


def _refused(page: Page, session_id: UUID, error: TaskError) -> Response:
    """Redirect to the session's page, which says why nothing was done: its state, or a lock."""
    if kind_of(error).status not in CONFLICTS and not isinstance(error, DatabaseBusy):
        raise error
    return page.redirect(
        f"/sessions/{session_id}", refused=f"Nothing was done: {error.message}. {error.next_step}"
    )


def _moved_on(page: Page, session_id: UUID) -> Response:
    return page.redirect(
        f"/sessions/{session_id}",
        refused="It changed meanwhile, so nothing was done. This is its current state.",
    )
