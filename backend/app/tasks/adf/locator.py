"""Locate and explain a document's violations of Atlassian's schema, in linear time.

`jsonschema_rs` validates in microseconds, but its error messages are useless here: the schema
says "any of 28 nodes" at each level, so a list of every branch's errors grows exponentially with
depth and names everything but the mistake. This locator explains as a person would: it compares a
node of type `table` only with the definitions of `table`, and of several such definitions (a
paragraph may be plain, aligned or indented) with the one that it fits best.

It is linear because nodes are checked from the leaves up, and each result is cached by (node,
definition). A node's children are checked before it, so no node is checked twice, and the
recursion is no deeper than the schema itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from app.tasks.adf.atlassian_schema import REFERENCE_PREFIX, JsonSchema, load_schema
from app.tasks.adf.violation import Place, Step, Violation, pointer, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

UNDERSTOOD_KEYWORDS = frozenset(
    (
        *("$ref", "type", "properties", "required", "additionalProperties", "enum"),
        *("anyOf", "allOf", "items", "minItems", "maxItems"),
        *("minimum", "maximum", "minLength", "pattern"),
    )
)
"""The keywords of JSON Schema draft 4 that Atlassian's schema uses; all are implemented here."""

_JSON_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "boolean": (bool,),
}
_TYPE_NAMES = {
    "object": "an object",
    "array": "a list",
    "string": "text",
    "number": "a number",
    "boolean": "true or false",
}


_NO_MARKS = "no marks"
_HEX_IN_WORDS = "a colour of ADF: write #rrggbb, like #ff5630"
_PATTERNS_IN_WORDS = {
    "^#[0-9a-fA-F]{6}$": _HEX_IN_WORDS,
    "^#[0-9a-fA-F]{8}$|^#[0-9a-fA-F]{6}$": _HEX_IN_WORDS,
    "^(neutral|purple|blue|red|yellow|green|#[0-9a-fA-F]{6})$": (
        "a status's colour: write neutral, purple, blue, red, yellow, green or #rrggbb"
    ),
}


@dataclass(frozen=True, slots=True)
class _Problem:
    """A violation of a schema: `steps` below the value, for this reason, or because of a child.

    `child` is the value and the schema it violates, to be explained next. `is_refusal` says that
    the whole value is not allowed in its place, which concerns its parent.
    """

    steps: tuple[Step, ...]
    reason: str = ""
    child: tuple[object, JsonSchema] | None = None
    is_refusal: bool = False


@cache
def load_locator() -> SchemaLocator:
    """Return the locator for Atlassian's schema, prepared once per process; thread-safe."""
    return SchemaLocator(load_schema())


class SchemaLocator:
    """Explains why documents violate one schema; holds no state of any document."""

    def __init__(self, schema: JsonSchema) -> None:
        """Prepare for `schema`, in which each node definition names its `type`."""
        self.root: JsonSchema = {"$ref": schema["$ref"]}
        self.definitions: dict[str, JsonSchema] = schema["definitions"]
        self.types_by_schema: dict[int, frozenset[str]] = {}
        self.types = {name: self._types(body) for name, body in self.definitions.items()}
        self.definitions_by_type: dict[str, list[str]] = {}
        for name, types in self.types.items():
            if "anyOf" not in self.definitions[name]:
                for type_name in types:
                    self.definitions_by_type.setdefault(type_name, []).append(name)
        self.patterns: dict[str, re.Pattern[str]] = {}

    def locate(self, document: object, limit: int) -> list[Violation]:
        """Return up to `limit` violations of the schema; empty if the document is valid.

        The caller limits the document's depth; the cost grows linearly.
        """
        judge = _Judge(self)
        judge.judge_from_the_leaves_up(document)
        found: list[Violation] = []
        waiting: list[tuple[Place, JsonSchema]] = [((document, None, ""), self.root)]
        while waiting and len(found) < limit:
            place, schema = waiting.pop()
            below: list[tuple[Place, JsonSchema]] = []
            for problem in judge.problems_of_item(place, schema):
                if problem.child is not None:
                    below.append((_descend(place, problem.steps), problem.child[1]))
                elif len(found) < limit:
                    owner = _owner(place[1] if problem.is_refusal else place)
                    reason = _in_words(problem.reason, place)
                    found.append(
                        Violation(pointer(place, *problem.steps), "schema", owner + reason)
                    )
            waiting.extend(reversed(below))
        return found

    def resolve(self, schema: JsonSchema) -> JsonSchema:
        """Return the schema that `schema` refers to, or itself."""
        while "$ref" in schema:
            schema = self.definitions[schema["$ref"].removeprefix(REFERENCE_PREFIX)]
        return schema

    def options(self, schema: JsonSchema) -> Iterator[JsonSchema]:
        """Yield the alternatives of `schema`, theirs included; itself if it has none."""
        body = self.resolve(schema)
        if "anyOf" not in body:
            yield schema
        for option in body.get("anyOf", ()):
            yield from self.options(option)

    def type_names(self, schema: JsonSchema) -> frozenset[str]:
        """Return the values of `type` that `schema` requires; empty if it requires none."""
        if "$ref" in schema:
            return self.types[schema["$ref"].removeprefix(REFERENCE_PREFIX)]
        # By identity: all but references are parts of the one schema, which does not change.
        types = self.types_by_schema.get(id(schema))
        if types is None:
            types = self.types_by_schema[id(schema)] = self._types(schema)
        return types

    def compiled(self, pattern: str) -> re.Pattern[str]:
        """Return the pattern with `$` as in JSON Schema: the very end, not before a newline."""
        if pattern not in self.patterns:
            self.patterns[pattern] = re.compile(pattern.replace("$", r"\Z"))
        return self.patterns[pattern]

    def _types(self, schema: JsonSchema) -> frozenset[str]:
        schema = self.resolve(schema)
        if "allOf" in schema:
            return frozenset().union(*map(self._types, schema["allOf"]))
        if "anyOf" in schema:
            types = [self._types(option) for option in schema["anyOf"]]
            return frozenset().union(*types) if all(types) else frozenset()
        if "type" not in schema.get("required", ()):
            return frozenset()
        return frozenset(schema.get("properties", {}).get("type", {}).get("enum", ()))


