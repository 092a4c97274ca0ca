"""Validation errors as sentences: pydantic reports a type and its limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pydantic import ValidationError

_SENTENCES = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "date_parsing": "must be a date",
    "datetime_from_date_parsing": "must be a date and a time",
    "datetime_parsing": "must be a date and a time",
    "dict_type": "must be an object",
    "enum": "must be one of {expected}",
    "extra_forbidden": "is not known",
    "finite_number": "must be a finite number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be {ge} or more",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number of fewer digits",
    "int_type": "must be a whole number",
    "json_invalid": "must be JSON: {error}",
    "json_type": "must be JSON",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be {le} or less",
    "list_type": "must be a list",
    "literal_error": "must be one of {expected}",
    "missing": "is missing",
    "model_attributes_type": "must be an object",
    "model_type": "must be an object",
    "path_type": "must be a path",
    "string_pattern_mismatch": "must have the form {pattern}",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must have at least {min_length} characters",
    "string_type": "must be text",
    "string_unicode": "must be text in UTF-8",
    "too_long": "must have at most {max_length} entries",
    "too_short": "must have at least {min_length} entries",
    "tuple_type": "must be a list",
    "uuid_parsing": "must be an id: 32 hexadecimal digits",
    "uuid_type": "must be an id: 32 hexadecimal digits",
}
_SINGULAR = {
    ("string_too_short", 1): "must not be empty",
    ("too_short", 1): "must not be empty",
    ("string_too_long", 1): "must have at most 1 character",
    ("too_long", 1): "must have at most 1 entry",
}


def problem_text(problem: Mapping[str, Any]) -> str:
    """Return the problem of a value: `must be 1 or more`.

    `problem` is one of pydantic's `ValidationError.errors()`, its context included. What the
    program's own validators raise is returned unchanged.
    """
    kind, context = str(problem.get("type", "")), problem.get("ctx") or {}
    if kind in {"value_error", "assertion_error"}:
        return str(context.get("error") or problem.get("msg", "")).removesuffix(".")
    for limit in ("min_length", "max_length"):
        if (kind, context.get(limit)) in _SINGULAR:
            return _SINGULAR[kind, context[limit]]
    sentence = _SENTENCES.get(kind)
    shown = {key: f"{v:g}" if isinstance(v, float) else v for key, v in context.items()}
    return "cannot be used" if sentence is None else sentence.format_map(_Known(shown))


def problems_text(error: ValidationError, name: Callable[[str], str] = str) -> str:
    """Return all its problems in a line; `name` turns the path of a value into what it is called.

    The values themselves are left out: they may be secret.
    """
    return "; ".join(
        f"{name('.'.join(map(str, problem['loc'])))} {problem_text(problem)}"
        for problem in error.errors(include_url=False, include_input=False)
    )


class _Known(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return "…"
