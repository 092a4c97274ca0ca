"""Walk a document once, and collect the places that Jira's rules check.

It is the hot part of validation, run for every description: plain tuples, no calls for nodes that
every document has, and paths only for violations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from app.tasks.adf.violation import Place

MAXIMUM_DEPTH = 500
"""Objects and lists within each other, the document counted.

Markdown of 100 levels needs about 410. Jackson, the usual JSON reader in Java, gives up at 1,000;
the schema validator's own recursion overflows the stack, which kills the process: seen at 40,000.
"""

_CONTAINERS = frozenset((dict, list))
_SCALARS = frozenset((int, bool, type(None)))
_NAMING_KEYS = frozenset(("type", "localId"))
_FREE_FORM_KEYS = frozenset(("parameters", "data", "properties"))
"""Under these an extension keeps JSON of its own: an object in it with a `type` is no node."""


@dataclass(slots=True)
class Scan:
    """The result of one walk over a document.

    Attributes:
        to_judge: nodes and marks of the types that were asked for, from the outside in.
        with_marks: nodes that carry two marks or more.
        texts: every string that counts as text: all but types and local ids.
        names: every key, type and local id.
        structures: how many nodes and marks there are.
        not_json: values that JSON does not have, objects with keys that are not text among them.
        too_deep: the first place below `MAXIMUM_DEPTH`; the walk stopped there.

    """

    to_judge: list[Place] = field(default_factory=list)
    with_marks: list[Place] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    structures: int = 0
    not_json: list[Place] = field(default_factory=list)
    too_deep: Place | None = None

    @property
    def is_plain_json(self) -> bool:
        """Whether others may walk the document without fear: JSON, and not too deep."""
        return self.too_deep is None and not self.not_json


def scan(document: object, types: Collection[str] = ()) -> Scan:  # noqa: C901, PLR0912 - the hot loop: a call per node costs a fifth
    """Return what one walk over `document` notes; `types` are the nodes and marks to judge.

    The walk goes level by level: whatever its shape, a document can neither exhaust the stack nor
    make it take longer than its size.
    """
    noted = Scan()
    texts, names = noted.texts, noted.names
    nodes: list[Place] = []
    free_form: list[Place] = []
    if type(document) in _CONTAINERS:
        nodes.append((document, None, ""))
    elif not _is_json_scalar(document):
        noted.not_json.append((document, None, ""))
    for _ in range(MAXIMUM_DEPTH):
        if not nodes and not free_form:
            break
        nodes_below: list[Place] = []
        free_form_below: list[Place] = []
        zones = ((nodes, types, nodes_below), (free_form, (), free_form_below))
        for places, judged, below in zones:
            for place in places:
                value: Any = place[0]
                is_object = type(value) is dict
                if is_object:
                    names.update(value)
                for key, child in value.items() if is_object else enumerate(value):
                    kind = type(child)
                    if kind is str:
                        if key not in _NAMING_KEYS:
                            texts.append(child)
                            continue
                        names.add(child)
                        if key == "type":
                            noted.structures += 1
                            if child in judged:
                                noted.to_judge.append(place)
                    elif kind in _CONTAINERS:
                        if key in _FREE_FORM_KEYS:
                            free_form_below.append((child, place, key))
                            continue
                        below.append((child, place, key))
                        if key == "marks" and judged and len(child) > 1:
                            noted.with_marks.append(place)
                    elif not _is_json_scalar(child):
                        noted.not_json.append((child, place, key))
        nodes, free_form = nodes_below, free_form_below
    noted.too_deep = next(iter(nodes or free_form), None)
    if not all(type(name) is str for name in noted.names):
        _note_odd_keys(noted, document)
    return noted


def every_place(document: object) -> Iterator[Place]:
    """Yield the document and every value in it, parents first, as deep as a document may be."""
    level: list[Place] = [(document, None, "")]
    for _ in range(MAXIMUM_DEPTH + 1):
        yield from level
        level = [below for place in level for below in _inside(place)]


def _inside(place: Place) -> Iterator[Place]:
    value = place[0]
    if isinstance(value, dict):
        for key, child in value.items():
            yield child, place, key
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield child, place, index


def _is_json_scalar(value: object) -> bool:
    kind = type(value)
    return kind in _SCALARS or kind is str or (isinstance(value, float) and math.isfinite(value))


def _note_odd_keys(noted: Scan, document: object) -> None:
    noted.names = {name for name in noted.names if type(name) is str}
    for place in every_place(document):
        value = place[0]
        if isinstance(value, dict) and not all(type(key) is str for key in value):
            noted.not_json.append(place)
