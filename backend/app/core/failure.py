"""Failure contexts: what a failed task keeps about its failure, safe to store whatever it is.

`failure_context` makes one from an exception, `sanitize_context` from a mapping of the caller's
own, and both answer with a JSON object that has at least these keys, each a string::

    error       the exception's class, or the caller's name for the failure
    message     what happened
    category    who can fix it: a value of ErrorCategory
    next_step   what the exception itself says to do next, or empty
    traceback   may be empty
    worker      the id of the process that ran the task, or empty

and `options`, a list: names of the session options that `next_step` asks for. What else is next
follows from category and attempts; `app.presentation.failures` says it, where it is shown.

The order of the work is the guarantee: made safe (`app.core.json_safety`), then redacted, then
cut, so that no cut can hide the beginning of a secret from the redaction. The result has at most
`CONTEXT_BYTES - RESERVED_BYTES` of UTF-8 JSON without `earlier` and `attempt`, for which the
rest is reserved: a whole context never exceeds 16 KiB. Nothing here raises for any exception or
value: a state change must not fail because of what its context holds.
"""

from __future__ import annotations

import errno
import json
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, cast

from app.core.errors import ErrorCategory
from app.core.exception_text import (
    exception_attribute,
    exception_message,
    exception_traceback,
    group_members,
)
from app.core.json_safety import (
    JsonValue,
    ask,
    class_name,
    cut_end,
    cut_middle,
    cut_to_fit,
    json_bytes,
    json_safe,
    json_safe_items,
    type_name,
)
from app.core.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

CONTEXT_BYTES: Final = 16 * 1024
"""The most a stored context takes, as UTF-8 JSON."""

RESERVED_BYTES: Final = 2_560
"""How much of it is kept free for `earlier` (two briefs) and `attempt`."""

BRIEF_BYTES: Final = 1_200
"""The most one entry of `earlier` takes."""

BRIEF_ERROR_BYTES: Final = 160
BRIEF_MESSAGE_CHARACTERS: Final = 300
BRIEF_MESSAGE_BYTES: Final = 800
MAX_EARLIER: Final = 2
"""How many earlier failures a context keeps in brief."""

_OWN_KEYS: Final = ("error", "message", "category", "next_step", "traceback", "worker")
ADDED_KEYS: Final = ("earlier", "attempt", "failed_at")
"""What a transition adds to the context of a failure."""

_ERROR_BYTES: Final = 300
_WORKER_BYTES: Final = 300
_MESSAGE_BYTES: Final = 3_500
_NEXT_STEP_BYTES: Final = 1_000
_EXTRA_BYTES: Final = 4_000
_MAX_OPTIONS: Final = 20
_MAX_OPTION_CHARACTERS: Final = 40
_MAX_PAIRS: Final = 10_000


def failure_context(  # noqa: PLR0913 - one keyword for each thing a caller may know better
    error: BaseException | None,
    *,
    category: ErrorCategory | str | None = None,
    worker: str = "",
    extra: Mapping[str, Any] | None = None,
    message: str | None = None,
    error_name: str | None = None,
) -> dict[str, Any]:
    """Return what a failed task stores about `error`, ready for `mark_failed`.

    What is given by keyword stands before what the exception says; `extra` adds keys, and cannot
    replace the six of every context. Without an exception, give `error_name` and `message`.
    """
    context: dict[str, Any] = {
        "error": error_name,
        "message": message,
        "category": category,
        "worker": worker,
    }
    if error is not None:
        context["error"] = error_name or type_name(error)
        context["message"] = message or exception_message(error)
        context["category"] = _valid_category(category) or category_of(error)
        next_step = exception_attribute(error, "next_step")
        context["next_step"] = next_step if type(next_step) is str else None
        context["options"] = exception_attribute(error, "options")
        context["traceback"] = ask(lambda: exception_traceback(error), "")
    return _context_of(context, _pairs_of(extra))


def sanitize_context(context: Mapping[str, Any]) -> dict[str, Any]:
    """Return the caller's own context, made safe, redacted and cut, with the missing keys filled.

    An `earlier` list stays, as the last two of its entries in brief; so does `attempt`.
    """
    pairs = _pairs_of(context)
    return _context_of(_picked(pairs, (*_OWN_KEYS, "options")), pairs)


