"""Atlassian's OpenAPI document as a judge of requests and responses.

The document is OpenAPI 3.0, whose schemas are JSON Schema draft 4 with a few words of its own:
`nullable`, and `readOnly` and `writeOnly`, which make a property illegal in requests or in
responses. Those are rewritten to draft 4; nothing else is. `format` is not checked: Jira itself
writes timestamps (`2026-01-17T12:34:00.000+0000`) that are no RFC 3339 `date-time`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import jsonschema_rs

DOCUMENT = Path(__file__).parents[1] / "data" / "jira" / "jira-cloud-rest-v3-subset.json"

EVERYWHERE = frozenset((429, 500, 502, 503, 504))
"""Statuses that any operation may have, though Atlassian's document lists them for few."""


class ContractViolation(Exception):  # noqa: N818 - what the contract finds
    """A request or a response that Atlassian's document does not allow."""


@dataclass(frozen=True)
class Operation:
    """An operation of the document, matched by a request."""

    id: str
    method: str
    path: str
    arguments: dict[str, str]
    definition: dict[str, Any]


@cache
def load_document() -> dict[str, Any]:
    """Return the document; shared, so read it only."""
    document: dict[str, Any] = json.loads(DOCUMENT.read_text(encoding="utf-8"))
    return document


def find_operation(method: str, path: str) -> Operation | None:
    """Return the operation that serves this path, or None; fixed paths win over templates."""
    for template, pattern in _patterns():
        match = pattern.fullmatch(path)
        definition = load_document()["paths"][template].get(method.lower()) if match else None
        if match and definition:
            arguments = {name: unquote(value) for name, value in match.groupdict().items()}
            return Operation(definition["operationId"], method, template, arguments, definition)
    return None


def check_request(
    operation: Operation, query: list[tuple[str, str]], content_type: str, body: bytes
) -> Any:
    """Return the body, parsed; None where there is none.

    Raises:
        ContractViolation: the request is not what the document describes.

    """
    _check_query(operation, query)
    expected = operation.definition.get("requestBody")
    if expected is None:
        if body:
            raise ContractViolation(f"{operation.id} takes no body")
        return None
    if not body:
        if expected.get("required"):
            raise ContractViolation(f"{operation.id} needs a body")
        return None
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type not in expected["content"]:
        raise ContractViolation(f"{operation.id} does not take {content_type or 'no media type'}")
    value = _parse(body, f"the body of {operation.id}")
    _check(value, expected["content"][media_type].get("schema", {}), "request", operation.id)
    return value


def check_response(operation: Operation, status: int, content_type: str, body: bytes) -> None:
    """Return if the document allows this response.

    Raises:
        ContractViolation: it does not.

    """
    described = operation.definition["responses"].get(str(status))
    if described is None:
        if status in EVERYWHERE:
            return
        raise ContractViolation(f"{operation.id} does not respond with {status}")
    content = described.get("content") or {}
    schema = content.get("application/json", {}).get("schema")
    if schema is None:
        return
    if content_type.partition(";")[0] != "application/json":
        raise ContractViolation(f"{operation.id} {status} is JSON, not {content_type!r}")
    _check(_parse(body, operation.id), schema, "response", f"{operation.id} {status}")


@cache
def _patterns() -> list[tuple[str, re.Pattern[str]]]:
    templates = sorted(load_document()["paths"], key=lambda path: path.count("{"))
    return [(path, re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path))) for path in templates]


def _check_query(operation: Operation, query: list[tuple[str, str]]) -> None:
    known = {
        parameter["name"]: parameter
        for parameter in operation.definition.get("parameters", ())
        if parameter["in"] == "query"
    }
    for name, value in query:
        if name not in known:
            raise ContractViolation(f"{operation.id} has no query parameter {name!r}")
        if not _fits(value, known[name]["schema"]):
            raise ContractViolation(f"{operation.id}: {name}={value!r} is not what it takes")
    missing = [
        name
        for name, parameter in known.items()
        if parameter.get("required") and name not in dict(query)
    ]
    if missing:
        raise ContractViolation(f"{operation.id} needs {', '.join(missing)}")


def _fits(value: str, schema: dict[str, Any]) -> bool:
    if schema.get("type") == "array":
        return all(_fits(part, schema.get("items", {})) for part in value.split(","))
    if schema.get("type") == "integer":
        if re.fullmatch(r"-?\d+", value) is None:
            return False
        number = int(value)
        return bool(schema.get("minimum", number) <= number <= schema.get("maximum", number))
    if schema.get("type") == "boolean":
        return value in {"true", "false"}
    return value in schema.get("enum", [value]) and len(value) <= schema.get("maxLength", 65_536)


def _parse(body: bytes, what: str) -> Any:
    try:
        return json.loads(body)
    except ValueError as error:
        raise ContractViolation(f"{what} is no JSON: {error}") from error


def _check(value: Any, schema: dict[str, Any], direction: str, what: str) -> None:
    for error in _validator(json.dumps(schema), direction).iter_errors(value):
        where = "/".join(map(str, error.instance_path))
        raise ContractViolation(f"{what} at /{where}: {error.message[:500]}")


@cache
def _validator(schema: str, direction: str) -> jsonschema_rs.Draft4Validator:
    components = {"schemas": _draft4(load_document()["components"]["schemas"], direction)}
    whole = {"allOf": [_draft4(json.loads(schema), direction)], "components": components}
    return jsonschema_rs.Draft4Validator(whole, validate_formats=False)


def _draft4(schema: Any, direction: str) -> Any:
    if isinstance(schema, list):
        return [_draft4(item, direction) for item in schema]
    if not isinstance(schema, dict):
        return schema
    banned = "readOnly" if direction == "request" else "writeOnly"
    rewritten: dict[str, Any] = {}
    for name, value in schema.items():
        if name == "properties":
            rewritten[name] = {
                key: {"not": {}} if member.get(banned) is True else _draft4(member, direction)
                for key, member in value.items()
            }
        elif name not in {"example", "description", "xml"}:
            rewritten[name] = _draft4(value, direction)
    if schema.get("nullable") is True and "type" in schema:
        rewritten["type"] = [schema["type"], "null"]
    return rewritten