class _Judge:
    """Checks values of one document against the schema, and caches the results."""

    def __init__(self, locator: SchemaLocator) -> None:
        self.locator = locator
        self.verdicts: dict[tuple[int, str], bool] = {}

    def judge_from_the_leaves_up(self, document: object) -> None:
        """Check every node against the definitions of its own type, children before parents."""
        nodes: list[dict[str, Any]] = []
        waiting = [document]
        while waiting:
            value = waiting.pop()
            if isinstance(value, dict):
                nodes.append(value)
                content = value.get("content")
                waiting.extend(content if isinstance(content, list) else ())
        for node in reversed(nodes):
            for name in self.locator.definitions_by_type.get(_type_of(node) or "", ()):
                self.is_valid(node, {"$ref": REFERENCE_PREFIX + name})

    def is_valid(self, value: object, schema: JsonSchema) -> bool:
        """Return whether `value` is valid by `schema`."""
        types = self.locator.type_names(schema)
        if types and _type_of(value) not in types:
            return False
        if "anyOf" in schema:
            return any(self.is_valid(value, option) for option in schema["anyOf"])
        if "$ref" not in schema:
            return not self.problems(value, schema)
        key = (id(value), schema["$ref"])
        verdict = self.verdicts.get(key)
        if verdict is None:
            verdict = self.is_valid(value, self.locator.resolve(schema))
            self.verdicts[key] = verdict
        return verdict

    def problems_of_item(self, place: Place, schema: JsonSchema) -> list[_Problem]:
        """Return why the value violates `schema`; one of a wrong type is refused as a whole."""
        types = self.locator.type_names(schema)
        if place[1] is not None and types and _type_of(place[0]) not in types:
            return [self._refusal(place[0], types)]
        return self.problems(place[0], schema)

    def problems(self, value: object, schema: JsonSchema) -> list[_Problem]:
        """Return why `value` violates `schema`; empty if it is valid."""
        schema = self.locator.resolve(schema)
        if "anyOf" in schema:
            return self._problems_of_best_option(value, schema)
        if "allOf" in schema:
            every = [problem for part in schema["allOf"] for problem in self.problems(value, part)]
            return list({(problem.steps, problem.reason): problem for problem in every}.values())
        return list(self._problems_of_value(value, schema))

    def _problems_of_value(self, value: object, schema: JsonSchema) -> Iterator[_Problem]:
        if "type" in schema and not _is_of(value, schema["type"]):
            wanted = _TYPE_NAMES[schema["type"]]
            yield _Problem((), f"{quoted(value)} stands where {wanted} must: replace it.")
        elif "enum" in schema and not any(_is_same(value, allowed) for allowed in schema["enum"]):
            allowed = " or ".join(map(quoted, schema["enum"]))
            yield _Problem((), f"{quoted(value)} stands where {allowed} must: replace it.")
        elif isinstance(value, dict):
            yield from self._problems_of_object(value, schema)
        elif isinstance(value, list):
            yield from self._problems_of_list(value, schema)
        else:
            yield from self._problems_of_scalar(value, schema)

    def _problems_of_best_option(self, value: object, schema: JsonSchema) -> list[_Problem]:
        if self.is_valid(value, schema):
            return []
        options = list(self.locator.options(schema))
        types = [self.locator.type_names(option) for option in options]
        if all(types):
            fitting = [
                option
                for option, names in zip(options, types, strict=True)
                if _type_of(value) in names
            ]
            if not fitting:
                return [self._refusal(value, frozenset().union(*types))]
            options = [one for one in fitting if _takes_code(value, one)] or fitting
        return min((self.problems(value, option) for option in options), key=_misfit)

    def _refusal(self, value: object, allowed: frozenset[str]) -> _Problem:
        instead = f"what may stand here: {', '.join(sorted(allowed))}."
        if allowed == {"text"}:
            instead = "a code block holds text only; keep its text, or move it out."
        if not isinstance(value, dict):
            reason = f"{quoted(value)} stands where an object with a 'type' must; {instead}"
        elif "type" not in value:
            reason = f"an object without 'type' stands here: add it; {instead}"
        elif _type_of(value) in self.locator.definitions_by_type:
            reason = f"{quoted(value['type'])} may not stand here: move or replace it; {instead}"
        else:
            reason = f"{quoted(value['type'])} is no type that ADF knows: replace it; {instead}"
        return _Problem((), reason, is_refusal=True)

    def _problems_of_object(self, value: dict[str, Any], schema: JsonSchema) -> Iterator[_Problem]:
        properties = schema.get("properties", {})
        for name in schema.get("required", ()):
            if name not in value:
                needed = ", ".join(map(quoted, properties.get(name, {}).get("required", ())))
                addition = f"add it, with {needed}" if needed else "add it"
                yield _Problem((), f"'{name}' is missing: {addition}.")
        for name, subschema in properties.items():
            if name == "marks" and subschema.get("maxItems") == 0 and value.get(name):
                yield _Problem((name,), _NO_MARKS)
            elif name in value:
                for problem in self.problems(value[name], subschema):
                    yield _Problem(
                        (name, *problem.steps), problem.reason, problem.child, problem.is_refusal
                    )
        if schema.get("additionalProperties") is False:
            for name in value:
                if name not in properties:
                    yield _Problem((name,), f"{quoted(name)} is not allowed: remove it.")

    def _problems_of_list(self, value: list[Any], schema: JsonSchema) -> Iterator[_Problem]:
        least, most = schema.get("minItems", 0), schema.get("maxItems", len(value))
        if len(value) < least:
            yield _Problem(
                (), f"the list has {len(value)} of at least {least} items: add what is missing."
            )
        if len(value) > most:
            yield _Problem(
                (), f"the list has {len(value)} items, at most {most} may be there: remove some."
            )
        items = schema.get("items", {})
        schemas = items if isinstance(items, list) else [items] * len(value)
        for index, (item, subschema) in enumerate(zip(value, schemas, strict=False)):
            if not self.is_valid(item, subschema):
                yield _Problem((index,), child=(item, subschema))

    def _problems_of_scalar(self, value: object, schema: JsonSchema) -> Iterator[_Problem]:
        if isinstance(value, str):
            if len(value) < schema.get("minLength", 0):
                yield _Problem((), "the text is empty: fill it in, or remove what holds it.")
            if "pattern" in schema and not self.locator.compiled(schema["pattern"]).search(value):
                wanted = _PATTERNS_IN_WORDS.get(
                    schema["pattern"], f"of the form {schema['pattern']}: correct it"
                )
                yield _Problem((), f"{quoted(value)} is not {wanted}.")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            if "minimum" in schema and value < schema["minimum"]:
                yield _Problem((), f"{quoted(value)} is less than {schema['minimum']}: raise it.")
            if "maximum" in schema and value > schema["maximum"]:
                yield _Problem((), f"{quoted(value)} is more than {schema['maximum']}: lower it.")


