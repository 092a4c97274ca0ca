"""The worker of `session-tasks worker`, with points at which it kills itself.

Started as `python -m chaos.worker`, or forked from a server that has imported everything: then a
worker starts in a tenth of a second instead of two, and a thousand of them can be killed.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence

from app.core.config import Settings
from app.core.database import Database
from app.core.logging import configure_logging
from app.engines.worker import Worker
from chaos import writing
from chaos.points import arm


def forked(options: Sequence[str], environment: Mapping[str, str], log: str) -> None:
    """Run the worker of `python -m chaos.worker OPTIONS` with this environment."""
    os.setsid()
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.clear()
    os.environ.update(environment)
    main(options)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a worker until it is stopped or reaches its point."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--concurrency", type=int, default=2)
    parser.add_argument("--threads", action="store_true")
    options = parser.parse_args(arguments)
    arm()
    writing.plant()
    configure_logging("INFO")
    settings = Settings()
    with Database.open(settings) as database:
        Worker(
            database, settings, concurrency=options.concurrency, threads=options.threads
        ).run_until_stopped()


if __name__ == "__main__":
    main()
