"""What a supervisor and its child process say to each other, over one private socket pair.

::

    supervisor → child    Setup, then Assignments; Stop (of one task), Recall (of what waits)
    child → supervisor    Ready, then for each task Begun, Limited, Progress, Produced…, Ended;
                          Recalled

What is sent is a list of messages, in one write: that a task has ended and that the next has begun
is told together, so that a death between them always belongs to one of the two.

An exception never travels: the child turns it into a failure context, which is plain JSON.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar, overload

from app.models.results import TaskResults

if TYPE_CHECKING:
    import uuid
    from collections.abc import Mapping

    from app.core.config import Settings
    from app.engines.execution import Outcome
    from app.models.session import TaskType

ITEMS_PER_MESSAGE = 250

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Setup:
    """What a child needs once.

    Attributes:
        url: of the database.
        references: the handler of each task type, as `package.module:function`.
        worker: the supervisor's id.
        log_level: of the supervisor; None: it has not set up logging, so the child does not.

    """

    settings: Settings
    url: str
    references: Mapping[TaskType, str]
    worker: str
    log_level: int | None


class Assignment(NamedTuple):
    """One task to run, in what is quickest to pickle: the ids as bytes.

    Attributes:
        begin_before: by the monotonic clock, which all processes of a machine share: past it the
            lease may have ended, and the task is not begun.

    """

    session_id: bytes
    task_id: bytes
    task_type: str
    attempt: int
    begin_before: float


@dataclass(frozen=True, slots=True)
class Assignments:
    """Tasks to run one after another, in this order."""

    tasks: Sequence[Assignment]


@dataclass(frozen=True, slots=True)
class Stop:
    """The task is to stop, if it still runs."""

    task_id: uuid.UUID


@dataclass(frozen=True, slots=True)
class Recall:
    """Tasks that have not begun are wanted back: the one before them takes its time."""


@dataclass(frozen=True, slots=True)
class Recalled:
    """So many tasks will not be begun: the last that were assigned."""

    count: int


@dataclass(frozen=True, slots=True)
class Ready:
    """The child has started and waits for tasks."""


@dataclass(frozen=True, slots=True)
class Begun:
    """The child begins the next task: from here on its death is that task's."""


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
    """The run is over; the results of the outcome are what was `Produced`.

    None, which is quicker to pickle, where it completed.
    """

    outcome: Outcome | None


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

    def __bool__(self) -> bool:
        return bool(self._batches)

    def results(self) -> TaskResults:
        """Return the results so far."""
        parts: dict[str, Any] = {
            name: PickledItems[Any](batches) for name, batches in self._batches.items()
        }
        return replace(TaskResults(), **parts)
