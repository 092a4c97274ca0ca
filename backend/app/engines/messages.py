"""What a supervisor and its child process say to each other, over one private socket pair.

::

    supervisor → child    Setup, then for each task Assignment, and Stop (of that task)
    child → supervisor    Ready, then for each task Begun, Limited, Progress, Produced…, Ended

An exception never travels: the child turns it into a failure context, which is plain JSON.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from app.models.results import TaskResults

if TYPE_CHECKING:
    import uuid

    from app.core.config import Settings
    from app.engines.execution import Outcome
    from app.tasks.context import TaskIdentity

ITEMS_PER_MESSAGE = 250

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Setup:
    """What a child needs once.

    Attributes:
        url: of the database.
        warm_up: modules to import before the first task.
        log_level: of the supervisor; None: it has not set up logging, so the child does not.

    """

    settings: Settings
    url: str
    warm_up: tuple[str, ...]
    log_level: int | None


@dataclass(frozen=True, slots=True)
class Assignment:
    """One task to run, by the handler that `reference` names."""

    identity: TaskIdentity
    reference: str
    worker: str


@dataclass(frozen=True, slots=True)
class Stop:
    """The task is to stop, if it still runs."""

    task_id: uuid.UUID


@dataclass(frozen=True, slots=True)
class Ready:
    """The child has started and waits for tasks."""


@dataclass(frozen=True, slots=True)
class Begun:
    """The child has the assignment: from here on its death is the task's."""


@dataclass(frozen=True, slots=True)
class Limited:
    """The handler may run this long, in place of the setting."""

    max_run_seconds: float


@dataclass(frozen=True, slots=True)
class Produced:
    """Some of the items of one field of the results, pickled."""

    name: str
    count: int
    items: bytes


@dataclass(frozen=True, slots=True)
class Ended:
    """The run is over; the results of the outcome are what was `Produced`."""

    outcome: Outcome


def results_in_parts(results: TaskResults) -> Iterator[Produced]:
    """Return the results as messages of a moderate size."""
    for part in fields(results):
        items = getattr(results, part.name)
        for start in range(0, len(items), ITEMS_PER_MESSAGE):
            batch = list(items[start : start + ITEMS_PER_MESSAGE])
            yield Produced(part.name, len(batch), pickle.dumps(batch, pickle.HIGHEST_PROTOCOL))


class PickledItems(Sequence[Item], Generic[Item]):
    """Items that stay pickled until they are iterated over, a few hundred at a time.

    A supervisor may hold the results of many tasks; as UTF-8 they take a fraction of the memory.
    """

    def __init__(self, batches: Sequence[Produced]) -> None:
        self._batches = batches
        self._count = sum(batch.count for batch in batches)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Item]:
        for batch in self._batches:
            yield from pickle.loads(batch.items)  # noqa: S301 - our own child process wrote it

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | Sequence[Item]:
        return list(self)[index]


@dataclass(slots=True)
class ResultParts:
    """Collects `Produced` messages; `results` is what they make up."""

    _batches: dict[str, list[Produced]] = field(default_factory=dict)

    def add(self, produced: Produced) -> None:
        """Take one message more."""
        self._batches.setdefault(produced.name, []).append(produced)

    def results(self) -> TaskResults:
        """Return the results so far."""
        parts: dict[str, Any] = {
            name: PickledItems[Any](batches) for name, batches in self._batches.items()
        }
        return replace(TaskResults(), **parts)
