"""Atlassian's schema and our locator on corrupted documents: both must agree.

One file of more than 450 lines: the corruptions are used by all its tests.
"""

from __future__ import annotations

import copy
import hashlib
import json
import time
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.tasks.adf import locator
from app.tasks.adf.atlassian_schema import SCHEMA_FILE, load_schema
from app.tasks.adf.locator import UNDERSTOOD_KEYWORDS, load_locator
from app.tasks.adf.scan import MAXIMUM_DEPTH
from app.tasks.adf.validation import find_violations, is_valid_adf

CORPUS_FILE = Path(__file__).parents[1] / "data" / "adf_valid_documents.json"
CORPUS: dict[str, Any] = json.loads(CORPUS_FILE.read_text(encoding="utf-8"))
JUDGE = jsonschema_rs.validator_for(load_schema())

Steps = tuple[Any, ...]


def document(*nodes: object) -> dict[str, Any]:
    return {"version": 1, "type": "doc", "content": list(nodes)}


def paragraph(*texts: str) -> dict[str, Any]:
    return {"type": "paragraph", "content": [{"type": "text", "text": text} for text in texts]}


def bullet_list(*content: object) -> dict[str, Any]:
    return {"type": "bulletList", "content": [{"type": "listItem", "content": list(content)}]}


def nested_lists(levels: int, innermost: object) -> dict[str, Any]:
    node = innermost
    for _ in range(levels):
        node = bullet_list(node)
    return document(node)


def at(value: Any, pointer: str) -> Any:
    """Follow a JSON Pointer (RFC 6901); raises where it leads nowhere."""
    for token in pointer.split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        value = value[int(name)] if isinstance(value, list) else value[name]
    return value


def every_step(value: Any, steps: Steps = ()) -> list[Steps]:
    found = [steps]
    if isinstance(value, (dict, list)):
        for key, child in value.items() if isinstance(value, dict) else enumerate(value):
            found += every_step(child, (*steps, key))
    return found


def holder_of(value: Any, steps: Steps) -> Any:
    for step in steps[:-1]:
        value = value[step]
    return value


ALL_STEPS = {name: every_step(value)[1:] for name, value in CORPUS.items()}
SUBTREES = [
    holder_of(value, steps)[steps[-1]]
    for name, value in CORPUS.items()
    for steps in ALL_STEPS[name]
]
REPLACEMENTS = [
    None,
    True,
    0,
    -1,
    7.5,
    "",
    "nonsense",
    "#12",
    "#123456\n",
    [],
    {},
    [[]],
    {"type": "x"},
]


def delete(holder: Any, step: Any) -> None:
    del holder[step]


def rename(holder: Any, step: Any) -> None:
    if isinstance(holder, dict):
        holder[f"{step}~/x"] = holder.pop(step)
    else:
        holder.append(holder.pop(step))


def retype(holder: Any, step: Any) -> None:
    if isinstance(holder[step], dict):
        holder[step]["type"] = "nonsense"


def replace(holder: Any, step: Any) -> None:
    holder[step] = 7.5 if isinstance(holder[step], str) else "nonsense"


def repeat(holder: Any, step: Any) -> None:
    if isinstance(holder, list):
        holder.insert(step, copy.deepcopy(holder[step]))


def assert_explained_exactly_when_refused(value: object) -> None:
    refused = not JUDGE.is_valid(value)
    violations = find_violations(value)
    assert any(found.rule == "schema" for found in violations) == refused
    assert is_valid_adf(value) != refused
    for found in violations:
        at(value, found.path)
        assert "could not find out" not in found.reason


def test_schema_is_the_file_that_provenance_names() -> None:
    folder = resources.files("app.tasks.adf") / "schema"
    provenance = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    digest = hashlib.sha256((folder / SCHEMA_FILE).read_bytes()).hexdigest()
    assert digest == provenance["sha256"]
    assert provenance["version"] in SCHEMA_FILE
    assert provenance["modified"] is False
    licence = (folder / "LICENSE.adf-schema").read_text(encoding="utf-8")
    assert provenance["copyright"].removeprefix("Copyright ") in licence


