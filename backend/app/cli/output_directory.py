"""Import files on a disk: each session's in a directory of its own, written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.core.errors import OutputError
from app.core.wording import short_id
from app.presentation.import_files import ISSUES, README, REPORT, SCRIPT

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from uuid import UUID

    from app.presentation.import_files import ImportFile


@dataclass(frozen=True, slots=True)
class WrittenExport:
    """Where a session's import lies, and how much it is.

    Attributes:
        files: the bodies for Jira, in order; `byte_count` is theirs.
        is_delivered: whether the issues are in Jira: the bodies are what was sent.

    """

    directory: Path
    files: tuple[Path, ...]
    issue_count: int
    byte_count: int
    is_delivered: bool = False

    @property
    def report(self) -> Path:
        """The table of all tickets and their places in the files."""
        return self.directory / REPORT

    @property
    def readme(self) -> Path:
        """What the files are, and what to do with them."""
        return self.directory / README

    @property
    def script(self) -> Path | None:
        """The script that sends the files to Jira; None if they were sent."""
        return None if self.is_delivered else self.directory / SCRIPT

    @property
    def issues(self) -> Path | None:
        """The table of the issues in Jira; None if none was created."""
        return self.directory / ISSUES if self.is_delivered else None


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

    def write(self, session_id: UUID, files: Iterable[ImportFile]) -> WrittenExport:
        """Write all files; they all appear under their names, or none does.

        Raises:
            OutputError: the disk is full, say; the export is still in the database.

        """
        directory = self._path / short_id(session_id)
        parts: list[tuple[Path, Path]] = []
        bodies: list[Path] = []
        issues = 0
        size = 0
        try:
            directory.mkdir(exist_ok=True)
            for file in files:
                path = directory / file.name
                part = directory / f".{path.name}.{os.getpid()}.part"
                parts.append((part, path))
                written = _write(part, file.parts)
                if path.suffix == ".json":
                    bodies.append(path)
                    size += written
                    issues += file.issue_count
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
        is_delivered = any(path.name == ISSUES for _part, path in parts)
        return WrittenExport(directory, tuple(bodies), issues, size, is_delivered)


def _write(path: Path, parts: Iterable[bytes]) -> int:
    with path.open("wb") as file:
        file.writelines(parts)
        file.flush()
        os.fsync(file.fileno())  # a full disk may show itself only now
        return file.tell()


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
