"""The text of any exception: its name, its message, its traceback.

The standard library's `traceback` asks the exception for all of that and raises, or prints
without bounds, where the exception lies or is huge. Here the interpreter's own slots are read,
past any method or property of the class, and everything has a bound.

The texts are safe for JSON and terminals. A traceback is redacted too, since its parts are cut
and no cut may come before the redaction; a message is whole, and its writer redacts it.
"""

from __future__ import annotations

import linecache
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from app.core.json_safety import ask, cut_middle, json_safe, safe_text, type_name, window
from app.core.redaction import redact_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

_FIRST_FRAMES: Final = 6
_LAST_FRAMES: Final = 18
_MAX_CHAIN: Final = 6
_MAX_GROUP_DEPTH: Final = 3
_MAX_GROUP_MEMBERS: Final = 5
_MAX_NOTES: Final = 5
_LINE_BYTES: Final = 600
_CAUSE_BYTES: Final = 4_000

_SLOTS: Final = BaseException.__dict__

_CAUSE = "The above exception was the direct cause of the following exception:"
_CONTEXT = "During handling of the above exception, another exception occurred:"


def exception_message(error: BaseException) -> str:
    """Return what the exception says; where it cannot speak, its arguments; never empty."""
    text = ask(lambda: window(str.__str__(str(error))), None)
    if text is None:
        arguments = json_safe(_SLOTS["args"].__get__(error))
        return f"{type_name(error)}, whose message cannot be read; its arguments: {arguments}"
    return safe_text(text) if text.strip() else f"{type_name(error)}, without a message"


def exception_attribute(error: BaseException, name: str) -> Any:
    """Return the exception's attribute; None where it has none or raises when asked."""
    return ask(lambda: getattr(error, name, None), None)


def exception_traceback(error: BaseException) -> str:
    """Return the exception as Python prints it, with frames and causes, oldest first.

    Of each exception the first 6 and last 18 frames, of a chain the last 6 exceptions, of a
    group 5 members. Never raises.
    """
    return "\n".join(_lines_of(error, depth=0))


def _lines_of(error: BaseException, depth: int) -> Iterator[str]:
    chain, left_out = _chain(error)
    if left_out:
        yield "… earlier exceptions left out …\n"
    for index, (link, why) in enumerate(chain):
        is_last = index == len(chain) - 1
        yield from _own_lines(link, _LINE_BYTES if is_last else _CAUSE_BYTES, depth)
        if not is_last:
            yield f"\n{why}\n"


def _chain(error: BaseException) -> tuple[list[tuple[BaseException, str]], bool]:
    """Return the causes, oldest first, each with the words that lead on; a cycle ends them."""
    chain: deque[tuple[BaseException, str]] = deque([(error, "")])
    seen = {id(error)}
    while True:
        current = chain[0][0]
        cause = _SLOTS["__cause__"].__get__(current)
        is_hidden = _SLOTS["__suppress_context__"].__get__(current)
        context = None if is_hidden else _SLOTS["__context__"].__get__(current)
        before = cause if cause is not None else context
        if before is None or id(before) in seen:
            return list(chain), False
        if len(chain) == _MAX_CHAIN:
            return list(chain), True
        seen.add(id(before))
        chain.appendleft((before, _CAUSE if cause is not None else _CONTEXT))


def _own_lines(error: BaseException, message_bytes: int, depth: int) -> Iterator[str]:
    """One exception: its frames, the line that names it, its notes, a group's members."""
    trace = _SLOTS["__traceback__"].__get__(error)
    if trace is not None:
        yield "Traceback (most recent call last):"
        yield from _frame_lines(trace)
    yield f"{type_name(error)}: {_short(exception_message(error), message_bytes)}"
    for note in _notes(error):
        yield _short(note)
    if issubclass(type(error), BaseExceptionGroup):
        yield from _member_lines(error, depth + 1)


def _frame_lines(trace: TracebackType) -> Iterator[str]:
    frames = _frames(trace)
    yield from (_frame_text(frame) for frame in islice(frames, _FIRST_FRAMES))
    count = 0
    last: deque[TracebackType] = deque(maxlen=_LAST_FRAMES)
    for frame in frames:
        last.append(frame)
        count += 1
    if count > _LAST_FRAMES:
        yield f"  … {count - _LAST_FRAMES:,} frames left out …"
    yield from (_frame_text(frame) for frame in last)


def _frames(trace: TracebackType | None) -> Iterator[TracebackType]:
    while trace is not None:
        yield trace
        trace = trace.tb_next


def _frame_text(trace: TracebackType) -> str:
    code = trace.tb_frame.f_code
    place = f'  File "{code.co_filename}", line {trace.tb_lineno}, in {code.co_name}'
    source = ask(lambda: linecache.getline(code.co_filename, trace.tb_lineno).strip(), "")
    text = f"{place}\n    {source}" if source else place
    return _short(safe_text(text))


def _short(text: str, limit: int = _LINE_BYTES) -> str:
    return cut_middle(redact_text(text), limit)


def _notes(error: BaseException) -> list[str]:
    notes = json_safe(exception_attribute(error, "__notes__"))
    if not isinstance(notes, list):
        return []
    return [note for note in notes[:_MAX_NOTES] if isinstance(note, str)]


def _member_lines(error: BaseException, depth: int) -> Iterator[str]:
    members = group_members(error)
    for number, member in enumerate(members[:_MAX_GROUP_MEMBERS], 1):
        yield f"  +---------------- {number} of {len(members)} ----------------"
        if depth >= _MAX_GROUP_DEPTH:
            yield f"  | {type_name(member)}: {_short(exception_message(member), 200)}"
            continue
        for lines in _lines_of(member, depth):
            yield "\n".join(f"  | {line}" for line in lines.split("\n"))


def group_members(error: BaseException) -> tuple[BaseException, ...]:
    """Return the exceptions of an exception group; none for any other exception."""
    if not issubclass(type(error), BaseExceptionGroup):
        return ()
    members: tuple[BaseException, ...] = BaseExceptionGroup.__dict__["exceptions"].__get__(error)
    return members
