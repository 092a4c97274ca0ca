"""A task that takes too much memory ends alone, and its failure says so."""

from __future__ import annotations

import resource
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from app.engines import memory
from app.engines.memory import EXIT_TOO_LARGE, died_of_memory, peak_megabytes
from tests.engines import hostile_office

if TYPE_CHECKING:
    from uuid import UUID

    from app.models.session import SessionTask

LIMIT = 300


@pytest.fixture
def bench_of_little_memory(bench: Any) -> Any:
    bench.settings = bench.settings.model_copy(update={"max_task_memory_mb": LIMIT})
    return bench


def failure(bench: Any, session_id: UUID) -> dict[str, Any]:
    task: SessionTask = bench.until_status(session_id, "failed")
    assert task.failure_context is not None
    return task.failure_context


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel keeps to the limit on Linux only")
@pytest.mark.parametrize(
    "how",
    [
        {},  # Python is refused: MemoryError
        {"megabytes": LIMIT // 2, "end": "abort"},  # as libraries do whose allocation fails
        {"megabytes": LIMIT - 60, "end": "kill"},  # as the kernel does
    ],
    ids=["MemoryError", "abort", "kill"],
)
def test_a_task_too_large_for_memory_is_reported_as_that(
    bench_of_little_memory: Any, how: dict[str, Any]
) -> None:
    bench = bench_of_little_memory
    session_id, next_one = bench.session("take_memory", **how), bench.session("make_tickets")
    bench.worker(sweeps=False)
    context = failure(bench, session_id)
    assert context["error"] == "too_large_for_memory"
    assert context["category"] == "user_fixable"
    assert f"{LIMIT} MB" in context["message"]
    assert "SESSION_TASKS_MAX_TASK_MEMORY_MB" in context["next_step"]
    bench.until_status(next_one, "completed")


def test_memory_that_is_not_there_is_reported_in_threads_too(bench: Any) -> None:
    session_id = bench.session("no_memory")
    bench.worker(threads=True)
    assert failure(bench, session_id)["error"] == "too_large_for_memory"


@pytest.mark.parametrize(
    ("status", "peak", "expected"),
    [
        (EXIT_TOO_LARGE, 0, True),
        (-6, 300, True),
        (-6, 100, False),
        (-9, 900, True),
        (-9, 300, False),
        (1, 900, True),
        (3, 100, False),
    ],
)
def test_a_death_is_of_memory_where_much_of_it_was_taken(
    status: int, peak: int, expected: bool
) -> None:
    assert died_of_memory(status, peak, 1_000) is expected
    assert died_of_memory(status, peak, 0) is (status == EXIT_TOO_LARGE)


def test_where_the_kernel_keeps_to_no_limit_the_process_watches_itself() -> None:
    program = (
        "import sys, threading; sys.platform = 'other'\n"
        "from app.engines.memory import limit_memory, peak_megabytes\n"
        "limit_memory(150); taken = b'x' * (200 << 20); threading.Event().wait(30)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == EXIT_TOO_LARGE


def test_the_peak_is_in_megabytes_on_every_system(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = resource.struct_rusage([0.0, 0.0, 2_097_152, *[0] * 13])
    monkeypatch.setattr(memory.sys, "platform", "linux")
    assert peak_megabytes(usage) == 2_048
    monkeypatch.setattr(memory.sys, "platform", "darwin")
    assert peak_megabytes(usage) == 2


TWO_MEGABYTES = 2_000_000
SHAPES = {
    "addresses.md": ("", "www.a.b "),
    "pictures.md": ("", "![a](https://b/c)"),
    "lines.txt": ("", "a\n\n"),
    "jira.csv": ('Summary,Description\na,"h1. x\n', "*a* "),
    "cell.csv": ('Summary,Description\na,"<p>x</p>', "<i>a"),
}
SLOWEST = {"lines.txt", "addresses.md"}
PROGRAM = """
import contextlib, resource, sys
from app.core.errors import DocumentError
from app.engines.memory import peak_megabytes
from app.tasks.documents.tickets import TicketOptions, tickets_from
options = TicketOptions(max_rows=100_000, max_columns=1_000, max_nesting=100)
with contextlib.suppress(DocumentError):
    list(tickets_from(sys.argv[1], sys.stdin.buffer.read(), options))
print(peak_megabytes(resource.getrusage(resource.RUSAGE_SELF)))
"""


@pytest.mark.parametrize(
    "name",
    [pytest.param(each, marks=pytest.mark.long if each in SLOWEST else ()) for each in SHAPES],
)
def test_no_document_of_two_megabytes_takes_600(name: str) -> None:
    beginning, unit = SHAPES[name]
    content = beginning + unit * (TWO_MEGABYTES // len(unit)) + ('"\n' if '"' in beginning else "")
    assert _peak_of_reading(name, content.encode()) <= 600


@pytest.mark.parametrize("name", hostile_office.FILES)
def test_no_office_file_of_two_megabytes_takes_600(name: str) -> None:
    content = hostile_office.FILES[name]()
    assert len(content) <= TWO_MEGABYTES
    assert _peak_of_reading(name, content) <= 600


def _peak_of_reading(name: str, content: bytes) -> int:
    """Return the peak in MB of a process that makes tickets of the document.

    A process that the test's own process starts would begin with the peak of that.
    """
    with subprocess.Popen(
        ["/bin/sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-c", PROGRAM, name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        said, _ = process.communicate(content)
    assert process.returncode == 0
    return int(said)