def brief_of(context: Mapping[str, Any]) -> dict[str, Any]:
    """Return a context in brief, for the `earlier` of the next failure: at most `BRIEF_BYTES`.

    It has `error`, `message` (at most 300 characters) and `category`, and where the context has
    them `attempt` and `failed_at`.
    """
    known = _picked(_pairs_of(context), ("error", "message", "category", *ADDED_KEYS))
    safe = _safe_and_redacted(_without(known, "earlier").items())
    message = _message_of(safe)
    if len(message) > BRIEF_MESSAGE_CHARACTERS:
        message = message[: BRIEF_MESSAGE_CHARACTERS - 1] + "…"
    brief: dict[str, Any] = {
        "error": cut_end(_text_of(safe.get("error")) or "Failure", BRIEF_ERROR_BYTES),
        "message": cut_end(message, BRIEF_MESSAGE_BYTES),
        "category": _category_or_default(safe.get("category")).value,
    }
    for key in ("attempt", "failed_at"):
        if safe.get(key) is not None:
            brief[key] = cut_to_fit(safe[key], 64)
    return brief


def category_of(error: BaseException) -> ErrorCategory:
    """Return who can fix what this exception is about.

    An exception says so itself by an attribute `category` (ours do; a team's own may). Of others,
    lost connections, timeouts and locked databases pass without help: `temporary`. Everything
    unknown is `admin_required`: a bug in a handler would fail again at each automatic retry, and
    the person who started the task can do nothing about it, but an operator has to see
    it. The same holds for memory, disks and wrong credentials.
    """
    return _category_of(error, depth=0)


_TEMPORARY_ERRORS: Final = (ConnectionError, TimeoutError, InterruptedError, BlockingIOError)
_TEMPORARY_CODES: Final = frozenset(
    {errno.EAGAIN, errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH}
)
# Recognized by name, so that no driver or client must be installed: errors of SQLAlchemy, psycopg,
# redis-py, kombu, httpx and requests.
_TEMPORARY_NAMES: Final = frozenset(
    {
        "OperationalError",
        "ConnectionError",
        "TimeoutError",
        "NetworkError",
        "TimeoutException",
        "Timeout",
    }
)
# PostgreSQL, appendix A: operational errors that no waiting cures, by the class of their code.
# 28 authorization, 3D no such database, 53100 disk full, 53200 out of memory, 58 system error.
_LASTING_STATES: Final = ("28", "3D", "53100", "53200", "58")
_MOST_URGENT: Final = (
    ErrorCategory.ADMIN_REQUIRED,
    ErrorCategory.USER_FIXABLE,
    ErrorCategory.TEMPORARY,
)


def _category_of(error: BaseException, depth: int) -> ErrorCategory:
    own = _valid_category(exception_attribute(error, "category"))
    if own is not None:
        return own
    members = group_members(error)[:20] if depth < 5 else ()  # noqa: PLR2004 - enough to judge by
    if members:
        found = {_category_of(member, depth + 1) for member in members}
        return next(category for category in _MOST_URGENT if category in found)
    return ErrorCategory.TEMPORARY if _is_temporary(error) else ErrorCategory.ADMIN_REQUIRED


def _is_temporary(error: BaseException) -> bool:
    kind = type(error)
    code = exception_attribute(error, "errno")
    if issubclass(kind, OSError) and type(code) is int and code in _TEMPORARY_CODES:
        return True
    names = {class_name(base) for base in type.__dict__["__mro__"].__get__(kind)}
    if not issubclass(kind, _TEMPORARY_ERRORS) and not names & _TEMPORARY_NAMES:
        return False
    return not _sql_state(error).startswith(_LASTING_STATES)


def _sql_state(error: BaseException) -> str:
    """Return PostgreSQL's code for the error, also of one that SQLAlchemy wrapped; or nothing."""
    original = exception_attribute(error, "orig")
    source = original if issubclass(type(original), BaseException) else error
    state = exception_attribute(source, "sqlstate")
    return state if type(state) is str else ""


