"""A journal for processes under test that may be killed: each entry is one atomic append."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

PATH = "CHAOS_JOURNAL"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: the time (seconds since 1970), the event, the process, and the run or point."""

    at: float
    word: str
    pid: int
    parent: int
    subject: tuple[str, ...]


def write(word: str, *subject: object) -> None:
    """Append a line; a short O_APPEND write is atomic (write(2))."""
    path = os.environ.get(PATH)
    if path is None:
        return
    fields = (f"{time.time():.6f}", word, os.getpid(), os.getppid(), *subject)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, ("\t".join(map(str, fields)) + "\n").encode())
    finally:
        os.close(descriptor)


class Reader:
    """Reads the entries so far; each line is read only once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._by_word: dict[str, list[Entry]] = {}
        self._lock = threading.Lock()

    def entries(self, word: str) -> list[Entry]:
        """Return all entries with this word, in order."""
        with self._lock:
            self._read_on()
            return list(self._by_word.get(word, ()))

    def _read_on(self) -> None:
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            fresh = file.read()
        self._offset += len(fresh)
        for line in fresh.decode().splitlines():
            at, word, pid, parent, *subject = line.split("\t")
            entry = Entry(float(at), word, int(pid), int(parent), tuple(subject))
            self._by_word.setdefault(word, []).append(entry)