def test_locator_understands_every_keyword_of_the_schema() -> None:
    used: set[str] = set()

    def collect(schema: Any) -> None:
        used.update(schema.keys())
        for inner in schema.get("properties", {}).values():
            collect(inner)
        parts = [schema.get("items", [])] if isinstance(schema.get("items"), dict) else []
        parts += schema["items"] if isinstance(schema.get("items"), list) else []
        for inner in [*parts, *schema.get("anyOf", []), *schema.get("allOf", [])]:
            collect(inner)

    for definition in load_schema()["definitions"].values():
        collect(definition)
    assert used <= UNDERSTOOD_KEYWORDS
    assert set(load_schema()) == {"$ref", "description", "$schema", "definitions"}


def test_corpus_shows_every_type_that_the_schema_knows() -> None:
    types = {node["type"] for node in SUBTREES if isinstance(node, dict) and "type" in node}
    assert set(load_locator().definitions_by_type) - {"doc"} <= types


@pytest.mark.parametrize("name", CORPUS)
def test_valid_documents_have_no_violation(name: str) -> None:
    assert JUDGE.is_valid(CORPUS[name])
    assert is_valid_adf(CORPUS[name])
    assert find_violations(CORPUS[name]) == []


@pytest.mark.parametrize("name", CORPUS)
def test_locator_agrees_that_valid_documents_are_valid(name: str) -> None:
    assert load_locator().locate(CORPUS[name], 20) == []


@pytest.mark.parametrize(
    "value", [None, True, 3, "doc", [], {}, {"type": "doc"}, [{"type": "doc"}]]
)
def test_what_is_no_document_at_all_is_explained(value: object) -> None:
    assert_explained_exactly_when_refused(value)
    assert find_violations(value)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_locator_explains_exactly_what_the_schema_refuses(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(CORPUS)))
    value = copy.deepcopy(CORPUS[name])
    for _ in range(data.draw(st.integers(1, 3))):
        places = every_step(value)[1:]
        if not places:
            break
        steps = data.draw(st.sampled_from(places))
        holder = holder_of(value, steps)
        match data.draw(
            st.sampled_from(("delete", "rename", "retype", "repeat", "replace", "graft"))
        ):
            case "delete":
                delete(holder, steps[-1])
            case "rename":
                rename(holder, steps[-1])
            case "retype":
                retype(holder, steps[-1])
            case "repeat":
                repeat(holder, steps[-1])
            case "replace":
                holder[steps[-1]] = copy.deepcopy(data.draw(st.sampled_from(REPLACEMENTS)))
            case _:
                holder[steps[-1]] = copy.deepcopy(data.draw(st.sampled_from(SUBTREES)))
    assert_explained_exactly_when_refused(value)


@pytest.mark.parametrize("name", CORPUS)
def test_every_single_mistake_is_found_near_where_it_was_made(name: str) -> None:
    """Each place of each document goes wrong once, in several ways; at most 1 in 50 is off."""
    found_near, refused = 0, 0
    for steps in ALL_STEPS[name]:
        for change in (delete, rename, retype, replace):
            value = copy.deepcopy(CORPUS[name])
            change(holder_of(value, steps), steps[-1])
            violations = [found for found in find_violations(value) if found.rule == "schema"]
            assert bool(violations) == (not JUDGE.is_valid(value))
            refused += bool(violations)
            found_near += any(is_near(found.path, steps) for found in violations)
    assert found_near >= 0.98 * refused


def is_near(path: str, steps: Steps) -> bool:
    """Whether the path is at the changed place, below it, or at the node or list that holds it."""
    changed = [str(step).replace("~", "~0").replace("/", "~1") for step in steps]
    tokens = path.split("/")[1:]
    if len(tokens) >= len(changed):
        # A renamed key leaves its holder behind; a list's later items take the place of a lost one.
        return tokens[: len(changed) - 1] == changed[:-1]
    return tokens == changed[: len(tokens)] and len(changed) - len(tokens) <= 2


