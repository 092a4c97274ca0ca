"""Read files from a disk, without ever blocking on a pipe or device."""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from app.core.errors import DocumentError, IntakeRefused
from app.core.wording import count_text
from app.repositories.content_reader import IncomingDocument
from app.tasks.documents.decoding import kind_of

if TYPE_CHECKING:
    from collections.abc import Sequence

_CHUNK_BYTES = 1024 * 1024


def read_files(
    paths: Sequence[Path], *, max_bytes: int, max_documents: int
) -> list[IncomingDocument]:
    """Read the files, in the order given.

    A document is named after its file; if several files have the same name, by as much of their
    paths as distinguishes them (`api/README.md`, `web/README.md`). Only regular files are opened,
    and none is read beyond `max_bytes`.

    Raises:
        DocumentError: no files or too many; one that is missing, unreadable, empty, too big, of
            an unknown type, not a regular file, or given twice.
        IntakeRefused: several of these; all files were checked.

    """
    usable, problems = _usable(paths, max_bytes, max_documents)
    documents = [] if problems else _read_all(usable, max_bytes, problems)
    if problems:
        raise IntakeRefused(problems) if len(problems) > 1 else problems[0]
    return [document for _path, document in documents]


def read_usable_files(
    paths: Sequence[Path], *, max_bytes: int, max_documents: int
) -> tuple[list[tuple[Path, IncomingDocument]], list[DocumentError]]:
    """Read the files that can be read, as `read_files` does, and return the others' problems.

    Raises:
        DocumentError: no files or too many.

    """
    usable, problems = _usable(paths, max_bytes, max_documents)
    return _read_all(usable, max_bytes, problems), problems


def _usable(
    paths: Sequence[Path], max_bytes: int, max_documents: int
) -> tuple[list[Path], list[DocumentError]]:
    """Return the files that may be read, without opening any, and the others' problems.

    Raises:
        DocumentError: no files or too many.

    """
    if not paths:
        raise DocumentError("No documents were given", next_step="Name at least one file.")
    if len(paths) > max_documents:
        given = count_text(len(paths), "document")
        raise DocumentError(
            f"{given} are more than the {max_documents:,} that a session may have",
            next_step="Use several sessions, or raise the limit: SESSION_TASKS_MAX_DOCUMENTS.",
        )
    seen: dict[tuple[int, int], Path] = {}
    usable: list[Path] = []
    problems: list[DocumentError] = []
    for path in paths:
        try:
            _note_once(path, _checked(path, max_bytes), seen)
        except DocumentError as error:
            problems.append(error)
        else:
            usable.append(path)
    return usable, problems


def _read_all(
    paths: Sequence[Path], max_bytes: int, problems: list[DocumentError]
) -> list[tuple[Path, IncomingDocument]]:
    """Read the files, and add the problems of those that cannot be read after all."""
    read: list[tuple[Path, bytes]] = []
    for path in paths:
        try:
            read.append((path, _read(path, max_bytes)))
        except DocumentError as error:
            problems.append(error)
    names = _distinct_names([path for path, _content in read])
    return [
        (path, IncomingDocument(name, content))
        for name, (path, content) in zip(names, read, strict=True)
    ]


def _note_once(path: Path, identity: tuple[int, int], seen: dict[tuple[int, int], Path]) -> None:
    if identity in seen:
        raise DocumentError(
            _given_twice(seen[identity], path), name=_shown(path), next_step="Give it once."
        )
    seen[identity] = path


def _given_twice(first: Path, second: Path) -> str:
    if first == second:
        return f"{_shown(first)} is given twice"
    return f"{_shown(first)} and {_shown(second)} are the same file"


def _checked(path: Path, max_bytes: int) -> tuple[int, int]:
    """Return the file's identity (device, inode) if it may be read, without opening it."""
    name = _shown(path)
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    _refuse_irregular(name, status.st_mode)
    kind_of(name)
    if status.st_size > max_bytes:
        raise _too_big(name, max_bytes, status.st_size)
    return status.st_dev, status.st_ino


