"""Import files on a disk: each session's in a directory of its own, written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.core.errors import OutputError
from app.core.wording import short_id

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from uuid import UUID

    from app.models.results import ExportBody


@dataclass(frozen=True, slots=True)
class WrittenExport:
    """Where a session's import lies, and how much it is."""

    directory: Path
    files: tuple[Path, ...]
    issue_count: int
    byte_count: int


class OutputDirectory:
    """A directory that can be written: `DIR/<session>/import-001.json`, and so on.

    The session is part of the path so that files of two sessions never mix: whoever sends
    `import-*.json` to Jira sends one session's import.
    """

    def __init__(self, path: Path) -> None:
        """Make the directory if need be, and see that it can be written.

        Raises:
            OutputError: it cannot.

        """
        self._path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=path) as probe:
                probe.write(b"can this be written?")
                probe.flush()
        except OSError as error:
            raise OutputError(
                f"Nothing can be written to {path}: {_reason(path, error)}",
                next_step="Name a directory that you may write: --out DIR.",
            ) from error

    def write(self, session_id: UUID, bodies: Iterable[ExportBody]) -> WrittenExport:
        """Write each body to a file; all of them appear under their names, or none does.

        Raises:
            OutputError: the disk is full, say; the export is still in the database.

        """
        directory = self._path / short_id(session_id)
        parts: list[tuple[Path, Path]] = []
        issues = 0
        size = 0
        try:
            directory.mkdir(exist_ok=True)
            for number, body in enumerate(bodies, 1):
                path = directory / f"import-{number:03}.json"
                part = directory / f".{path.name}.{os.getpid()}.part"
                parts.append((part, path))
                size += _write(part, body.body)
                issues += body.issue_count
            for part, path in parts:
                part.replace(path)
        except OSError as error:
            _remove(parts, directory)
            raise OutputError(
                f"The import could not be written to {directory}: {_reason(directory, error)}",
                next_step="It is safe in the database; write it where there is room: "
                f"session-tasks export {short_id(session_id)} --out DIR",
                session_id=session_id,
            ) from error
        except BaseException:
            _remove(parts, directory)
            raise
        return WrittenExport(directory, tuple(path for _, path in parts), issues, size)


def _write(path: Path, text: str) -> int:
    content = text.encode() + b"\n"
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())  # a full disk may show itself only now
    return len(content)


def _remove(parts: Iterable[tuple[Path, Path]], directory: Path) -> None:
    """Take away what was half written; the error on its way out is the one to hear about."""
    with suppress(OSError):
        for part, _ in parts:
            part.unlink(missing_ok=True)
        directory.rmdir()  # only if nothing else lies in it


def _reason(path: Path, error: OSError) -> str:
    if isinstance(error, (FileExistsError, NotADirectoryError)):
        return f"{error.filename or path} is a file, not a directory"
    return error.strerror or str(error)
