"""A probe of a broker that runs counts its messages."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest
from chaos.waiting import until
from pydantic import SecretStr

from app.core.config import Settings
from app.engines import broker
from app.engines.broker import BrokerProbe
from app.engines.celery import make_app
from app.engines.dispatch import Publisher
from tests.engines.fleets.conftest import broker_url

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("engine", ["redis", "rabbitmq"])
def test_messages_in_the_queue_are_counted(
    engine: str, redis_url: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = broker_url(engine, redis_url)
    assert url is not None
    settings = Settings(
        engine="celery", broker_url=SecretStr(url), queue=f"probe-{uuid.uuid4().hex}"
    )
    monkeypatch.setattr(broker, "SECONDS_REMEMBERED", 0.0)
    probe = BrokerProbe(settings)
    assert probe.count_messages() == 0

    with Publisher(settings) as publisher:
        publisher.publish([(uuid.uuid4(), uuid.uuid4()), (uuid.uuid4(), uuid.uuid4())])
    until(lambda: probe.count_messages() == 2, "both messages are there", 20)

    with make_app(lambda: settings).connection_for_write() as connection:
        connection.default_channel.queue_purge(settings.queue)
        connection.default_channel.queue_delete(settings.queue)
    assert probe.count_messages() == 0
