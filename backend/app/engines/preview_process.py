"""Read documents for a preview in a process of their own: a hostile one ends nothing else.

The process is started for one preview. It has so much memory and so many seconds, and returns JSON
of a bounded size. It opens no database and gets no secret.
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
from typing import IO, TYPE_CHECKING

from app.core.config import Settings
from app.core.errors import DocumentError
from app.models.options import SessionOptions
from app.repositories.content_repository import IncomingDocument
from app.tasks.preview import Preview, preview

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

MOST_MEMORY_BYTES = 2 * 1024**3
LARGEST_PREVIEW_BYTES = 64 * 1024**2
SECONDS_TO_END = 2

_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from app.engines.preview_process import main; main(float(sys.argv[2]))"
)
_OUT_OF_MEMORY = 3
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
    seconds = settings.preview_seconds
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as returned:
        _hand_over(given, documents, names, options, settings)
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and code
            [sys.executable, "-P", "-c", _BOOT, json.dumps(sys.path), str(seconds)],
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
            raise _refusal(status, seconds)
        size = returned.seek(0, os.SEEK_END)
        if size > LARGEST_PREVIEW_BYTES:
            raise _refusal(-signal.SIGXFSZ, seconds)
        returned.seek(0)
        return Preview.model_validate_json(returned.read())


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


def main(seconds: float) -> None:
    """Read what `preview_apart` handed over on standard input, and write the preview as JSON."""
    signal.setitimer(signal.ITIMER_REAL, seconds)  # its default action ends the process
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY_BYTES, MOST_MEMORY_BYTES))
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_PREVIEW_BYTES, LARGEST_PREVIEW_BYTES))
    given = sys.stdin.buffer
    names, options, settings = pickle.load(given)  # noqa: S301 - our own parent wrote it
    try:
        made = preview(_documents(given, names), names, SessionOptions.from_json(options), settings)
        written = made.model_dump_json().encode()
    except MemoryError:
        os._exit(_OUT_OF_MEMORY)
    sys.stdout.buffer.write(written)
    sys.stdout.buffer.flush()


def _documents(given: IO[bytes], names: Sequence[str]) -> Iterator[IncomingDocument]:
    for _name in names:
        name, size = pickle.load(given)  # noqa: S301 - our own parent wrote it
        yield IncomingDocument(name, given.read(size))


def _refusal(status: int, seconds: float) -> DocumentError:
    reasons = {
        -signal.SIGALRM: f"takes longer than {seconds:g} seconds",
        _OUT_OF_MEMORY: f"needs more than {MOST_MEMORY_BYTES // 1024**2:,} MB of memory",
        -signal.SIGXFSZ: "has more to show than a page can",
    }
    reason = reasons.get(status, f"ended its process (status {status})")
    return DocumentError(
        f"The preview of these documents {reason}",
        next_step="Preview fewer documents at a time, or open the session without a preview.",
    )
