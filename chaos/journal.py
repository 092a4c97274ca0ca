"""What processes under test write down before they die: one line each, appended at once."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

PATH = "CHAOS_JOURNAL"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: when (seconds since 1970), what, who, and about which run or point."""

    at: float
    word: str
    pid: int
    parent: int
    subject: tuple[str, ...]


def write(word: str, *subject: object) -> None:
    """Append a line; a short O_APPEND write is whole or not there (write(2))."""
    path = os.environ.get(PATH)
    if path is None:
        return
    fields = (f"{time.time():.6f}", word, os.getpid(), os.getppid(), *subject)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, ("\t".join(map(str, fields)) + "\n").encode())
    finally:
        os.close(descriptor)


def read(path: Path) -> list[Entry]:
    """Every line so far, in the order of writing."""
    if not path.exists():
        return []
    entries = []
    for line in path.read_text().splitlines():
        at, word, pid, parent, *subject = line.split("\t")
        entries.append(Entry(float(at), word, int(pid), int(parent), tuple(subject)))
    return entries
