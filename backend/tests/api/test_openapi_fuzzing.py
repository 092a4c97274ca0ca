"""Whatever the OpenAPI document allows, and what it does not: never a 5xx, never another shape."""

from __future__ import annotations

import json
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from app.api.document import openapi_text
from app.api.request_guard import OPEN_PATHS
from app.models.access import KeyRole

DOCUMENT = json.loads(openapi_text())
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
OPERATIONS = [
    (method.upper(), path)
    for path, operations in DOCUMENT["paths"].items()
    for method in operations
    if not path.endswith("/events")  # they do not end; their own tests watch them
]
EXAMPLES = 12
STATEFUL_RUNS = 10


def checks_of(path: str) -> list[Any]:
    """No worker is alive here, which `/readyz` says by 503, as documented."""
    return [check for check in CHECKS if path != "/readyz" or check is not not_a_server_error]


@pytest.mark.parametrize("has_key", [True, False], ids=["with a key", "without"])
@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=lambda value: value)
def test_operation_answers_as_documented(
    api: Any, open_session: Any, method: str, path: str, has_key: bool
) -> None:
    key = api.key(role=KeyRole.ADMIN)
    headers = {"Authorization": f"Bearer {key}"} if has_key else {}
    session_id = open_session(api.client(key)).rsplit("/", 1)[1]
    schema = schemathesis.openapi.from_dict(DOCUMENT)
    operation = schema[path][method]

    def call(case: Any) -> None:
        parameters = case.path_parameters or {}
        if "session_id" in parameters and hash(str(parameters)) % 2:
            parameters["session_id"] = session_id  # one that there is, half of the time
        response = case.call(base_url=api.url, headers=headers)
        if not has_key and path.startswith("/api"):
            assert response.status_code == 401
        case.validate_response(response, checks=checks_of(path))

    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
        run = settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )(given(case=operation.as_strategy(generation_mode=mode))(call))
        try:
            run()
        except Unsatisfiable:
            if mode is GenerationMode.POSITIVE:
                raise
            # There is nothing about this operation that a request could get wrong.


@pytest.mark.parametrize("has_key", [True, False], ids=["with a key", "without"])
def test_operations_one_after_the_other_answer_as_documented(
    make_server: Any, open_session: Any, has_key: bool
) -> None:
    """Sequences over the whole document, each on a session of its own, in whatever order."""
    api = make_server(refusals_per_minute=1_000_000)
    key = api.key(role=KeyRole.ADMIN)
    own_id = key.removeprefix("st_").partition(".")[0]
    client = api.client(key)
    headers = {"Authorization": f"Bearer {key}"} if has_key else {}
    schema = schemathesis.openapi.from_dict(DOCUMENT)
    strategies = [
        schema[path][method].as_strategy()
        for method, path in OPERATIONS
        for _ in range(3 if "/task" in path else 1)  # these are what changes a session's state
    ]
    statuses: dict[str, set[int]] = {}

    @given(st.data())
    def follow(data: st.DataObject) -> None:
        session_id = open_session(client).rsplit("/", 1)[1]
        for strategy in data.draw(st.permutations(strategies)):
            case = data.draw(strategy)
            parameters = case.path_parameters or {}
            if "session_id" in parameters:
                parameters["session_id"] = session_id
            if parameters.get("key_id") == own_id:
                continue  # else it locks itself out
            response = case.call(base_url=api.url, headers=headers)
            statuses.setdefault(case.operation.label, set()).add(response.status_code)
            if not has_key and case.operation.path not in OPEN_PATHS:
                assert response.status_code == 401
            case.validate_response(response, checks=checks_of(case.operation.path))

    settings(
        max_examples=STATEFUL_RUNS,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )(follow)()
    assert len(statuses) == len(OPERATIONS), statuses
    if has_key:  # the sequences got somewhere: what succeeded at first was refused later
        assert {202, 409} <= statuses["POST /api/v1/sessions/{session_id}/task"]
