"""JSON that cannot be changed in place: SQLAlchemy sees a change only where a value is assigned."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Never

from sqlalchemy import Dialect
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.operators import OperatorType
from sqlalchemy.types import TypeDecorator, TypeEngine

from app.core.errors import TaskValidationError


class FrozenDict(dict[str, Any]):
    """A dict that raises `TaskValidationError` on every change; `copy.deepcopy` is a plain dict."""

    def __reduce__(self) -> tuple[Any, ...]:
        return freeze, (dict(self),)

    def __deepcopy__(self, _memo: object) -> dict[str, Any]:
        return {key: _thaw(value) for key, value in self.items()}


class FrozenList(list[Any]):
    """A list that raises `TaskValidationError` on every change; `copy.deepcopy` is a plain list."""

    def __reduce__(self) -> tuple[Any, ...]:
        return freeze, (list(self),)

    def __deepcopy__(self, _memo: object) -> list[Any]:
        return [_thaw(value) for value in self]


def _refuse_change(*_arguments: object, **_named: object) -> Never:
    raise TaskValidationError(
        "A failure context cannot be changed in place",
        next_step="Assign a new one: task.failure_context = {**task.failure_context, ...}.",
    )


for _method in (
    "__setitem__",
    "__delitem__",
    "__ior__",
    "__iadd__",
    "__imul__",
    "append",
    "clear",
    "extend",
    "insert",
    "pop",
    "popitem",
    "remove",
    "reverse",
    "setdefault",
    "sort",
    "update",
):
    for _kind in (FrozenDict, FrozenList):
        if hasattr(_kind, _method):
            setattr(_kind, _method, _refuse_change)


def freeze(value: Any) -> Any:
    """Return the JSON value with every dict and list in it frozen."""
    if isinstance(value, Mapping):
        return FrozenDict({key: freeze(each) for key, each in value.items()})
    if isinstance(value, (list, tuple)):
        return FrozenList(freeze(each) for each in value)
    return value


def _thaw(value: Any) -> Any:
    if isinstance(value, FrozenDict | FrozenList):
        return value.__deepcopy__(None)
    return value


class FrozenJson(TypeDecorator[dict[str, Any]]):
    """A `jsonb` column that holds an object, read as a `FrozenDict`.

    Another JSON value, which only a database from before migration 0006 can hold, is read as the
    `message` of an object.
    """

    impl = JSONB(none_as_null=True)
    cache_ok = True

    def coerce_compared_value(self, op: OperatorType | None, value: Any) -> TypeEngine[Any]:
        """Return the type of the other side of an operator, as for `jsonb` itself."""
        return self.impl_instance.coerce_compared_value(op, value)

    def process_result_value(self, value: Any, dialect: Dialect) -> dict[str, Any] | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Return the object, frozen."""
        if value is None:
            return None
        if not isinstance(value, dict):
            value = {"message": value if isinstance(value, str) else json.dumps(value)}
        frozen: FrozenDict = freeze(value)
        return frozen
