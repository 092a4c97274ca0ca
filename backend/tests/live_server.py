"""A real server: uvicorn on a port, keys, and clients that use them."""

from __future__ import annotations

import threading
import uuid
from datetime import timedelta
from typing import Any, Self

import httpx

from app.api.application import LOOPBACK_NAMES, create_app
from app.api.server import ApiServer
from app.core.config import Settings
from app.core.database import Database
from app.models.access import KeyRole
from app.repositories.access_repository import AccessRepository
from app.repositories.browser_sessions import BrowserSessions
from app.web.dashboard import add_dashboard

DEADLINE_SECONDS = 30.0


class LiveServer:
    """The API and the dashboard on a port of their own, over one database."""

    def __init__(self, url: str, **settings: Any) -> None:
        self.settings = Settings.model_validate(
            {"database_url": url, "pool_size": 10, "jira_project": "TASK", **settings}
        )
        self.database = Database(self.settings, url)
        hosts = [name for name in self.settings.allowed_hosts.split(",") if name]
        self.app = create_app(self.database, self.settings, hosts=hosts or LOOPBACK_NAMES)
        add_dashboard(self.app)
        self.server = ApiServer(self.app, host="127.0.0.1", port=0)
        self._thread = threading.Thread(target=self.server.run, name="api")
        self._clients: list[httpx.Client] = []

    def __enter__(self) -> Self:
        self._thread.start()
        assert self.server.is_listening.wait(DEADLINE_SECONDS)
        self.url = f"http://127.0.0.1:{self.server.port}"
        return self

    def __exit__(self, *_exc_info: object) -> None:
        for client in self._clients:
            client.close()
        self.server.stop()
        self._thread.join(DEADLINE_SECONDS)
        assert not self._thread.is_alive()
        self.database.close()

    def key(
        self,
        owner: str = "",
        role: KeyRole = KeyRole.USER,
        lifetime: timedelta | None = None,
    ) -> str:
        """Create a key, of a new owner unless one is named."""
        with self.database.transaction() as db:
            made = AccessRepository(db).create_key(
                owner or f"owner-{uuid.uuid4()}", role=role, lifetime=lifetime
            )
        return made.text

    def browser_cookie(self, key: str) -> tuple[str, str]:
        """Return name and value of the cookie of a browser newly signed in with this key."""
        with self.database.transaction() as db:
            principal = AccessRepository(db).recognise(key)
            assert principal is not None
            sessions = BrowserSessions(db, idle=self.app.state.services.browser_idle)
            token = sessions.start(principal.key_id, lifetime=timedelta(days=1))
        return f"session_tasks_{self.server.port}", token

    def client(self, key: str | None = None, **headers: str) -> httpx.Client:
        """Return a client with this key; it is closed with the server."""
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        client = httpx.Client(base_url=self.url, headers=headers, timeout=DEADLINE_SECONDS)
        self._clients.append(client)
        return client
