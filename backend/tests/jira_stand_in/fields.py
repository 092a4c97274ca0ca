"""The fields of a create screen: what Jira takes as their values, and what it makes of them.

A value goes in as `fields` of a create request has it, and comes out as a read request shows it.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema_rs

from tests.jira_stand_in.normalising import normalise_adf, normalise_duration

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.jira_stand_in.site import Account, Project, Site

TEXT_LIMIT = 32_767
LINE_LIMIT = 255
CUSTOM = "com.atlassian.jira.plugin.system.customfieldtypes:"
ADF_SCHEMA = (
    Path(__file__).parents[2] / "app" / "tasks" / "adf" / "schema" / "adf-full-57.7.22.json"
)


class FieldProblem(Exception):  # noqa: N818 - what is wrong with a field's value
    """Jira's reason to refuse a value."""


@dataclass(frozen=True)
class Field:
    """A field of a screen.

    Attributes:
        schema: as createmeta shows it: `{"type": …, "system": …}`.
        allowed: the values that it may have, as createmeta lists them; None: any.

    """

    id: str
    name: str
    schema: dict[str, Any]
    is_required: bool = False
    has_default: bool = False
    allowed: tuple[dict[str, Any], ...] | None = None

    @property
    def is_document(self) -> bool:
        """Whether it takes an ADF document."""
        is_textarea = self.schema.get("custom") == CUSTOM + "textarea"
        return is_textarea or self.schema.get("system") in {"description", "environment"}


def system_field(name: str, label: str, kind: str, items: str = "", **more: Any) -> Field:
    """Return a field that every site has."""
    schema = {"type": kind, "system": name} | ({"items": items} if items else {})
    return Field(name, label, schema, **more)


def custom_field(
    number: int, label: str, kind: str, custom: str, items: str = "", **more: Any
) -> Field:
    """Return a field that an administrator added; `custom` is the last part of its type."""
    prefix = CUSTOM if custom.islower() and not custom.startswith("gh-") else ""
    prefix = prefix or "com.pyxis.greenhopper.jira:"
    schema = {"type": kind, "custom": prefix + custom, "customId": number}
    return Field(
        f"customfield_{number}", label, schema | ({"items": items} if items else {}), **more
    )


def accepted(site: Site, project: Project, account: Account, field: Field, value: Any) -> Any:
    """Return what Jira keeps of a value.

    Raises:
        FieldProblem: Jira refuses the value.

    """
    if field.is_document:
        return _document(value)
    if field.schema["type"] == "array":
        if not isinstance(value, list):
            raise FieldProblem("data was not an array")
        return _ARRAYS[field.schema["items"]](project, field, value)
    return _SCALARS[field.schema["type"]](site, project, account, field, value)


@cache
def _adf_validator() -> jsonschema_rs.Validator:
    validator: jsonschema_rs.Validator = jsonschema_rs.validator_for(
        json.loads(ADF_SCHEMA.read_text(encoding="utf-8"))
    )
    return validator


def _document(value: Any) -> Any:
    if isinstance(value, str):
        raise FieldProblem(
            "Operation value must be an Atlassian Document (see the Atlassian Document Format)"
        )
    if not _adf_validator().is_valid(value):
        raise FieldProblem("INVALID_INPUT")
    if _text_length(value) > TEXT_LIMIT:
        raise FieldProblem(
            f"The entered text is too long. It exceeds the allowed limit of {TEXT_LIMIT:,} "
            "characters."
        )
    return normalise_adf(value)


def _text_length(node: Any) -> int:
    if not isinstance(node, dict):
        return 0
    own = len(str(node.get("text", "")).encode("utf-16-le")) // 2
    return own + sum(map(_text_length, node.get("content", ())))


def _line(_site: Site, _project: Project, _account: Account, field: Field, value: Any) -> str:
    if not isinstance(value, str):
        raise FieldProblem("Operation value must be a string")
    if field.id == "summary":
        if "\n" in value or "\r" in value:
            raise FieldProblem("The summary is invalid because it contains newline characters.")
        if not value.strip():
            raise FieldProblem("You must specify a summary of the issue.")
        if len(value.encode("utf-16-le")) // 2 > LINE_LIMIT:
            raise FieldProblem(f"Summary can't exceed {LINE_LIMIT} characters.")
        return value.strip()
    if len(value) > LINE_LIMIT:
        raise FieldProblem(
            f"The entered text is too long. It exceeds the allowed limit of {LINE_LIMIT} "
            "characters."
        )
    return value


