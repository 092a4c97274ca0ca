"""The models of requests and responses, from which the OpenAPI document is made."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app.core.errors import ErrorCategory
from app.models.access import KeyRole
from app.models.session import MAX_RETRY_COUNT
from app.values.states import SessionStage, TaskStatus, TaskType

EXAMPLE_SESSION = "0b8f7c1e-6a0c-4a53-9f0a-1f0d5c1c7b52"
EXAMPLE_TASK = "5d0f4a5e-1c1b-4c55-8d0a-0a8f4f2f9f10"
EXAMPLE_WORKER = "c6f3c1a0-7f0b-4f7e-9a77-2f8a1a1d3b44"
EXAMPLE_TIME = "2026-03-01T09:30:00Z"


def _storable(text: str) -> str:
    """PostgreSQL stores neither NUL nor lone surrogates (section 8.3)."""
    if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
        message = "must not contain NUL or lone surrogates"
        raise ValueError(message)
    return text


SafeText = Annotated[str, AfterValidator(_storable)]


class Request(BaseModel):
    """A request's body: unknown fields are refused, not ignored."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class Activity(str, Enum):
    """The activity of the task: waiting for a worker, running, or how it ended."""

    NOT_STARTED = "not_started"
    WAITING = "waiting"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Action(str, Enum):
    """An act that is allowed now."""

    START = "start"
    RETRY = "retry"
    CANCEL = "cancel"


class WorkerResource(BaseModel):
    """The worker that runs the task, since when, and when its lease expires."""

    id: UUID
    since: datetime
    lease_expires_at: datetime


class ProgressResource(BaseModel):
    """The task's progress; `total` and `percent` are null while unknown."""

    current: int
    total: int | None
    percent: float | None
    message: str | None


class FailureResource(BaseModel):
    """Why the task failed last: redacted, without its traceback (logs have that)."""

    error: str
    message: str
    category: ErrorCategory = Field(
        description="who can fix it now; of a temporary failure whose attempts are used up: "
        "`admin_required`"
    )
    next_step: str
    options: list[str] = Field(description="names of the session options to correct")
    attempt: int | None
    earlier: list[dict[str, Any]] = Field(description="the failures before, in brief")


class TaskResource(BaseModel):
    """The task of the session now. `status` is null before the first task."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "session_id": EXAMPLE_SESSION,
                    "stage": "processing",
                    "task_type": "processing",
                    "task_id": EXAMPLE_TASK,
                    "status": "running",
                    "activity": "running",
                    "started_at": EXAMPLE_TIME,
                    "completed_at": None,
                    "failed_at": None,
                    "attempt": 1,
                    "max_attempts": MAX_RETRY_COUNT,
                    "waiting_since": None,
                    "worker": {
                        "id": EXAMPLE_WORKER,
                        "since": EXAMPLE_TIME,
                        "lease_expires_at": "2026-03-01T09:30:30Z",
                    },
                    "progress": {"current": 40, "total": 100, "percent": 40.0, "message": None},
                    "failure": None,
                    "retry_at": None,
                    "is_settled": False,
                    "next_task_type": None,
                    "allowed_actions": ["cancel"],
                }
            ]
        }
    )

    session_id: UUID
    stage: SessionStage
    task_type: TaskType | None
    task_id: UUID | None = Field(description="names one run; a retry gets a new one")
    status: TaskStatus | None
    activity: Activity
    started_at: datetime | None
    completed_at: datetime | None
    failed_at: datetime | None
    attempt: int = Field(description="0 before the first")
    max_attempts: int
    waiting_since: datetime | None = Field(description="while no worker has picked it up")
    worker: WorkerResource | None
    progress: ProgressResource | None
    failure: FailureResource | None
    retry_at: datetime | None = Field(description="when it is retried automatically")
    is_settled: bool = Field(description="nothing more will happen automatically")
    next_task_type: TaskType | None = Field(description="what a start without a type would run")
    allowed_actions: list[Action]


class SessionState(BaseModel):
    """The state of a session, with every refusal that it is the reason for."""

    stage: SessionStage
    task_type: TaskType | None
    task_id: UUID | None
    status: TaskStatus | None
    allowed_actions: list[Action]


class SessionResource(BaseModel):
    """A session and its task."""

    id: UUID
    owner: str
    label: str
    stage: SessionStage
    auto_advance: bool
    options: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    task: TaskResource


class ContentCountsResource(BaseModel):
    """The size of a session's content."""

    documents: int
    tickets: int
    exports: int
    findings: int