@pytest.mark.parametrize(
    ("node", "path", "words"),
    [
        ({"type": "heading", "attrs": {"level": 9}}, "/content/0/attrs/level", "more than 6"),
        ({"type": "heading"}, "/content/0", "'attrs' is missing: add it, with 'level'."),
        (
            {
                "type": "layoutSection",
                "content": [
                    {"type": "layoutColumn", "content": [paragraph("a")], "attrs": {"width": width}}
                    for width in (50, True)
                ],
            },
            "/content/0/content/1/attrs/width",
            "true stands where a number must",
        ),
        ({"type": "paragrap"}, "/content/0", "'paragrap' is no type that ADF knows"),
        ({"content": []}, "/content/0", "without 'type'"),
        ("text", "/content/0", "an object with a 'type'"),
        ({"type": "paragraph", "a/b~c": 1}, "/content/0/a~1b~0c", "remove it"),
        (paragraph(""), "/content/0/content/0/text", "empty"),
        (
            bullet_list({"type": "rule"}),
            "/content/0/content/0/content/0",
            "In 'listItem': 'rule' may",
        ),
        ({"type": "bulletList", "content": []}, "/content/0/content", "0 of at least 1 items"),
        (
            {
                "type": "paragraph",
                "content": [
                    {"type": "text", "text": "a", "marks": [{"type": "code"}, {"type": "em"}]}
                ],
            },
            "/content/0/content/0/marks/1",
            "In 'text': 'em' may not stand here",
        ),
        (
            {"type": "codeBlock", "content": [{"type": "paragraph", "content": []}]},
            "/content/0/content/0",
            "a code block holds text only",
        ),
        (
            {
                "type": "codeBlock",
                "content": [{"type": "text", "text": "a", "marks": [{"type": "strong"}]}],
            },
            "/content/0/content/0/marks",
            "a code block holds text only, without marks: remove 'strong'",
        ),
        (
            {"type": "bulletList", "content": [{"type": "paragraph", "content": []}]},
            "/content/0/content/0",
            "In 'bulletList': 'paragraph' may not stand here",
        ),
        (
            {
                "type": "paragraph",
                "content": [
                    {
                        "type": "text",
                        "text": "a",
                        "marks": [{"type": "textColor", "attrs": {"color": "red"}}],
                    }
                ],
            },
            "/content/0/content/0/marks/0/attrs/color",
            "'red' is not a colour of ADF: write #rrggbb",
        ),
        (
            {
                "type": "paragraph",
                "content": [{"type": "status", "attrs": {"text": "a", "color": "pink"}}],
            },
            "/content/0/content/0/attrs/color",
            "write neutral, purple, blue, red, yellow, green or #rrggbb",
        ),
        (
            {"type": "codeBlock", "marks": [{"type": "breakout", "attrs": {"mode": "huge"}}]},
            "/content/0/marks/0/attrs/mode",
            "'huge' stands where 'wide' or 'full-width' must",
        ),
    ],
)
def test_reason_says_what_is_wrong_and_where(node: object, path: str, words: str) -> None:
    [violation] = find_violations(document(node))
    assert (violation.path, violation.rule) == (path, "schema")
    assert words in violation.reason


def test_violations_stop_at_the_limit() -> None:
    value = document(*[{"type": "nonsense"}] * 50)
    assert len(find_violations(value)) == 20
    assert [found.path for found in find_violations(value, limit=3)] == [
        "/content/0",
        "/content/1",
        "/content/2",
    ]


def test_pattern_does_not_forgive_a_line_end_behind_it() -> None:
    mark = {"type": "textColor", "attrs": {"color": "#123456\n"}}
    node = {"type": "paragraph", "content": [{"type": "text", "text": "a", "marks": [mark]}]}
    assert_explained_exactly_when_refused(document(node))
    assert find_violations(document(node))


def test_hundred_nested_lists_are_fine() -> None:
    assert find_violations(nested_lists(100, paragraph("deep"))) == []


@pytest.mark.parametrize("levels", [200, 10_000, 100_000])
def test_document_nested_too_deep_is_a_violation(levels: int) -> None:
    value = nested_lists(levels, paragraph("deep"))
    [violation] = find_violations(value)
    assert violation.rule == "schema"
    assert "nested too deep" in violation.reason
    assert not is_valid_adf(value)
    at(value, violation.path)


def test_free_form_json_nested_too_deep_is_a_violation() -> None:
    parameters: Any = "deep"
    for _ in range(10_000):
        parameters = {"again": [parameters]}
    attributes = {"extensionKey": "k", "extensionType": "t", "parameters": parameters}
    [violation] = find_violations(document({"type": "extension", "attrs": attributes}))
    assert "nested too deep" in violation.reason


