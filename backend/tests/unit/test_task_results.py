"""`TaskResults` and what it is made of refuse wrong types when they are made."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from app.engines.messages import ITEMS_PER_MESSAGE, ResultParts, results_in_parts
from app.values.results import ExportBody, Finding, TaskResults, TicketDraft

if TYPE_CHECKING:
    from collections.abc import Callable

TICKET = ("Title", "{}", "a.md", 1)
FINDING = (1, "Title", "a.md", 1, "/content/0", "schema", "not a node")


def changed(values: tuple[object, ...], index: int, value: object) -> tuple[Any, ...]:
    return (*values[:index], value, *values[index + 1 :])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: TicketDraft(*changed(TICKET, 0, None)), "TicketDraft.title takes str, and was"),
        (lambda: TicketDraft(*changed(TICKET, 1, {})), "description takes str, and was given dict"),
        (lambda: TicketDraft(*changed(TICKET, 2, b"")), "source_name takes str"),
        (lambda: TicketDraft(*changed(TICKET, 3, "1")), "source_row takes int"),
        (lambda: TicketDraft(*TICKET, fields=None), "fields takes str"),  # type: ignore[arg-type]
        (lambda: TicketDraft(*TICKET, parent=1.0), "parent takes int"),  # type: ignore[arg-type]
        (lambda: ExportBody({}, 1), "ExportBody.body takes str"),  # type: ignore[arg-type]
        (lambda: ExportBody("{}", True), "issue_count takes int, and was given bool"),
        (lambda: TaskResults("one note"), "TaskResults.tickets takes a list"),  # type: ignore[arg-type]
        (
            lambda: TaskResults(notes="one note"),
            "takes a list or tuple of str or Note",
        ),
        (lambda: TaskResults(notes=[None]), r"notes[0] takes str or Note, and was given NoneType"),  # type: ignore[list-item]
        (lambda: TaskResults(tickets=iter(())), "tickets takes a list or tuple of TicketDraft"),  # type: ignore[arg-type]
        (lambda: TaskResults(tickets=[TICKET]), r"tickets[0] takes TicketDraft"),  # type: ignore[list-item]
        (lambda: TaskResults(exports=["{}"]), r"exports[0] takes ExportBody"),  # type: ignore[list-item]
        (lambda: TaskResults(findings=[FINDING]), r"findings[0] takes Finding"),  # type: ignore[list-item]
        (lambda: TaskResults(findings={}), "findings takes a list or tuple"),  # type: ignore[arg-type]
        *(
            (lambda at=at: Finding(*changed(FINDING, at, None)), f"Finding.{name} takes")
            for at, name in enumerate(Finding.__dataclass_fields__)
        ),
    ],
)
def test_a_wrong_type_is_refused_by_the_name_of_its_field(
    make: Callable[[], object], said: str
) -> None:
    with pytest.raises(TypeError, match=re.escape(said)):
        make()


@pytest.mark.parametrize(
    "make",
    [
        lambda: TicketDraft(*changed(TICKET, 3, -1)),
        lambda: TicketDraft(*TICKET, parent=2**31),
        lambda: ExportBody("{}", 2**31),
        lambda: Finding(*changed(FINDING, 0, -1)),
        lambda: Finding(*changed(FINDING, 3, 2**31)),
    ],
)
def test_a_number_that_the_database_has_no_room_for_is_refused(
    make: Callable[[], object],
) -> None:
    with pytest.raises(ValueError, match="it takes 0 to 2147483647"):
        make()


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
@pytest.mark.parametrize("field", range(3))
def test_a_text_that_the_database_cannot_store_is_refused(field: int, text: str) -> None:
    with pytest.raises(ValueError, match="which PostgreSQL cannot store"):
        TicketDraft(*changed(TICKET, field, text))


def test_what_crossed_the_process_is_not_looked_at_again() -> None:
    """A supervisor that did would unpickle all of it, for each task."""
    results = TaskResults(tickets=[TicketDraft(*TICKET)], notes=("a", "b"))
    parts = ResultParts()
    for part in results_in_parts(results):
        parts.add(part._replace(items=b"not a pickle"))
    assert len(parts.results().tickets) == 1


def test_results_cross_the_process_in_messages_of_a_moderate_size() -> None:
    """A message is held several times over, by both processes."""
    bodies = [ExportBody("x" * 180_000, 50) for _ in range(20)]
    notes = [f"note {number}" for number in range(1_000)]
    messages = list(results_in_parts(TaskResults(exports=bodies, notes=notes)))
    assert max(len(message.items) for message in messages) < 1_000_000
    assert max(message.item_count for message in messages) == ITEMS_PER_MESSAGE
    parts = ResultParts()
    for message in messages:
        parts.add(message)
    assert list(parts.results().exports) == bodies
    assert list(parts.results().notes) == notes