def _takes_code(value: object, option: JsonSchema) -> bool:
    """Return whether a text with the mark `code` is compared with the definition that has it."""
    marks = value.get("marks") if isinstance(value, dict) else None
    has_code = isinstance(marks, list) and any(_type_of(mark) == "code" for mark in marks)
    return has_code and option.get("$ref", "").endswith("/code_inline_node")


def _in_words(reason: str, place: Place) -> str:
    """Return the reason, adapted to the node's surroundings."""
    if reason != _NO_MARKS:
        return reason
    value: Any = place[0]
    marks = value["marks"] if isinstance(value["marks"], list) else []
    names = ", ".join(quoted(_type_of(mark)) for mark in marks) or "them"
    around = place[1]
    while around is not None and _type_of(around[0]) is None:
        around = around[1]
    if around is not None and _type_of(around[0]) == "codeBlock":
        return f"a code block holds text only, without marks: remove {names}."
    return f"it may have no marks here: remove {names}."


def _misfit(problems: list[_Problem]) -> tuple[int, int]:
    """Rank an option by how badly a value fits: few problems are better, then deep ones."""
    return len(problems), -max(len(problem.steps) for problem in problems)


def _type_of(value: object) -> str | None:
    name = value.get("type") if isinstance(value, dict) else None
    return name if isinstance(name, str) else None


def _is_of(value: object, json_type: str) -> bool:
    # In Python, True is a number; in JSON it is not.
    return isinstance(value, _JSON_TYPES[json_type]) and (
        json_type == "boolean" or not isinstance(value, bool)
    )


def _is_same(value: object, allowed: object) -> bool:
    return value == allowed and isinstance(value, bool) == isinstance(allowed, bool)


def _descend(place: Place, steps: tuple[Step, ...]) -> Place:
    for step in steps:
        place = (place[0][step], place, step)  # type: ignore[index] # a problem leads to what is there
    return place


def _owner(place: Place | None) -> str:
    """Return the beginning of a reason: the innermost node or mark around the place."""
    while place is not None:
        name = _type_of(place[0])
        if name is not None:
            return f"In {quoted(name)}: "
        place = place[1]
    return ""