def _number(_site: Site, _project: Project, _account: Account, _field: Field, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise FieldProblem("Operation value must be a number")
    return float(value)


def _date(_site: Site, _project: Project, _account: Account, field: Field, value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"\d{4}-\d\d-\d\d", value):
        raise FieldProblem(f"Error parsing date string: {value}")
    try:
        dt.date.fromisoformat(value)
    except ValueError:
        raise FieldProblem(f"Error parsing date string: {value}") from None
    if field.id == "duedate" and "SCHEDULE_ISSUES" not in _account.permissions_in(_project):
        raise _not_on_screen("duedate")
    return value


def _datetime(_site: Site, _project: Project, _account: Account, _field: Field, value: Any) -> str:
    try:
        moment = dt.datetime.strptime(str(value), "%Y-%m-%dT%H:%M:%S.%f%z")
    except ValueError:
        raise FieldProblem(f"Error parsing date string: {value}") from None
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000%z")


def _option(_site: Site, _project: Project, _account: Account, field: Field, value: Any) -> Any:
    return _chosen(field, value, "value", "Specify a valid 'id' or 'name' for " + field.name)


def _priority(_site: Site, _project: Project, _account: Account, field: Field, value: Any) -> Any:
    return _chosen(field, value, "name", "The priority selected is invalid.")


def _user(_site: Site, project: Project, account: Account, field: Field, value: Any) -> Any:
    wanted = None
    if isinstance(value, dict):
        wanted = value.get("accountId", value.get("id"))
    right = {"assignee": "ASSIGN_ISSUES", "reporter": "MODIFY_REPORTER"}.get(field.id)
    if right and right not in account.permissions_in(project):
        raise _not_on_screen(field.id)
    user = next((user for user in _site.accounts if user.account_id == wanted), None)
    if user is None or not user.is_active:
        raise FieldProblem(f"Specify a valid value for {field.id}")
    if field.id == "assignee" and "ASSIGNABLE_USER" not in user.permissions_in(project):
        raise FieldProblem(f"User '{user.account_id}' cannot be assigned issues.")
    return user.resource(_site.url)


def _timetracking(
    _site: Site, _project: Project, _account: Account, _field: Field, value: Any
) -> Any:
    kept: dict[str, Any] = {}
    for name in ("originalEstimate", "remainingEstimate"):
        if isinstance(value, dict) and name in value:
            try:
                kept[name], kept[name + "Seconds"] = normalise_duration(value[name])
            except ValueError:
                raise FieldProblem(f"'{value[name]}' is not a valid time estimate") from None
    return kept


def _labels(_project: Project, _field: Field, value: list[Any]) -> list[str]:
    for label in value:
        if not isinstance(label, str):
            raise FieldProblem("Operation value must be a string")
        if any(character.isspace() for character in label):
            raise FieldProblem(f"The label '{label}' contains spaces which is invalid.")
        if len(label) > LINE_LIMIT:
            raise FieldProblem(f"The label '{label}' exceeds the maximum length of {LINE_LIMIT}.")
    return sorted(set(value))


def _components(project: Project, field: Field, value: list[Any]) -> list[Any]:
    known = project.components
    return sorted(_named(known, field, value, "Component name"), key=lambda each: each["name"])


def _versions(project: Project, field: Field, value: list[Any]) -> list[Any]:
    found = _named(project.versions, field, value, "Version name")
    return sorted(found, key=lambda each: int(each["id"]))


def _named(known: list[dict[str, Any]], _field: Field, value: list[Any], what: str) -> list[Any]:
    found = []
    for wanted in value:
        match = _matching(known, wanted, "name")
        if match is None:
            name = wanted.get("name", wanted.get("id")) if isinstance(wanted, dict) else wanted
            raise FieldProblem(f"{what} '{name}' is not valid")
        if match not in found:
            found.append(match)
    return found


def _options(_project: Project, field: Field, value: list[Any]) -> list[Any]:
    return [_chosen(field, each, "value", f"Option value '{each}' is not valid") for each in value]


def _sprints(_project: Project, _field: Field, _value: list[Any]) -> list[Any]:
    raise FieldProblem("Number value expected as the Sprint id.")


def _chosen(field: Field, value: Any, key: str, problem: str) -> Any:
    match = _matching(list(field.allowed or ()), value, key)
    if match is None:
        raise FieldProblem(problem)
    return match


def _matching(known: list[dict[str, Any]], wanted: Any, key: str) -> dict[str, Any] | None:
    if not isinstance(wanted, dict):
        return None
    for name in ("id", key):
        if name in wanted:
            return next((each for each in known if each[name] == wanted[name]), None)
    return None


def _not_on_screen(field: str) -> FieldProblem:
    return FieldProblem(
        f"Field '{field}' cannot be set. It is not on the appropriate screen, or unknown."
    )


_SCALARS: dict[str, Callable[[Site, Project, Account, Field, Any], Any]] = {
    "string": _line,
    "number": _number,
    "date": _date,
    "datetime": _datetime,
    "option": _option,
    "priority": _priority,
    "user": _user,
    "timetracking": _timetracking,
}

_ARRAYS: dict[str, Callable[[Project, Field, list[Any]], Any]] = {
    "string": _labels,
    "component": _components,
    "version": _versions,
    "option": _options,
    "json": _sprints,
}