def test_deepest_document_that_is_allowed_is_judged_and_explained() -> None:
    levels = (MAXIMUM_DEPTH - 10) // 4
    assert find_violations(nested_lists(levels, paragraph("deep"))) == []
    [violation] = find_violations(nested_lists(levels, {"type": "rule"}))
    assert "'rule' may not stand here" in violation.reason


def test_document_that_holds_itself_is_a_violation() -> None:
    value = document()
    value["content"].append(value)
    assert "nested too deep" in find_violations(value)[0].reason


@pytest.mark.parametrize(
    "number", [float("nan"), float("inf"), b"bytes", {1, 2}, ("tuple",), object()]
)
def test_value_that_json_does_not_have_is_a_violation(number: object) -> None:
    attributes = {"extensionKey": "k", "extensionType": "t", "parameters": {"a": [number]}}
    value = document({"type": "extension", "attrs": attributes})
    [violation] = find_violations(value)
    assert violation.path == "/content/0/attrs/parameters/a/0"
    assert violation.rule == "schema"
    assert not is_valid_adf(value)


def test_key_that_is_not_text_is_a_violation() -> None:
    value = document({"type": "paragraph", "attrs": {None: 1, 2: 3}})
    [violation] = find_violations(value)
    assert violation.path == "/content/0/attrs"
    assert not is_valid_adf(value)


def count_steps_of_explanation(monkeypatch: pytest.MonkeyPatch, value: object) -> int:
    steps = 0
    original = locator._Judge.problems

    def counted(judge: Any, value: object, schema: Any) -> Any:
        nonlocal steps
        steps += 1
        return original(judge, value, schema)

    with monkeypatch.context() as patch:
        patch.setattr(locator._Judge, "problems", counted)
        assert find_violations(value)
    return steps


def test_work_of_explaining_grows_with_size_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten times the depth or width, about ten times the work; branching would be 2 ** depth."""
    shallow, deep = (
        count_steps_of_explanation(monkeypatch, nested_lists(levels, {"type": "nonsense"}))
        for levels in (10, 100)
    )
    assert deep < 12 * shallow
    narrow, wide = (
        count_steps_of_explanation(monkeypatch, document(*[bullet_list({"type": "x"})] * width))
        for width in (30, 300)
    )
    assert wide < 12 * narrow


def paragraphs(count: int, node: object) -> dict[str, Any]:
    return document(*[{"type": "paragraph", "content": [node]} for _ in range(count)])


@pytest.mark.parametrize(
    "wrong",
    [
        paragraphs(25_000, {"type": "text"}),
        document(*paragraphs(25_000, {"type": "text", "text": "a"})["content"], {"type": "x"}),
        paragraphs(25_000, {"type": "text", "text": "a", "marks": [{"type": "strong", "x": 1}]}),
        document(
            {
                "type": "bulletList",
                "content": [
                    {"type": "listItem", "content": [{"type": "paragraph", "content": [{}]}]}
                ]
                * 12_000,
            }
        ),
    ],
    ids=["everywhere", "at the end", "in marks", "in one list"],
)
def test_explaining_takes_little_longer_than_judging(wrong: dict[str, Any]) -> None:
    right = paragraphs(25_000, {"type": "text", "text": "a"})

    def seconds(value: object) -> float:
        started = time.process_time()
        find_violations(value, max_characters=10**9)
        return time.process_time() - started

    find_violations(wrong)
    judged = min(seconds(right) for _ in range(3))
    assert min(seconds(wrong) for _ in range(3)) < 8 * judged


def test_many_different_annotations_are_compared_in_no_time() -> None:
    marks = [
        {"type": "annotation", "attrs": {"id": str(n), "annotationType": "inlineComment"}}
        for n in range(20_000)
    ]
    started = time.process_time()
    node = {"type": "text", "text": "a", "marks": [*marks, marks[0]]}
    (found,) = find_violations(paragraphs(1, node), max_characters=10**9)
    assert found.rule == "duplicate_mark"
    assert time.process_time() - started < 2
