"""The settings, read from the environment (prefix `SESSION_TASKS_`) and documented in one place."""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

MEBIBYTE = 1024 * 1024

SCHEMA_NAME = r"^[a-z_][a-z0-9_]{0,62}$"
"""A name that needs no quotes in `search_path`."""


class EngineName(str, Enum):
    """The engine that runs tasks."""

    EMBEDDED = "embedded"
    CELERY = "celery"


def _default_data_dir() -> Path:
    """Return `$XDG_DATA_HOME/session-tasks`, by the XDG Base Directory Specification."""
    base = Path(os.environ.get("XDG_DATA_HOME", ""))
    if not base.is_absolute():
        base = Path("~/.local/share")
    return base / "session-tasks"


class JiraSiteSettings(BaseModel):
    """A Jira site in addition to the default one, and its credentials."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    url: str
    email: str | None = None
    token: SecretStr | None = None


class Settings(BaseSettings):
    """All settings, each with its unit; the environment overrides the defaults."""

    model_config = SettingsConfigDict(
        env_prefix="SESSION_TASKS_",
        env_nested_delimiter="__",
        extra="ignore",
        hide_input_in_errors=True,
        frozen=True,
    )

    # The database
    database_url: SecretStr | None = Field(
        default=None, description="PostgreSQL 15 or newer; without it the embedded server is used"
    )
    database_schema: Annotated[str | None, Field(pattern=SCHEMA_NAME)] = Field(
        default=None,
        description="schema that holds all tables; without it the connection's `search_path` "
        "decides, which is `public` by default",
    )
    data_dir: Annotated[Path, BeforeValidator(lambda value: value or _default_data_dir())] = Field(
        default_factory=_default_data_dir, description="where the embedded server keeps its data"
    )
    pool_size: Annotated[int, Field(ge=1)] = Field(
        default=8, description="database connections in a process's pool at most"
    )
    connect_timeout_seconds: Annotated[int, Field(ge=1)] = Field(
        default=10, description="how long to wait for a connection"
    )
    statement_timeout_seconds: Annotated[float, Field(gt=0)] = Field(
        default=30.0, description="how long the server may work on one statement"
    )
    lock_timeout_seconds: Annotated[float, Field(gt=0)] = Field(
        default=10.0,
        description="how long a statement waits for a lock, and a thread for a connection",
    )
    idle_in_transaction_timeout_seconds: Annotated[float, Field(gt=0)] = Field(
        default=60.0,
        description="how long a transaction may be open and idle before the server ends it",
    )

    # Execution
    engine: EngineName = Field(
        default=EngineName.EMBEDDED, description="the engine that runs tasks"
    )
    handlers: str = Field(
        default="",
        description="a team's own handlers: processing=package.module:function, comma-separated",
    )
    broker_url: SecretStr | None = Field(
        default=None, description="RabbitMQ or Redis, for Celery only"
    )
    queue: Annotated[str, Field(min_length=1, max_length=100)] = Field(
        default="session-tasks",
        description="the broker's queue, and prefix of its keys, for Celery only",
    )
    lease_seconds: Annotated[float, Field(gt=0)] = Field(
        default=30.0, description="how long a claim lasts without a heartbeat"
    )
    heartbeat_seconds: Annotated[float, Field(gt=0)] = Field(
        default=5.0, description="how often a worker renews its claims"
    )
    sweep_seconds: Annotated[float, Field(gt=0)] = Field(
        default=5.0, description="how often each worker looks for what was left behind"
    )
    poll_seconds: Annotated[float, Field(gt=0)] = Field(
        default=1.0,
        description="how often an idle worker looks for work that no notification announced",
    )
    cancel_grace_seconds: Annotated[float, Field(ge=0)] = Field(
        default=5.0, description="how long a cancelled task may take to stop before it is killed"
    )
    shutdown_grace_seconds: Annotated[float, Field(ge=0)] = Field(
        default=20.0, description="how long a stopping worker waits for its tasks"
    )
    max_run_seconds: Annotated[float, Field(gt=0)] = Field(
        default=3600.0, description="the longest a task may run, unless its handler says otherwise"
    )
    retry_backoff_seconds: Annotated[float, Field(gt=0)] = Field(
        default=10.0,
        description="the first wait before a temporary failure is retried; doubles each time",
    )
    max_step_bytes: Annotated[int, Field(ge=1)] = Field(
        default=16 * MEBIBYTE,
        description="what the steps of one task may keep together: names and results, and 100 "
        "bytes each",
    )
    retention_days: Annotated[float, Field(gt=0)] = Field(
        default=7.0, description="sessions end this long after their last activity"
    )

    # The API
    host: str = Field(
        default="127.0.0.1", description="where `serve` listens; loopback needs no more"
    )
    port: Annotated[int, Field(ge=0, le=65535)] = Field(
        default=8765, description="0: any that is free"
    )
    allowed_hosts: str = Field(
        default="",
        description="Host headers that are accepted, comma-separated; without it: loopback names "
        "on loopback, any elsewhere",
    )
    trusted_proxies: str = Field(
        default="",
        description="addresses of proxies before `serve`, comma-separated, which are trusted to "
        "name the client and its scheme",
    )
    browser_session_days: Annotated[float, Field(gt=0, le=400)] = Field(
        default=7.0,
        description="a browser that signed in must do so again after these, however used",
    )
    browser_idle_hours: Annotated[float, Field(gt=0)] = Field(
        default=24.0, description="and after these without a request"
    )
    cors_origins: str = Field(
        default="",
        description="origins of browsers' pages that may use the API, exact, comma-separated",
    )
    max_request_bytes: Annotated[int, Field(ge=1)] = Field(
        default=100 * MEBIBYTE, description="the body of one request, all its documents together"
    )
    max_uploads_at_once: Annotated[int, Field(ge=1)] = Field(
        default=4,
        description="requests whose documents are being stored, or previewed, at a time, by one "
        "process; others wait their turn, which the key gets that holds fewest",
    )
    preview_seconds: Annotated[float, Field(gt=0)] = Field(
        default=60.0,
        description="how long the documents of one preview, or of one large check, may be read",
    )
    request_body_seconds: Annotated[float, Field(gt=0)] = Field(
        default=120.0, description="how long a client may take to send the whole body of a request"
    )
    stalled_answer_seconds: Annotated[float, Field(gt=0)] = Field(
        default=60.0,
        description="how long a client may read nothing of an answer before we hang up",
    )
    requests_per_minute: Annotated[int, Field(ge=1)] = Field(
        default=60_000, description="by one key, in one process"
    )
    refusals_per_minute: Annotated[int, Field(ge=1)] = Field(
        default=60,
        description="requests without a valid key, from one address (IPv6: one /64 network) with "
        "one key's id or with none, in one process; valid keys are not counted",
    )
    requests_at_once: Annotated[int, Field(ge=1)] = Field(
        default=200, description="by one key, in one process; streams of events are not counted"
    )
    streams_per_key: Annotated[int, Field(ge=1)] = Field(
        default=1_000, description="streams of events that one key may keep open, in one process"
    )
    keep_alive_seconds: Annotated[float, Field(gt=0)] = Field(
        default=15.0, description="how often a silent stream of events says that it lives"
    )
    telemetry: bool = Field(
        default=False, description="OpenTelemetry's spans; needs the extra `telemetry`"
    )
    metrics_port: Annotated[int | None, Field(ge=0, le=65535)] = Field(
        default=None,
        description="where a worker of its own tells /metrics, on HOST; needs `server`",
    )

    # What is accepted
    max_document_bytes: Annotated[int, Field(ge=1)] = Field(
        default=50 * MEBIBYTE, description="bytes of one document"
    )
    max_documents: Annotated[int, Field(ge=1)] = Field(
        default=1_000, description="documents of one session"
    )
    max_rows: Annotated[int, Field(ge=1)] = Field(default=100_000, description="rows in one CSV")
    max_columns: Annotated[int, Field(ge=1)] = Field(
        default=1_000, description="columns in one CSV"
    )
    max_nesting: Annotated[int, Field(ge=1, le=120)] = Field(
        default=100, description="levels of nesting in one Markdown document, at most 120"
    )
    max_nodes: Annotated[int, Field(ge=1_000)] = Field(
        default=200_000,
        description="ADF nodes that one document or cell may become; Jira takes 8,000",
    )
    max_task_memory_mb: Annotated[int, Field(ge=0)] = Field(
        default=1_024,
        description="memory that a process for tasks may take, in MB; 0: no limit",
    )
    max_description_characters: Annotated[int, Field(ge=1)] = Field(
        default=32_000, description="text in one description; Jira refuses more than 32,767"
    )

    # Jira
    jira_url: str | None = Field(
        default=None,
        description="address of the site that `--to jira` delivers to, such as "
        "`https://example.atlassian.net`; https only, but on loopback",
    )
    jira_email: str | None = Field(
        default=None,
        description="account that signs in to Jira; without it the token is a bearer token",
    )
    jira_token: SecretStr | None = Field(
        default=None, description="the account's API token, a secret"
    )
    jira_sites: dict[str, JiraSiteSettings] = Field(
        default_factory=dict,
        description="more sites, by name: `JIRA_SITES__TEST__URL`, `…__EMAIL` and `…__TOKEN` are "
        "those of `--to jira:test`",
    )
    jira_project: str | None = Field(
        default=None, description="project key of sessions that name none, such as `SHOP`"
    )
    jira_timeout_seconds: Annotated[float, Field(gt=0)] = Field(
        default=60.0, description="how long Jira may take to respond to one request"
    )
    jira_index_seconds: Annotated[float, Field(ge=0)] = Field(
        default=30.0, description="how long Jira's search may not find an issue that was created"
    )
    jira_patience_seconds: Annotated[float, Field(gt=0)] = Field(
        default=600.0,
        description="how long a task waits for a Jira that cannot be reached before it fails",
    )
