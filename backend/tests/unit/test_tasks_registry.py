"""Which function does the work of a task type."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any

import pytest

from app.core.config import Settings
from app.core.errors import ConfigurationError
from app.models.session import TaskType
from app.tasks import registry
from app.tasks.registry import (
    BUILT_IN_HANDLERS,
    checked_handlers,
    handler_references,
    load_handler,
    max_run_seconds,
    may_run_for,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def forget_offers() -> Iterator[None]:
    yield
    registry._from_entry_points.cache_clear()


def _settings(handlers: str = "") -> Settings:
    return Settings(handlers=handlers)


def _offer(monkeypatch: pytest.MonkeyPatch, *offers: tuple[str, str]) -> None:
    entries = [EntryPoint(name, value, registry.ENTRY_POINT_GROUP) for name, value in offers]

    def entry_points(*, group: str) -> list[EntryPoint]:
        assert group == "session_tasks.handlers"
        return entries

    monkeypatch.setattr(registry, "entry_points", entry_points)
    registry._from_entry_points.cache_clear()


def test_every_built_in_handler_can_be_loaded() -> None:
    assert set(BUILT_IN_HANDLERS) == set(TaskType)
    for reference in handler_references(_settings()).values():
        assert callable(load_handler(reference))


def test_the_setting_wins_over_an_entry_point_and_that_over_the_built_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _offer(monkeypatch, ("processing", "theirs:process"), ("export", "theirs:export"))
    references = handler_references(_settings(" processing = ours.module:work , "))
    assert references == {
        TaskType.PROCESSING: "ours.module:work",
        TaskType.EXPORT: "theirs:export",
        TaskType.ADF_VALIDATION: BUILT_IN_HANDLERS[TaskType.ADF_VALIDATION],
    }


@pytest.mark.parametrize(
    "setting", ["processing", "processing=", "processing=a.b", "=a:b", "cooking=a:b", "a:b"]
)
def test_a_setting_that_cannot_be_read_is_refused_with_what_to_write(setting: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        handler_references(_settings(setting))
    assert caught.value.next_step


def test_two_packages_for_one_type_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    _offer(monkeypatch, ("processing", "one:work"), ("processing", "two:work"))
    with pytest.raises(ConfigurationError, match="one:work and two:work"):
        handler_references(_settings())


@pytest.mark.parametrize(
    "reference",
    [
        "no.such.module:work",
        "app.tasks.processing:nothing",
        "app.core.errors:annotations",
        "os:getcwd",
        "asyncio:sleep",
    ],
)
def test_a_handler_that_is_not_there_is_a_configuration_error(reference: str) -> None:
    with pytest.raises(ConfigurationError, match=reference):
        load_handler(reference)


def test_a_handler_may_have_a_limit_of_its_own() -> None:
    @may_run_for(90)
    def limited(_context: Any) -> None: ...

    def unlimited(_context: Any) -> None: ...

    assert max_run_seconds(limited) == 90.0
    assert max_run_seconds(unlimited) is None


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def work(context): ...", None),
        ("print('hello'); work = print", None),
        ("def wrok(context): ...", "cannot be imported: AttributeError"),
        ("import no_such_thing", "cannot be imported: ModuleNotFoundError"),
        ("def work(): ...", "no plain function of one argument"),
        ("async def work(context): ...", "no plain function of one argument"),
        ("raise SystemExit(0)", "ends the process"),
        ("import os; os._exit(3)", r"ends the process \(status 3\)"),
    ],
)
def test_handlers_are_imported_in_another_process_to_check_them(
    source: str, said: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "checked_handler.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    settings = _settings("processing=checked_handler:work")
    if said is None:
        assert checked_handlers(settings)[TaskType.PROCESSING] == "checked_handler:work"
    else:
        with pytest.raises(ConfigurationError, match=said) as caught:
            checked_handlers(settings)
        assert "checked_handler:work" in caught.value.message
        assert "SESSION_TASKS_HANDLERS" in caught.value.next_step
    assert "checked_handler" not in sys.modules


def test_nothing_is_imported_to_check_what_is_built_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_check_apart", None)
    assert checked_handlers(_settings()) == BUILT_IN_HANDLERS