class SessionDetail(SessionResource):
    """A session, its task, and its content."""

    documents: list[str]
    notes: list[str] = Field(description="what a person should know that is not a failure")
    counts: ContentCountsResource


class SessionPage(BaseModel):
    """Sessions, the newest first; `next_page_token` is null on the last page."""

    items: list[SessionResource]
    next_page_token: str | None


class IssueResource(BaseModel):
    """An issue that was created in Jira."""

    key: str
    url: str


class TicketResource(BaseModel):
    """A ticket; its description is ADF.

    `fields` are the issue's other fields, from its document; `parent` is the number of the
    ticket that it belongs to; `issue` is the one that was created for it in Jira.
    """

    number: int
    title: str
    description: dict[str, Any]
    source_name: str
    source_row: int
    fields: dict[str, Any]
    parent: int | None
    issue: IssueResource | None


class TicketPage(BaseModel):
    """Tickets in order; `next_page_token` is null on the last page."""

    items: list[TicketResource]
    next_page_token: str | None


class FindingResource(BaseModel):
    """One reason why Jira would refuse a ticket."""

    ticket: int
    title: str
    source_name: str
    source_row: int
    path: str = Field(
        description="JSON Pointer (RFC 6901) into the ticket's description; `/fields/NAME`: "
        "another field of the issue"
    )
    rule: str
    reason: str


class FindingList(BaseModel):
    """The findings of the last validation, at most 1,000; `total` counts all."""

    items: list[FindingResource]
    total: int


class ExportResource(BaseModel):
    """A Jira import: each body is one request to `POST /rest/api/3/issue/bulk`."""

    session_id: UUID
    bodies: list[dict[str, Any]]


class StartTask(Request):
    """The task to start; without a type, the next one."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"task_type": "processing"}]}
    )

    task_type: TaskType | None = None


class NewKeyRequest(Request):
    """A key to create."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"owner": "alice", "role": "user", "expires_in_days": 90}]},
    )

    owner: Annotated[SafeText, Field(min_length=1, max_length=200)]
    role: KeyRole = KeyRole.USER
    name: Annotated[SafeText, Field(max_length=200)] = ""
    expires_in_days: Annotated[float, Field(gt=0, le=36_500)] | None = None


class KeyResource(BaseModel):
    """A key without its secret."""

    id: str
    owner: str
    role: KeyRole
    name: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class CreatedKey(KeyResource):
    """A new key; `key` is shown only once."""

    key: str


class KeyList(BaseModel):
    """All keys, the newest first."""

    items: list[KeyResource]


class HeldTaskResource(BaseModel):
    """A task that a worker holds."""

    session_id: UUID
    task_type: TaskType
    seconds: float = Field(description="since it was claimed")


class LiveWorkerResource(BaseModel):
    """A worker that is alive; host, pid, version and engine are null for a program of your own."""

    id: UUID
    state: str = Field(description="idle, working, busy (no slot is free) or draining")
    host: str | None
    pid: int | None
    version: str | None
    engine: str | None
    concurrency: int
    task_types: list[TaskType]
    session_ids: list[UUID] | None = Field(
        description="the only sessions whose tasks it takes; null: any"
    )
    started_at: datetime
    seen_seconds_ago: float = Field(description="since its last heartbeat")
    held_count: int
    held: list[HeldTaskResource] = Field(description="the first of them; all are counted")


class PauseResource(BaseModel):
    """A pause of the claims of one task type: since when, and its author."""

    task_type: TaskType
    paused_at: datetime
    paused_by: str


class PauseList(BaseModel):
    """The task types that are paused; tasks of the others are claimed."""

    items: list[PauseResource]


class PauseRequest(BaseModel):
    """Which task types to pause or resume."""

    model_config = ConfigDict(extra="forbid")

    task_types: Annotated[list[TaskType], Field(min_length=1, max_length=3)] = Field(
        default_factory=lambda: list(TaskType), description="without it: all"
    )


class WorkerList(BaseModel):
    """The live workers, the number of waiting tasks that none of them takes, and the pauses."""

    items: list[LiveWorkerResource]
    waiting_without_worker: int
    paused: list[PauseResource]


class Health(BaseModel):
    """The process responds."""

    status: str = Field(examples=["ok"])


class Check(BaseModel):
    """One condition for accepting work."""

    name: str
    ok: bool
    detail: str


class Readiness(BaseModel):
    """Whether work can be accepted, and what is missing."""

    ready: bool
    checks: list[Check]