def _valid_category(value: object) -> ErrorCategory | None:
    if type(value) is ErrorCategory:
        return value
    if type(value) is not str:
        return None
    return next((category for category in ErrorCategory if category.value == value), None)


def _category_or_default(value: object) -> ErrorCategory:
    return _valid_category(value) or ErrorCategory.ADMIN_REQUIRED


# -------------------------------------------------------------------------- from parts to a whole


def _context_of(own: Mapping[str, Any], others: list[tuple[Any, Any]]) -> dict[str, Any]:
    """Return the whole context: safe, redacted, then cut."""
    extra = _cut_extra(
        _safe_and_redacted((key, value) for key, value in others if not _is_known(key))
    )
    category = _category_or_default(own.get("category"))
    safe = _safe_and_redacted(own.items())
    context: dict[str, Any] = {
        "error": cut_end(_text_of(safe.get("error")) or "Failure", _ERROR_BYTES),
        "message": cut_end(_message_of(safe), _MESSAGE_BYTES),
        "category": category.value,
        "next_step": cut_end(_text_of(safe.get("next_step")), _NEXT_STEP_BYTES),
        "options": _option_names(own.get("options")) or extra.pop("options", []),
        "traceback": "",
        "worker": cut_end(_text_of(safe.get("worker")), _WORKER_BYTES),
        **_added(_picked(others, ADDED_KEYS)),
    }
    for key, value in extra.items():
        context.setdefault(key, value)
    room = CONTEXT_BYTES - RESERVED_BYTES - json_bytes(_without(context, "earlier", "attempt"))
    context["traceback"] = cut_middle(_text_of(safe.get("traceback")), room)
    return context


def _option_names(value: object) -> list[str]:
    """Return the names of options; of what is no list of names, none."""
    names = list(value) if type(value) in {list, tuple} else []  # type: ignore[call-overload]
    return names[:_MAX_OPTIONS] if all(map(_is_option_name, names)) else []


def _is_option_name(value: object) -> bool:
    return type(value) is str and value.isidentifier() and len(value) <= _MAX_OPTION_CHARACTERS


def _cut_extra(extra: dict[str, JsonValue]) -> dict[str, JsonValue]:
    cut = cut_to_fit(extra, _EXTRA_BYTES)
    return cut if isinstance(cut, dict) else {}


def _added(known: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the repository adds to a context and a later failure must not lose."""
    added: dict[str, Any] = {}
    attempt = known.get("attempt")
    if type(attempt) is int:
        added["attempt"] = json_safe(attempt)
    if known.get("failed_at") is not None:
        added["failed_at"] = cut_to_fit(json_safe(known["failed_at"]), 64)
    earlier = known.get("earlier")
    if issubclass(type(earlier), (list, tuple)):
        entries = cast("list[Any]", earlier)
        last: list[Any] = ask(lambda: list(entries)[-MAX_EARLIER:], [])
        added["earlier"] = [brief_of(entry) for entry in last if _pairs_of(entry)]
    return added


def _message_of(safe: Mapping[str, JsonValue]) -> str:
    """Return the message, or what stands for it in a caller's own context."""
    said = _text_of(safe.get("message")) or _text_of(safe.get("error"))
    return said or "The task failed and gave no reason."


def _text_of(value: JsonValue) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _safe_and_redacted(pairs: Iterable[tuple[object, object]]) -> dict[str, JsonValue]:
    redacted = redact(json_safe_items(pairs))
    return redacted if isinstance(redacted, dict) else {}


def _pairs_of(context: object) -> list[tuple[Any, Any]]:
    """Return the pairs of a mapping that may be hostile; of anything else, none."""
    if issubclass(type(context), dict):
        return list(dict.items(cast("dict[Any, Any]", context)))  # not the `items` of a subclass
    pairs: list[Any] = ask(lambda: list(islice(context.items(), _MAX_PAIRS)), [])  # type: ignore[attr-defined]
    return [pair for pair in pairs if type(pair) is tuple and len(pair) == 2]  # noqa: PLR2004


def _picked(pairs: list[tuple[Any, Any]], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in pairs if type(key) is str and key in keys}


def _without(context: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in context.items() if key not in keys}


def _is_known(key: object) -> bool:
    return type(key) is str and key in _OWN_KEYS + ADDED_KEYS
