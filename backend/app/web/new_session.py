"""The page that opens a session from documents, and leads to the session's page.

It is a plain multipart form to the API's own code; a script adds the progress of the upload, and
checks the limits before the upload.
"""

from __future__ import annotations

import itertools
import json
import secrets
from typing import TYPE_CHECKING, Any
from uuid import UUID

from anyio import from_thread
from fastapi import APIRouter, Request, Response
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from app.api import sessions, tasks
from app.api.application import MOST_FORM_FIELDS
from app.api.previews import make_preview
from app.api.problems import Busy, kind_of
from app.api.services import Caller, ServicesOf, known_of, require_act
from app.api.uploads import NewSession
from app.core.errors import IntakeRefused, TaskError, TaskValidationError
from app.core.validation_text import problem_text
from app.core.wording import names_text
from app.presentation.failures import error_next_step
from app.presentation.previews import with_option_names
from app.tasks.documents.decoding import SUFFIXES
from app.tasks.jira_import import offered_key
from app.values.options import SessionOptions
from app.web.column_choices import columns_of
from app.web.page import Page, PageOf
from app.web.retry_form import CHOICES, offered_label, option_label, target_choices

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AbstractAsyncContextManager

    from app.api.services import Services
    from app.core.config import Settings
    from app.repositories.access_repository import Principal
    from app.tasks.preview import Preview

router = APIRouter(include_in_schema=False)

PATH = "/new"
PREVIEW_PATH = "/new/preview"
UNUSABLE = 422
BUSY = 503
TEXT_FIELDS = (
    "label", "to", "project_key", "issue_type", "split_level", "title_column", "body_column",
    "delimiter", "parent_type", "day_first",
    "body_format", "sheet", "base_url", "too_long",
)  # fmt: skip
PROBLEM_FIELDS = (*TEXT_FIELDS, "map")
RULES = ("map", "more_rules")
SWITCHES = ("auto_advance", "start")


@router.get(PATH)
async def new_session_page(request: Request) -> Response:
    """Return the empty form; viewers are refused."""
    services, caller = known_of(request)
    require_act(caller)
    return _form(Page(request), services.settings)


@router.post(PATH)
async def open_session(
    request: Request, caller: Caller, services: ServicesOf, page: PageOf
) -> Response:
    """Open the session, start it if asked to, and redirect to its page.

    Problems are shown beside their fields. The form's own token makes a second click on the
    button, or a reload, lead to the same session.
    """
    return await _with_form(
        request,
        services,
        page,
        services.uploads.turn(caller.key_id),
        lambda given, documents: _open(page, services, caller, given, documents),
    )


@router.post(PREVIEW_PATH)
async def preview_session(
    request: Request, caller: Caller, services: ServicesOf, page: PageOf
) -> Response:
    """Show a preview of the tickets above the form; nothing is stored."""
    return await _with_form(
        request,
        services,
        page,
        services.previews.turn(caller.key_id),
        lambda given, documents: _preview(page, services, given, documents),
    )


async def _with_form(
    request: Request,
    services: Services,
    page: Page,
    turn: AbstractAsyncContextManager[None],
    act: Callable[[dict[str, str], list[UploadFile]], Response],
) -> Response:
    """Read the form and act on it; for an invalid form, or too many parts, say so."""
    most = services.settings.max_documents
    try:
        async with request.form(max_files=most, max_fields=MOST_FORM_FIELDS) as form:
            fields = (*TEXT_FIELDS, *SWITCHES, "token")
            given = {
                name: value
                for name, value in form.items()
                if name in fields and isinstance(value, str)
            }
            documents = [
                upload
                for upload in form.getlist("documents")
                if isinstance(upload, UploadFile) and upload.filename
            ]
            rules = [
                str(rules).splitlines() for name in RULES for rules in form.getlist(name)
            ]  # rules for single columns first
            given["map"] = "\n".join(dict.fromkeys(filter(None, itertools.chain(*rules))))
            async with turn:
                return await run_in_threadpool(act, given, documents)
    except HTTPException as error:  # starlette's, for an invalid form, or one of too many parts
        problems = {"documents": f"{error.detail} A session takes {most:,} documents."}
        return _form(page, services.settings, problems=problems)


def field_problems(error: ValidationError) -> dict[str, str]:
    """Return the first problem of each field."""
    problems: dict[str, str] = {}
    for problem in error.errors(include_url=False, include_input=False):
        field = str(problem["loc"][0]) if problem["loc"] else "documents"
        text = problem_text(problem)
        problems.setdefault(field, text[:1].upper() + text[1:])
    return problems


