"""`/metrics` of a process that serves nothing else: a worker of either engine."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from app.core.errors import ConfigurationError, MissingExtra, TaskError
from app.repositories.live_counts import LiveCounts, count_live

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client import Metric

    from app.core.database import Database
    from app.engines.metrics import Metrics


@contextmanager
def serving_metrics(database: Database, *, host: str, port: int | None) -> Iterator[int | None]:
    """Count this process's work, and serve the metrics; yield the port (for 0, any free one).

    Without a port, nothing is counted or imported.

    Raises:
        ConfigurationError: the port is not available, or the extra is not installed.

    """
    if port is None:
        yield None
        return
    try:
        from prometheus_client import start_http_server  # noqa: PLC0415 - an extra

        from app.engines.metrics import Metrics  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingExtra(
            "A port for metrics", "server", otherwise=", or set no port for them"
        ) from error
    told = _Told(database, Metrics())
    stop_counting = told.metrics.observe()
    try:
        server, thread = start_http_server(port, addr=host, registry=told)
    except OSError as error:
        stop_counting()
        raise ConfigurationError(
            f"No figures can be served on {host}, port {port}: {error.strerror}",
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
    """A registry whose gauges are read on request."""

    def __init__(self, database: Database, metrics: Metrics) -> None:
        self.metrics = metrics
        self._database = database

    def collect(self) -> Iterable[Metric]:
        self.metrics.set_gauges(live_counts(self._database))
        return self.metrics.registry.collect()


def live_counts(database: Database) -> LiveCounts | None:
    """Return counts of running and waiting tasks; None if the database is unavailable."""
    try:
        with database.autocommit_connection() as connection:
            return count_live(connection)
    except (TaskError, SQLAlchemyError):
        return None  # counters are still served; /readyz reports the error
