"""The OpenAPI document as a judge: what it lets through, what it refuses."""

from __future__ import annotations

import json

import pytest

from tests.jira_stand_in.contract import (
    ContractViolation,
    check_request,
    check_response,
    find_operation,
    load_document,
)


def request(method: str, path: str, body: object = None, *query: tuple[str, str]) -> object:
    operation = find_operation(method, path)
    assert operation is not None
    content = b"" if body is None else json.dumps(body).encode()
    return check_request(operation, list(query), "application/json", content)


def test_fixed_paths_win_over_templates() -> None:
    bulk = find_operation("POST", "/rest/api/3/issue/bulk")
    one = find_operation("GET", "/rest/api/3/issue/SHOP-1")
    assert bulk is not None
    assert one is not None
    assert (bulk.id, one.id, one.arguments) == (
        "createIssues", "getIssue", {"issueIdOrKey": "SHOP-1"},
    )  # fmt: skip


def test_paths_and_methods_outside_the_document_are_not_found() -> None:
    assert find_operation("POST", "/rest/api/3/issue/SHOP-1") is None
    assert find_operation("GET", "/rest/api/2/issue/SHOP-1") is None


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/rest/api/3/issue/bulk", {"issueUpdates": {}}),
        ("POST", "/rest/api/3/issue/bulk", {"issueUpdates": [{"properties": [{"keys": "a"}]}]}),
        ("POST", "/rest/api/3/issue/bulk", None),
        ("POST", "/rest/api/3/issue/bulkfetch", {"fields": ["summary"]}),
        ("POST", "/rest/api/3/search/jql", {"jql": "project = A", "max": 5}),
        ("GET", "/rest/api/3/myself", {"a": 1}),
    ],
)
def test_bodies_that_the_document_does_not_describe_are_refused(
    method: str, path: str, body: object
) -> None:
    with pytest.raises(ContractViolation):
        request(method, path, body)


@pytest.mark.parametrize(
    "query", [("maxResults", "201"), ("maxResults", "many"), ("pageSize", "5")]
)
def test_query_parameters_are_held_to_name_type_and_maximum(query: tuple[str, str]) -> None:
    with pytest.raises(ContractViolation):
        request("GET", "/rest/api/3/issue/createmeta/SHOP/issuetypes", None, query)


def test_other_media_types_are_refused() -> None:
    operation = find_operation("POST", "/rest/api/3/issue/bulk")
    assert operation is not None
    with pytest.raises(ContractViolation, match="text/plain"):
        check_request(operation, [], "text/plain", b'{"issueUpdates": []}')


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (201, {"issues": [{"id": 10_000}], "errors": []}),
        (201, {"issues": [], "errors": [], "more": 1}),
        (400, {"errorMessages": ["too many"], "errors": {}}),
        (200, {"issues": [], "errors": []}),
        (404, {}),
    ],
)
def test_responses_that_the_document_does_not_describe_are_refused(
    status: int, body: object
) -> None:
    operation = find_operation("POST", "/rest/api/3/issue/bulk")
    assert operation is not None
    with pytest.raises(ContractViolation):
        check_response(operation, status, "application/json", json.dumps(body).encode())


def test_read_only_properties_are_refused_in_requests_only() -> None:
    operation = find_operation("PUT", "/rest/api/3/issue/SHOP-1")
    assert operation is not None
    body = {"transition": {"id": "5", "isGlobal": True}}
    with pytest.raises(ContractViolation, match="isGlobal"):
        check_request(operation, [], "application/json", json.dumps(body).encode())


EXAMPLES_THAT_CONTRADICT_THE_DOCUMENT = {
    ("getCreateIssueMetaIssueTypeId", "200"),  # fields without their `schema`
    ("bulkFetchIssues", "200"),  # `expand`
    ("findAssignableUsers", "200"),  # an object in place of the list
    ("getServerInfo", "200"),  # `defaultLocale`
    ("createCustomField", "201"),  # `untranslatedName`
    ("getProjectVersions", "200"),  # a number for `releaseDate`
    ("addAttachment", "200"),  # a number for `created`
}
"""Atlassian's own examples are not all of one mind with its schemas: a client must bear more."""


def test_the_documents_own_examples_are_accepted_but_for_known_contradictions() -> None:
    refused = set()
    for path, operations in load_document()["paths"].items():
        for method, definition in operations.items():
            operation = find_operation(method.upper(), path)
            assert operation is not None
            for status, response in definition["responses"].items():
                content = (response.get("content") or {}).get("application/json", {})
                if not isinstance(content.get("example"), str):
                    continue
                try:
                    check_response(
                        operation, int(status), "application/json", content["example"].encode()
                    )
                except ContractViolation:
                    refused.add((operation.id, status))
    assert refused == EXAMPLES_THAT_CONTRADICT_THE_DOCUMENT
