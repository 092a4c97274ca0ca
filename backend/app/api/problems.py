"""Every error as an RFC 9457 problem document, by one table from the error tree to statuses."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import psycopg
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException

from app.api.resources import SessionState
from app.core.errors import (
    ConfigurationError,
    ContentViolation,
    DatabaseBusy,
    DatabaseFailing,
    DatabaseUnavailable,
    DatabaseUnsuitable,
    DocumentError,
    ErrorCategory,
    IntakeRefused,
    KeyNotFound,
    SessionNotFound,
    StorageFull,
    TaskConflict,
    TaskError,
    TaskValidationError,
    WorkerNotFound,
)
from app.core.redaction import redact_text
from app.core.validation_text import problem_text
from app.presentation.failures import error_next_step
from app.repositories.idempotency_repository import IdempotencyKeyInFlight, IdempotencyKeyReused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastapi import FastAPI, Request

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:session-tasks:problem:"
RETRY_AFTER_SECONDS = 2


class NotAuthenticated(TaskError):  # noqa: N818 - reads as the state it names
    """The request has no valid key."""

    default_category = ErrorCategory.USER_FIXABLE


class NotAllowed(TaskError):  # noqa: N818 - reads as the state it names
    """The key is valid, but has no permission for this."""

    default_category = ErrorCategory.ADMIN_REQUIRED


class RequestInvalid(TaskError):  # noqa: N818 - reads as the state it names
    """The request cannot be understood; `errors` say where."""

    default_category = ErrorCategory.USER_FIXABLE

    def __init__(self, message: str, *, next_step: str = "", errors: Sequence[Any] = ()) -> None:
        super().__init__(message, next_step=next_step)
        self.errors = errors


class RequestMalformed(TaskError):  # noqa: N818 - reads as the state it names
    """The request violates the protocol, or needs one that is not supported."""

    default_category = ErrorCategory.USER_FIXABLE


class NotThere(TaskError):  # noqa: N818 - reads as the state it names
    """The session exists, but not this part of it."""

    default_category = ErrorCategory.USER_FIXABLE


class NotReady(TaskError):  # noqa: N818 - reads as the state it names
    """The resource does not exist yet; the problem has the session's state."""

    default_category = ErrorCategory.USER_FIXABLE


class PreconditionFailed(TaskError):  # noqa: N818 - reads as the state it names
    """If-Match names a run that is no longer the last one."""

    default_category = ErrorCategory.USER_FIXABLE


class BodyTooLarge(TaskError):  # noqa: N818 - reads as the state it names
    """The request's body is larger than a setting allows."""

    default_category = ErrorCategory.USER_FIXABLE


class BodyTooSlow(TaskError):  # noqa: N818 - reads as the state it names
    """The request's body did not arrive in time."""

    default_category = ErrorCategory.USER_FIXABLE


class TooManyRequests(TaskError):  # noqa: N818 - reads as the state it names
    """A limit per key or address is reached."""

    default_category = ErrorCategory.TEMPORARY


class Busy(TaskError):  # noqa: N818 - reads as the state it names
    """This process serves as many requests as it can."""

    default_category = ErrorCategory.TEMPORARY


class FieldError(BaseModel):
    """One thing that is wrong with the request."""

    where: str = Field(description="the part of the request", examples=["query.limit"])
    message: str


