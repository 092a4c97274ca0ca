"""`/metrics` of a process that serves nothing else: a separate worker."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from prometheus_client import start_http_server
from sqlalchemy.exc import SQLAlchemyError

from app.api.metrics import Metrics
from app.core.database import translated_errors
from app.core.errors import ConfigurationError, TaskError
from app.repositories.session_queries import LiveCounts, count_live

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client import Metric

    from app.core.database import Database


@contextmanager
def serving_metrics(database: Database, *, host: str, port: int) -> Iterator[int]:
    """While inside, what this process does is counted and told; answers the port.

    Raises:
        ConfigurationError: the port cannot be had.

    """
    told = _Told(database)
    stop_counting = told.metrics.observe()
    try:
        server, thread = start_http_server(port, addr=host, registry=told)
    except OSError as error:
        stop_counting()
        raise ConfigurationError(
            f"No figures can be told on {host}, port {port}: {error.strerror}",
            next_step="Choose another: --metrics-port, or SESSION_TASKS_METRICS_PORT.",
        ) from error
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        stop_counting()


class _Told:
    """A registry whose gauges are read when it is asked."""

    def __init__(self, database: Database) -> None:
        self.metrics = Metrics()
        self._database = database

    def collect(self) -> Iterable[Metric]:
        self.metrics.set_gauges(live_counts(self._database), streams=0)
        return self.metrics.registry.collect()


def live_counts(database: Database) -> LiveCounts | None:
    """What runs and waits now; None if the database cannot tell."""
    try:
        with translated_errors(), database.autocommit.connect() as connection:
            return count_live(connection)
    except (TaskError, SQLAlchemyError):
        return None  # counters are told all the same; /readyz says what is wrong
