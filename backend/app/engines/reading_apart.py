"""Read documents in a separate process, for a preview or a check: a hostile one harms no other.

The process is started for one request. Its memory and time are limited, and it returns JSON of a
limited size. It opens no database and gets no secret.
"""

from __future__ import annotations

import json
import os
import pickle
import resource
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any

from app.core.config import Settings
from app.core.errors import ConfigurationError, DocumentError, TaskError
from app.repositories.content_reader import IncomingDocument
from app.tasks.intake_check import document_problems
from app.tasks.preview import Preview, preview
from app.values.options import SessionOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

MOST_MEMORY_BYTES = 2 * 1024**3
LARGEST_PREVIEW_BYTES = 64 * 1024**2
SECONDS_TO_END = 2

_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from app.engines.reading_apart import main; main(float(sys.argv[2]), sys.argv[3])"
)
_OUT_OF_MEMORY = 3
_OF_A_DOCUMENT = "document"
_SECRETS = ("database_url", "broker_url", "jira_token", "jira_sites")


def preview_apart(
    documents: Iterable[IncomingDocument],
    names: Sequence[str],
    options: SessionOptions,
    settings: Settings,
) -> Preview:
    """Return the preview of these documents, as `app.tasks.preview.preview` does.

    Raises:
        DocumentError: it takes too long, needs too much memory, or ends the process.

    """
    written = _read_apart("preview", documents, names, options, settings)
    return Preview.model_validate_json(written)


def problems_apart(
    documents: Iterable[IncomingDocument],
    names: Sequence[str],
    options: SessionOptions,
    settings: Settings,
) -> list[TaskError]:
    """Return the problems of the documents, as `document_problems` does.

    A check that takes too long, needs too much memory or ends its process is one more problem.
    """
    try:
        written = _read_apart("check", documents, names, options, settings)
    except DocumentError as error:
        return [error]
    return [
        DocumentError(**said) if kind == _OF_A_DOCUMENT else ConfigurationError(**said)
        for kind, said in json.loads(written)
    ]


def _read_apart(
    what: str,
    documents: Iterable[IncomingDocument],
    names: Sequence[str],
    options: SessionOptions,
    settings: Settings,
) -> bytes:
    """Return the output of the process.

    Raises:
        DocumentError: it takes too long, needs too much memory, or ends.

    """
    seconds = settings.preview_seconds
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as returned:
        _hand_over(given, documents, names, options, settings)
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and code
            [sys.executable, "-P", "-c", _BOOT, json.dumps(sys.path), str(seconds), what],
            stdin=given,
            stdout=returned,
            stderr=subprocess.DEVNULL,
            env={name: value for name, value in os.environ.items() if not _is_setting(name)},
            start_new_session=True,
        )
        try:
            status = process.wait(seconds + SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            status = -signal.SIGALRM
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if status != 0:
            raise _refusal(what, status, seconds)
        size = returned.seek(0, os.SEEK_END)
        if size > LARGEST_PREVIEW_BYTES:
            raise _refusal(what, -signal.SIGXFSZ, seconds)
        returned.seek(0)
        return returned.read()


def _is_setting(name: str) -> bool:
    return name.upper().startswith(str(Settings.model_config.get("env_prefix", "")).upper())


def _hand_over(
    given: IO[bytes],
    documents: Iterable[IncomingDocument],
    names: Sequence[str],
    options: SessionOptions,
    settings: Settings,
) -> None:
    told = settings.model_copy(update=dict.fromkeys(_SECRETS) | {"jira_sites": {}})
    pickle.dump((list(names), options.to_json(), told), given)
    for document in documents:
        pickle.dump((document.name, len(document.content)), given)
        given.write(document.content)
    given.flush()
    given.seek(0)


def main(seconds: float, what: str) -> None:
    """Read the request from standard input, and write the preview, or problems, as JSON."""
    signal.setitimer(signal.ITIMER_REAL, seconds)  # its default action ends the process
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY_BYTES, MOST_MEMORY_BYTES))
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_PREVIEW_BYTES, LARGEST_PREVIEW_BYTES))
    given = sys.stdin.buffer
    names, options, settings = pickle.load(given)  # noqa: S301 - our own parent wrote it
    try:
        read = _READERS[what]
        written = read(_documents(given, names), names, SessionOptions.from_json(options), settings)
    except MemoryError:
        os._exit(_OUT_OF_MEMORY)
    sys.stdout.buffer.write(written)
    sys.stdout.buffer.flush()


def _preview(*of: Any) -> bytes:
    return preview(*of).model_dump_json().encode()


def _check(*of: Any) -> bytes:
    return json.dumps([_as_said(problem) for problem in document_problems(*of)]).encode()


def _as_said(problem: TaskError) -> tuple[str, dict[str, Any]]:
    said: dict[str, Any] = {
        "message": problem.message,
        "next_step": problem.next_step,
        "options": problem.options,
    }
    if isinstance(problem, DocumentError):
        return _OF_A_DOCUMENT, said | {"name": problem.name, "row": problem.row}
    return "", said | {"category": problem.category.value}


_READERS: dict[str, Callable[..., bytes]] = {"preview": _preview, "check": _check}


def _documents(given: IO[bytes], names: Sequence[str]) -> Iterator[IncomingDocument]:
    for _name in names:
        name, size = pickle.load(given)  # noqa: S301 - our own parent wrote it
        yield IncomingDocument(name, given.read(size))


def _refusal(what: str, status: int, seconds: float) -> DocumentError:
    reasons = {
        -signal.SIGALRM: f"takes longer than {seconds:g} seconds",
        _OUT_OF_MEMORY: f"needs more than {MOST_MEMORY_BYTES // 1024**2:,} MB of memory",
        -signal.SIGXFSZ: "has more to say than a page can show",
    }
    reason = reasons.get(status, f"ended its process (status {status})")
    return DocumentError(
        f"The {what} of these documents {reason}",
        next_step="Preview fewer documents at a time, or open the session without a preview."
        if what == "preview"
        else "Divide them among several sessions, or an administrator raises"
        " SESSION_TASKS_PREVIEW_SECONDS.",
    )