def _new_session(given: Mapping[str, str], documents: list[UploadFile]) -> NewSession:
    """Return the form as a new session.

    Raises:
        ValidationError: a field is invalid.

    """
    wanted: dict[str, Any] = {
        name: given[name].strip() for name in TEXT_FIELDS if given.get(name, "").strip()
    }
    wanted["map"] = given.get("map", "").splitlines()
    wanted |= {"auto_advance": "auto_advance" in given, "documents": documents}
    wanted.setdefault("label", names_text([upload.filename or "" for upload in documents])[:200])
    return NewSession.model_validate(wanted)


def _form_problems(error: ValidationError, documents: list[UploadFile]) -> dict[str, str]:
    problems = field_problems(error)
    return problems if documents else problems | {"documents": "Choose at least one document."}


def _preview(
    page: Page, services: Services, given: Mapping[str, str], documents: list[UploadFile]
) -> Response:
    try:
        made = make_preview(_new_session(given, documents), services)
    except ValidationError as error:
        return _form(page, services.settings, given, _form_problems(error, documents))
    except TaskError as error:
        return _refused(page, services, given, error)
    made = with_option_names(made, offered_label(services.settings))
    refused = {
        name: " ".join(f"{each.message.removesuffix('.')}. {each.next_step}" for each in of_field)
        for name in PROBLEM_FIELDS
        if (of_field := [each for each in made.problems if name in each.options])
    }
    given = with_offered_key(given, refused)
    return _form(page, services.settings, given, refused, 200, preview=made)


def _open(
    page: Page,
    services: Services,
    caller: Principal,
    given: Mapping[str, str],
    documents: list[UploadFile],
) -> Response:
    try:
        form = _new_session(given, documents)
    except ValidationError as error:
        return _form(page, services.settings, given, _form_problems(error, documents))
    try:
        token = given.get("token") or None
        answer = sessions.store_session(form, caller, services, token)
        session_id = UUID(json.loads(bytes(answer.body))["id"])
        said = _start(caller, services, session_id) if "start" in given else "Session opened."
    except TaskError as error:
        return _refused(page, services, given, error)
    return page.redirect(f"/sessions/{session_id}", said=said)


def _refused(
    page: Page, services: Services, given: Mapping[str, str], error: TaskError
) -> Response:
    """Return the form with the problems beside its fields.

    Raises:
        TaskError: this error, if no field can correct it.

    """
    if kind_of(error).status not in {UNUSABLE, BUSY}:
        raise error
    status = BUSY if isinstance(error, Busy) else UNUSABLE
    problems = refused_fields(error, PROBLEM_FIELDS)
    return _form(page, services.settings, with_offered_key(given, problems), problems, status)


def with_offered_key(given: Mapping[str, str], problems: dict[str, str]) -> Mapping[str, str]:
    """Return the form with `SHOP` for a refused `shop`, and say so beside the field."""
    offered = offered_key(given.get("project_key", ""))
    if not offered or "project_key" not in problems:
        return given
    problems["project_key"] += " It is filled in."
    return {**given, "project_key": offered}


def refused_fields(error: TaskError, names: Iterable[str]) -> dict[str, str]:
    """Return the problems by field; those of none of these fields are shown by the files."""
    fields = frozenset(names)
    found: dict[str, list[str]] = {}
    for each in error.problems if isinstance(error, IntakeRefused) else (error,):
        field = next((name for name in each.options if name in fields), "documents")
        said = f"{each.message.removesuffix('.')}. {error_next_step(each, option_label)}"
        found.setdefault(field, []).append(said.strip())
    return {field: " ".join(said) for field, said in found.items()}


def _start(caller: Principal, services: Services, session_id: UUID) -> str:
    """Start processing, unless the form was sent twice and it is running already."""
    try:
        from_thread.run(tasks.start, services, caller, session_id)
    except TaskValidationError:
        return "This session was opened before."
    return "Session opened, and processing started."


def _form(  # noqa: PLR0913, PLR0917 - all that the page shows
    page: Page,
    settings: Settings,
    given: Mapping[str, str] | None = None,
    problems: Mapping[str, str] | None = None,
    status_code: int = UNUSABLE,
    preview: Preview | None = None,
) -> Response:
    defaults = SessionOptions()
    given = given if given is not None else {"auto_advance": "on", "start": "on"}
    columns = columns_of(preview, given.get("map", "").splitlines()) if preview else None
    return page.render(
        "new_session.html",
        status_code=status_code if problems else 200,
        given=given,
        rules=columns.other_rules if columns else given.get("map", ""),
        problems=problems or {},
        token=given.get("token") or secrets.token_urlsafe(18),
        suffixes=SUFFIXES,
        choices=CHOICES | {"to": target_choices(settings)},
        settings=settings,
        defaults=defaults,
        preview=preview,
        columns=columns,
    )
