"""Run a large CSV through all three tasks by the command: rows a second, and peak memory."""

from __future__ import annotations

import csv
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.machine import baseline_python

SEED = 20_261_123
ROWS = 10_000
BODY_BYTES = 1_024
WORDS = [
    "import",
    "session",
    "ticket",
    "export",
    "worker",
    "lease",
    "retry",
    "customer",
    "report",
    "deadline",
    "invoice",
    "upload",
    "calendar",
    "quarter",
    "review",
    "release",
    "window",
    "database",
    "schema",
    "index",
    "migration",
    "payload",
]


def markdown_body(source: random.Random, size: int = BODY_BYTES) -> str:
    """Return about `size` characters of typical Markdown of tickets."""
    parts: list[str] = []
    while sum(map(len, parts)) < size:
        sentence = " ".join(source.choices(WORDS, k=source.randint(8, 16)))
        start, middle = sentence[:9], sentence[9:24]
        number = source.randint(1, 9_999)
        blocks = (
            f"{sentence.capitalize()}.",
            f"## {sentence.title()[:40]}",
            f"- **{start}** {sentence}\n- `{start}` and *{middle}*",
            f"1. {sentence}\n2. see https://example.com/{number}",
            f"> {sentence}",
            f"```python\nvalue = {number}\n```",
            f"| field | value |\n|---|---|\n| {start} | {number} |",
        )
        parts.append(f"{source.choice(blocks)}\n\n")
    return "".join(parts)[:size]


def write_csv(path: Path, rows: int) -> None:
    """Write a CSV of `rows` issues, always the same."""
    source = random.Random(SEED)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["Summary", "Description", "Priority", "Labels", "Labels"])
        for row in range(rows):
            writer.writerow(
                [
                    f"Ticket {row}: {' '.join(source.choices(WORDS, k=6))}",
                    markdown_body(source),
                    source.choice(["High", "Medium", "Low"]),
                    source.choice(WORDS),
                    source.choice(WORDS),
                ]
            )


class PeakMemory(threading.Thread):
    """The peak memory of a process and its children, sampled every 50 ms.

    `pss` counts shared pages once; PostgreSQL's processes are counted separately.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._process = psutil.Process(pid)
        self._done = threading.Event()
        self.ours = 0

    def run(self) -> None:
        while not self._done.wait(0.05):
            total = 0
            for process in [self._process, *self._children()]:
                try:
                    if not process.name().startswith("postgres"):
                        total += process.memory_full_info().pss
                except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                    continue
            self.ours = max(self.ours, total)

    def _children(self) -> list[psutil.Process]:
        try:
            return self._process.children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def stop(self) -> None:
        """Stop sampling."""
        self._done.set()
        self.join()


def measure(rows: int = ROWS) -> dict[str, Any]:
    """Run the command and report its time and memory; the same for another checkout.

    `SESSION_TASKS_BENCH_BASELINE` names the Python of that checkout's environment.
    """
    report: dict[str, Any] = {"rows": rows, "seed": SEED, "ours": _run(sys.executable, rows)}
    if baseline := baseline_python():
        report["baseline"] = _run(baseline, rows)
        for what in ("seconds", "cpu_seconds"):
            ratio = report["ours"][what] / report["baseline"][what]
            report[f"ours over baseline, {what}"] = round(ratio, 2)
    return report


def _run(python: str, rows: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="session-tasks-bench-") as folder:
        source = Path(folder) / "issues.csv"
        write_csv(source, rows)
        environment = dict(os.environ)
        # The embedded server with PostgreSQL's default durability, unless one is given.
        environment.setdefault("SESSION_TASKS_DATA_DIR", str(Path(folder) / "data"))
        command = Path(python).with_name("session-tasks")
        subprocess.run([command, "list"], env=environment, check=True, capture_output=True)
        cpu_before = _cpu_seconds()
        begun = time.perf_counter()
        process = subprocess.Popen(
            [command, "run", source, "--out", Path(folder) / "out", "--project", "BENCH", "--json"],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        memory = PeakMemory(process.pid)
        memory.start()
        output, _ = process.communicate()
        seconds = time.perf_counter() - begun
        memory.stop()
        if process.returncode != 0:
            message = f"the command ended with {process.returncode}: {output[-2000:]}"
            raise RuntimeError(message)
        report = json.loads(output)
        return {
            "megabytes_of_csv": round(source.stat().st_size / 1e6, 1),
            "seconds": round(seconds, 1),
            "cpu_seconds": round(_cpu_seconds() - cpu_before, 1),
            "rows_per_second": round(rows / seconds),
            "peak_megabytes_ours": round(memory.ours / 1e6),
            "tickets_and_bodies": [report["counts"]["tickets"], report["counts"]["exports"]],
        }


def _cpu_seconds() -> float:
    """CPU time of the processes that have ended: the command and its children, not the server.

    A busy machine changes it less than the time that passes.
    """
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
