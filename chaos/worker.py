"""`python -m chaos.worker`: what `session-tasks worker` runs, with points to die at put in."""

from __future__ import annotations

import argparse

from app.core.config import Settings
from app.core.database import Database
from app.core.logging import configure_logging
from app.engines.worker import Worker
from chaos.points import arm


def main() -> None:
    """Run a worker until it is stopped, or reaches its point."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--concurrency", type=int, default=2)
    parser.add_argument("--threads", action="store_true")
    options = parser.parse_args()
    arm()
    configure_logging("INFO")
    settings = Settings()
    with Database.open(settings) as database:
        Worker(
            database, settings, concurrency=options.concurrency, threads=options.threads
        ).run_until_stopped()


if __name__ == "__main__":
    main()
