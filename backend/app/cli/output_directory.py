"""Write a session's import files into a directory of its own: all of them, or none."""

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
    """Where a session's import was written, and its size.

    Attributes:
        files: the bodies for Jira, in order; `byte_count` is their size.
        is_delivered: whether the issues are in Jira: the bodies are what was sent.

    """

    directory: Path
    files: tuple[Path, ...]
    issue_count: int
    byte_count: int
    is_delivered: bool = False

    @property
    def report(self) -> Path:
        """The table of all tickets and their positions in the files."""
        return self.directory / REPORT

    @property
    def readme(self) -> Path:
        """A text that says what the files are and how to use them."""
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
    """A writable directory: `DIR/<session>/import-001.json`, and so on.

    The session is part of the path so that files of two sessions never mix: `import-*.json` is
    always one session's import.
    """

    def __init__(self, path: Path) -> None:
        """Create the directory if need be, and check that it is writable.

        Raises:
            OutputError: it is not.

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
        """Write all files; either all appear under their names, or none does.

        Raises:
            OutputError: the disk is full, for example; the export is still in the database.

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
                next_step="It is safe in the database; write it to a disk with enough space: "
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
        os.fsync(file.fileno())  # may be the first call that fails on a full disk
        return file.tell()


def _remove(parts: Iterable[tuple[Path, Path]], directory: Path) -> None:
    """Remove partly written files, and ignore errors: the caller is already raising one."""
    with suppress(OSError):
        for part, _ in parts:
            part.unlink(missing_ok=True)
        directory.rmdir()  # only if it is empty


def _reason(path: Path, error: OSError) -> str:
    if isinstance(error, (FileExistsError, NotADirectoryError)):
        return f"{error.filename or path} is a file, not a directory"
    return error.strerror or str(error)
