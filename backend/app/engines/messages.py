"""The messages between a supervisor and its child process, over a private socket pair.

::

    supervisor → child    Setup, then Assignments; Stop (one task), RETURN_UNSTARTED
    child → supervisor    READY, then for each task STARTED, Limited, Progress, Produced…, and
                          COMPLETED or Ended; ReturnedUnstarted

Several messages are sent in one write: the end of a task and the start of the next are reported
together, so that a death always belongs to one of the two. There are thousands a second, so they
are words and tuples, and ids are bytes: pickling a dataclass takes many times as long.

Exceptions are never sent: the child turns them into failure contexts, which are plain JSON.
"""

from __future__ import annotations

import collections
import pickle
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar, overload

from app.values.results import CheckedItems, TaskResults

if TYPE_CHECKING:
    import socket
    import uuid
    from collections.abc import Mapping

    from app.core.config import Settings
    from app.engines.execution import Outcome
    from app.values.states import TaskType

ITEMS_PER_MESSAGE = 250
FIRST_ITEMS = 4
BYTES_PER_MESSAGE = 1 << 19
"""About so much, as a message is held several times over while it is sent and read."""

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Setup:
    """The first message to a child.

    Attributes:
        conninfo: libpq's, of the database.
        references: the handler of each task type, as `package.module:function`.
        worker: the supervisor's id.
        log_level: the supervisor's; None: it has not set up logging, so the child does not.

    """

    settings: Settings
    conninfo: str
    references: Mapping[TaskType, str]
    worker: str
    log_level: int | None


class Assignment(NamedTuple):
    """One task to run.

    Attributes:
        claim_token: the token with which the run may store steps.
        begin_before: by the monotonic clock, which all processes of a machine share: after it the
            lease may have ended, and the task must not begin.

    """

    session_id: bytes
    task_id: bytes
    task_type: str
    attempt: int
    claim_token: bytes
    begin_before: float


class Assignments(NamedTuple):
    """Tasks to run one after another, in this order."""

    tasks: Sequence[Assignment]


class ControlMessage(Enum):
    """Messages of one word."""

    READY = "the child has started and waits for tasks"
    STARTED = "the child begins the next task: from here on its death is that task's"
    COMPLETED = "the handler returned; its results are what was `Produced`"
    RETURN_UNSTARTED = (
        "tasks that have not begun are wanted back: the one before them takes its time"
    )


class Stop(NamedTuple):
    """The task must stop, if it is still running."""

    task_id: uuid.UUID


class ReturnedUnstarted(NamedTuple):
    """This many tasks will not begin: the last assigned ones."""

    task_count: int


class Limited(NamedTuple):
    """The handler may run this long, instead of the setting."""

    max_run_seconds: float


class Produced(NamedTuple):
    """Some of the items of one field of the results, pickled."""

    name: str
    item_count: int
    items: bytes


class Ended(NamedTuple):
    """The run ended in another way; its results are those `Produced`."""

    outcome: Outcome


_PICKLED: dict[tuple[object, ...], bytes] = {
    words: pickle.dumps(words, pickle.HIGHEST_PROTOCOL)
    for words in (
        (ControlMessage.STARTED,),
        (ControlMessage.COMPLETED,),
        (ControlMessage.COMPLETED, ControlMessage.STARTED),
    )
}
"""The message for every light task, pickled once."""

_SAID = {pickled: words for words, pickled in _PICKLED.items()}
_LONGEST = max(map(len, _SAID))


_HEAD = struct.Struct("!Q")
"""The header of a write: its length in bytes."""

_BYTES_AT_ONCE = 1 << 16


class Channel:
    """One end of the socket pair; one thread reads, and one at a time sends."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._unread = bytearray()
        self._sent_together: collections.deque[bytes] = collections.deque()

    def fileno(self) -> int:
        """Its descriptor, to wait for messages; -1 once it is closed."""
        return self._end.fileno()

    def close(self) -> None:
        """Close this end; may be called again."""
        self._end.close()

    def send(self, *messages: object) -> None:
        """Send the messages together.

        Raises:
            OSError: the other end is closed.

        """
        is_words = all(isinstance(message, ControlMessage) for message in messages)
        pickled = _PICKLED.get(messages) if is_words else None
        pickled = pickled or pickle.dumps(messages, pickle.HIGHEST_PROTOCOL)
        self._end.sendall(_HEAD.pack(len(pickled)) + pickled)

    @property
    def has_read(self) -> bool:
        """Return whether `receive` has messages that were read before."""
        return bool(self._sent_together)

    def receive(self) -> tuple[object, ...]:
        """Return messages that were sent together, or nothing if they are incomplete.

        Waits for data, if nothing was read before. All data that has arrived is read at once: a
        system call takes longer than a message.

        Raises:
            EOFError: the other end is closed.
            OSError: the other end, or this one, is closed.

        """
        if not self._sent_together:
            arrived = self._end.recv(_BYTES_AT_ONCE)
            if not arrived:
                raise EOFError
            self._unread += arrived
            self._divide()
        return _understood(self._sent_together.popleft()) if self._sent_together else ()

    def _divide(self) -> None:
        start = 0
        while (begin := start + _HEAD.size) <= len(self._unread):
            end = begin + _HEAD.unpack_from(self._unread, start)[0]
            if end > len(self._unread):
                break
            self._sent_together.append(bytes(self._unread[begin:end]))
            start = end
        del self._unread[:start]


def _understood(pickled: bytes) -> tuple[object, ...]:
    words = _SAID.get(pickled) if len(pickled) <= _LONGEST else None
    return words or pickle.loads(pickled)  # noqa: S301 - our own other half wrote it


def results_in_parts(results: TaskResults) -> Iterator[Produced]:
    """Return the results as messages of moderate size."""
    for part in fields(results):
        items = getattr(results, part.name)
        start, size = 0, FIRST_ITEMS
        while batch := list(items[start : start + size]):
            pickled = pickle.dumps(batch, pickle.HIGHEST_PROTOCOL)
            yield Produced(part.name, len(batch), pickled)
            start += size
            fitting = size * BYTES_PER_MESSAGE // len(pickled)
            size = max(1, min(2 * size, fitting, ITEMS_PER_MESSAGE))


class PickledItems(CheckedItems[Item], Generic[Item]):
    """Items that stay pickled until they are iterated over, some hundreds at a time.

    A supervisor may hold the results of many tasks; as UTF-8 they take a fraction of the memory.
    """

    def __init__(self, batches: Sequence[Produced]) -> None:
        self._batches = batches
        self._count = sum(batch.item_count for batch in batches)
        self.byte_count = sum(len(batch.items) for batch in batches)

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
    """Collects `Produced` messages; `results` joins them."""

    _batches: dict[str, list[Produced]] = field(default_factory=dict)

    def add(self, produced: Produced) -> None:
        """Add a message."""
        self._batches.setdefault(produced.name, []).append(produced)

    def __bool__(self) -> bool:
        return bool(self._batches)

    def results(self) -> TaskResults:
        """Return the results so far."""
        parts: dict[str, Any] = {
            name: PickledItems[Any](batches) for name, batches in self._batches.items()
        }
        return replace(TaskResults(), **parts)