class Problem(BaseModel):
    """A problem document (RFC 9457), with who can fix it and what to do next."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": f"{TYPE_PREFIX}task-conflict",
                    "title": "Another task of the session is running",
                    "status": 409,
                    "detail": "Task processing is already running",
                    "category": "user_fixable",
                    "next_step": "Wait for it, or cancel it first.",
                    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
                }
            ]
        }
    )

    type: str = Field(description="a name for this kind of problem; compare it as a whole")
    title: str
    status: int
    detail: str
    category: ErrorCategory
    next_step: str
    trace_id: str = Field(
        description="quote it when you report the error; the logs have it as well"
    )
    errors: list[FieldError] | None = None
    current: SessionState | None = Field(None, description="how the session stands instead")


@dataclass(frozen=True, slots=True)
class Kind:
    """The response to one kind of error."""

    error: type[Exception]
    status: int
    slug: str
    title: str


KINDS = (
    Kind(RequestMalformed, 400, "request-malformed", "The request is malformed"),
    Kind(NotAuthenticated, 401, "not-authenticated", "A valid API key is needed"),
    Kind(NotAllowed, 403, "not-allowed", "This key may not do that"),
    Kind(SessionNotFound, 404, "session-not-found", "There is no such session"),
    Kind(KeyNotFound, 404, "key-not-found", "There is no such key"),
    Kind(WorkerNotFound, 404, "worker-not-found", "There is no such worker"),
    Kind(NotThere, 404, "not-there", "There is no such part of the session"),
    Kind(BodyTooSlow, 408, "body-too-slow", "The request did not arrive in time"),
    Kind(IdempotencyKeyInFlight, 409, "request-in-flight", "The first request is in flight"),
    Kind(IdempotencyKeyReused, 422, "key-reused", "The Idempotency-Key stands for another request"),
    Kind(TaskConflict, 409, "task-conflict", "Another task of the session is running"),
    Kind(NotReady, 409, "not-ready", "It does not exist yet"),
    Kind(TaskValidationError, 409, "illegal-transition", "The session's state does not allow it"),
    Kind(PreconditionFailed, 412, "precondition-failed", "The session has moved on"),
    Kind(BodyTooLarge, 413, "body-too-large", "The request is too large"),
    Kind(DocumentError, 422, "document-unusable", "A document cannot be used"),
    Kind(ContentViolation, 422, "content-violation", "Jira would refuse the content"),
    Kind(ConfigurationError, 422, "option-unusable", "An option cannot be used"),
    Kind(RequestInvalid, 422, "request-invalid", "The request cannot be understood"),
    Kind(TooManyRequests, 429, "too-many-requests", "Too many requests"),
    Kind(Busy, 503, "busy", "The server is busy"),
    Kind(StorageFull, 507, "storage-full", "A disk is full"),
    Kind(DatabaseFailing, 503, "database-unsuitable", "The database cannot be used as it is"),
    Kind(DatabaseBusy, 503, "database-busy", "The database did not do it in time"),
    Kind(DatabaseUnsuitable, 503, "database-unsuitable", "The database cannot be used as it is"),
    Kind(DatabaseUnavailable, 503, "database-unavailable", "The database cannot be reached"),
)
"""The one table; the first row whose class fits is used."""

_BY_CATEGORY = {
    ErrorCategory.USER_FIXABLE: Kind(TaskError, 409, "refused", "It was refused"),
    ErrorCategory.ADMIN_REQUIRED: Kind(TaskError, 403, "admin-required", "An operator is needed"),
    ErrorCategory.TEMPORARY: Kind(TaskError, 503, "temporary", "It will pass"),
}
_UNEXPECTED = Kind(Exception, 500, "unexpected", "Internal server error")


def kind_of(error: Exception) -> Kind:
    """Find the row of the table for this error; a temporary conflict is a 503: it will pass."""
    if isinstance(error, TaskConflict) and error.category is ErrorCategory.TEMPORARY:
        return _BY_CATEGORY[ErrorCategory.TEMPORARY]
    if isinstance(error, ConfigurationError) and error.category is not ErrorCategory.USER_FIXABLE:
        return _UNEXPECTED
    for kind in KINDS:
        if isinstance(error, kind.error):
            return kind
    return _BY_CATEGORY[error.category] if isinstance(error, TaskError) else _UNEXPECTED


def problem_response(
    error: Exception, trace_id: str, *, headers: Mapping[str, str] | None = None
) -> Response:
    """Return the problem response for the error; an unexpected one's has only the trace id."""
    kind = kind_of(error)
    answer_headers = dict(headers or {})
    if kind is _UNEXPECTED:
        problem = Problem(
            type=f"{TYPE_PREFIX}{kind.slug}",
            title=kind.title,
            status=kind.status,
            detail="The request could not be processed",
            category=ErrorCategory.ADMIN_REQUIRED,
            next_step="Tell an operator the trace id: the server's log has the cause under it.",
            trace_id=trace_id,
        )
    else:
        known = error if isinstance(error, TaskError) else TaskError(kind.title)
        problem = Problem(
            type=f"{TYPE_PREFIX}{kind.slug}",
            title=kind.title,
            status=kind.status,
            detail=redact_text(known.message),
            category=known.category,
            next_step=redact_text(error_next_step(known)),
            trace_id=trace_id,
            errors=_errors_of(known) or None,
            current=getattr(known, "current", None),
        )
    if kind.status == HTTPStatus.UNAUTHORIZED:
        answer_headers["WWW-Authenticate"] = 'Bearer realm="session-tasks"'
    if kind.status in {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS}:
        answer_headers.setdefault(
            "Retry-After", str(getattr(error, "retry_after_seconds", RETRY_AFTER_SECONDS))
        )
    return _answer(problem, answer_headers)


