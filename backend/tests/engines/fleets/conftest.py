"""Fleets of either engine; tests without their broker are skipped, with the reason."""

from __future__ import annotations

import contextlib
import functools
import os
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from chaos.brokers import find, refusal
from sqlalchemy import URL, create_engine, text

from app.core.schema_version import upgrade_schema
from tests.engines.fleets.fleet import Fleet, fast_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RABBITMQ = os.environ.get("TEST_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672//")
REDIS = os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379/15")


@pytest.fixture(scope="module")
def new_database(server_url: URL, template_database: str) -> Iterator[Callable[[], str]]:
    """Create empty databases with the schema; the function returns the URL."""
    administrator = create_engine(server_url, isolation_level="AUTOCOMMIT")
    names: list[str] = []

    def make() -> str:
        names.append(f"fleet_{uuid.uuid4().hex}")
        with administrator.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {names[-1]} TEMPLATE {template_database}"))
        return server_url.set(database=names[-1]).render_as_string(hide_password=False)

    yield make
    with administrator.connect() as connection:
        for name in names:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    administrator.dispose()


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], str]]:
    """Yield the URL of a running Redis; else start the one of the test tools."""
    with contextlib.ExitStack() as at_end:

        @functools.cache
        def url() -> str:
            if refusal(REDIS) is None:
                return REDIS
            broker = find("Redis", tmp_path_factory.mktemp("redis"))
            if broker is None:
                pytest.skip("Redis does not answer, and there is no program for it here")
            return at_end.enter_context(broker).url

        yield url


@pytest.fixture(scope="module")
def make_fleet(
    redis_url: Callable[[], str],
    bench_class: Any,
    new_database: Callable[[], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[str], Fleet]]:
    """Create fleets of an engine, each with a database and a queue of its own."""
    with contextlib.ExitStack() as at_end:

        def make(engine: str) -> Fleet:
            folder = tmp_path_factory.mktemp("fleet")
            settings = fast_settings(engine, broker_url(engine, redis_url), folder)
            url = new_database()
            if settings.database_schema is not None:
                upgrade_schema(url, schema=settings.database_schema)
            bench = bench_class(settings, url)
            at_end.callback(bench.close)
            fleet = Fleet(bench, settings, folder)
            at_end.callback(fleet.close)
            return fleet

        yield make


def broker_url(engine: str, redis_url: Callable[[], str]) -> str | None:
    """Return the URL of the engine's broker; skip the test if there is none."""
    if engine == "redis":
        return redis_url()
    if engine == "rabbitmq":
        reason = refusal(RABBITMQ)
        if reason is not None:
            pytest.skip(f"RabbitMQ does not answer: {reason}")
        return RABBITMQ
    return None