def _read(path: Path, max_bytes: int) -> bytes:
    name = _shown(path)
    try:
        # Without O_NONBLOCK, a pipe that replaced the file meanwhile would block.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        with os.fdopen(handle, "rb", buffering=0) as file:
            _refuse_irregular(name, os.fstat(handle).st_mode)
            content = bytearray()
            # The size may be wrong (`/proc`), or grow meanwhile: reading one byte more shows it.
            while chunk := file.read(min(_CHUNK_BYTES, max_bytes + 1 - len(content))):
                content += chunk
    except OSError as error:
        raise _unreadable(path, error) from error
    if len(content) > max_bytes:
        raise _too_big(name, max_bytes)
    if not content:
        raise DocumentError(
            f"{name} is empty", name=name, next_step="Leave it out, or fill it and try again."
        )
    return bytes(content)


def _refuse_irregular(name: str, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise DocumentError(
            f"{name} is a directory",
            name=name,
            next_step=f"Name the files in it: {name.rstrip('/')}/*.md",
        )
    if not stat.S_ISREG(mode):
        kinds = (
            (stat.S_ISFIFO, "a pipe"),
            (stat.S_ISSOCK, "a socket"),
            (stat.S_ISCHR, "a device"),
            (stat.S_ISBLK, "a device"),
        )
        what = next((word for test, word in kinds if test(mode)), "no regular file")
        raise DocumentError(
            f"{name} is {what}, not a file",
            name=name,
            next_step="Save its content to a file, and give that.",
        )


def _unreadable(path: Path, error: OSError | ValueError) -> DocumentError:
    name = _shown(path)
    if isinstance(error, FileNotFoundError):
        message, next_step = f"{name} does not exist", "Check the path."
    elif isinstance(error, PermissionError):
        message = f"{name} may not be read by this user"
        next_step = "Grant permission to read it, or copy it to a readable place."
    else:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        message, next_step = f"{name} cannot be read: {reason}", "Check the path and the disk."
    return DocumentError(message, name=name, next_step=next_step)


def _too_big(name: str, max_bytes: int, size: int | None = None) -> DocumentError:
    is_ = f"has {size:,} bytes" if size is not None else "is too big"
    return DocumentError(
        f"{name} {is_}; a document may have {max_bytes:,}",
        name=name,
        next_step="Split it, or raise the limit: SESSION_TASKS_MAX_DOCUMENT_BYTES.",
    )


def _distinct_names(paths: Sequence[Path]) -> list[str]:
    """Name each path by its last part, or by as many of its last parts as distinguish it."""
    absolute = [Path(os.path.abspath(path)) for path in paths]  # noqa: PTH100 - no links followed
    same_name: dict[str, list[PurePath]] = defaultdict(list)
    for path in absolute:
        same_name[path.name].append(path)
    depths = {name: _distinct_depth(group) for name, group in same_name.items()}
    names: list[str] = []
    for path in absolute:
        names.append(_unused(_storable("/".join(path.parts[-depths[path.name] :])), names))
    return names


def _distinct_depth(paths: Sequence[PurePath]) -> int:
    deepest = max(len(path.parts) for path in paths)
    return next(
        (
            depth
            for depth in range(1, deepest)
            if len({path.parts[-depth:] for path in paths}) == len(paths)
        ),
        deepest,
    )


def _unused(name: str, used: Sequence[str]) -> str:
    """Return a distinct name where names differ only in bytes that cannot be stored."""
    path, number = PurePath(name), 2
    while name in used:
        name = str(path.with_name(f"{path.stem} ({number}){path.suffix}"))
        number += 1
    return name


def _shown(path: Path) -> str:
    return _storable(str(path))


def _storable(name: str) -> str:
    """Return the name without invalid bytes and control characters."""
    text = os.fsencode(name).decode("utf-8", "replace")
    return "".join(character if character.isprintable() else "\ufffd" for character in text)