def _errors_of(error: TaskError) -> list[FieldError]:
    """Return the single problems of an error that has several."""
    if isinstance(error, IntakeRefused):
        return [
            FieldError(
                where=getattr(each, "name", "") or ", ".join(each.options) or "documents",
                message=redact_text(f"{each.message}. {error_next_step(each)}".strip()),
            )
            for each in error.problems
        ]
    return list(getattr(error, "errors", ()))


def add_problem_handlers(app: FastAPI) -> None:
    """Respond with a problem to every error that leaves a route."""
    app.add_exception_handler(TaskError, _on_task_error)
    app.add_exception_handler(DBAPIError, _on_database_error)
    app.add_exception_handler(psycopg.Error, _on_database_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_exception)


def trace_id_of(request: Request) -> str:
    """Return the id of this request in logs."""
    return str(request.scope.get("state", {}).get("trace_id", ""))


def _answer(problem: Problem, headers: Mapping[str, str]) -> Response:
    absent = {name for name in ("errors", "current") if getattr(problem, name) is None}
    return Response(
        problem.model_dump_json(exclude=absent),
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers={"Cache-Control": "no-store", **headers},
    )


async def _on_task_error(request: Request, error: Exception) -> Response:
    if kind_of(error).status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        logger.warning("Request failed: %s (trace %s)", error, trace_id_of(request))
    return problem_response(error, trace_id_of(request))


async def _on_database_error(request: Request, error: Exception) -> Response:
    """An error of the database without a better name in `translated_errors`."""
    logger.error("Request failed in the database (trace %s)", trace_id_of(request), exc_info=error)
    return problem_response(error, trace_id_of(request))


async def _on_invalid_request(request: Request, error: Exception) -> Response:
    found = error.errors() if isinstance(error, RequestValidationError) else []
    errors = [
        FieldError(
            # Both may repeat what was sent, and what was sent may be a key in the wrong place.
            where=redact_text(".".join(str(part) for part in item.get("loc", ())))[:200],
            message=redact_text(problem_text(item))[:300],
        )
        for item in found[:20]
    ]
    names = ", ".join(item.where for item in errors[:3])
    invalid = RequestInvalid(
        f"The request cannot be understood: {names}",
        next_step="Correct what `errors` names; docs/api.md and /openapi.json say how.",
        errors=errors,
    )
    return problem_response(invalid, trace_id_of(request))


async def _on_http_exception(request: Request, error: Exception) -> Response:
    """Starlette's own: no such route, wrong method, a form that cannot be parsed."""
    if isinstance(error.__cause__, TaskError):  # FastAPI calls whatever ends a body early a 400
        return problem_response(
            error.__cause__, trace_id_of(request), headers={"Connection": "close"}
        )
    status = getattr(error, "status_code", 500)
    title = HTTPStatus(status).phrase
    problem = Problem(
        type="about:blank",
        title=title,
        status=status,
        detail=redact_text(str(getattr(error, "detail", "") or title)),
        category=ErrorCategory.USER_FIXABLE
        if status < HTTPStatus.INTERNAL_SERVER_ERROR
        else ErrorCategory.ADMIN_REQUIRED,
        next_step="See docs/api.md and /openapi.json.",
        trace_id=trace_id_of(request),
    )
    return _answer(problem, getattr(error, "headers", None) or {})
