"""The rules of the state machine: task types, statuses, stages, and each transition of a task.

`TaskRules` says which transitions are legal, of an object in memory and in SQL; `TaskState` makes
them, of a value. `app.models.session` has the table of both.
"""

# mypy: disable-error-code="no-any-return"
# The rules return what `&` and `|` make of their operands: a bool, or an SQL expression.

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy.ext.hybrid import hybrid_method, hybrid_property

from app.core.errors import ErrorCategory, TaskConflict, TaskValidationError
from app.core.failure import ADDED_KEYS, MAX_EARLIER, brief_of, sanitize_context
from app.models.base import format_utc
from app.values.states import NEXT_TYPE, SessionStage, TaskStatus, TaskType

MAX_RETRY_COUNT = 3
"""After this many failures, of any cause, a task can no longer be retried."""


class TaskRules:
    """Which transitions a task allows: on an object in memory, and on the mapped class in SQL.

    Written with `&` and `|`, which mean the same for Python's bools and for SQL expressions.
    """

    if TYPE_CHECKING:
        session_id: Any
        task_type: Any
        status: Any
        retry_count: Any

    @hybrid_property
    def is_running(self) -> bool:
        """Whether an engine owns the task."""
        return self.status == TaskStatus.RUNNING

    @hybrid_property
    def can_be_retried(self) -> bool:
        """Whether the task failed and has attempts left."""
        return (self.status == TaskStatus.FAILED) & (self.retry_count < MAX_RETRY_COUNT)

    @hybrid_property
    def can_be_restarted(self) -> bool:
        """Whether the same type may run again: after a failure with attempts left, or a cancel."""
        return self.can_be_retried | (self.status == TaskStatus.CANCELLED)

    @hybrid_method
    def can_advance(self, task_type: TaskType) -> bool:
        """Whether the record has completed and `task_type` is the next."""
        first, second = (
            (self.task_type == done) & (task_type == after) for done, after in NEXT_TYPE.items()
        )
        return (self.status == TaskStatus.COMPLETED) & (first | second)

    @hybrid_method
    def can_start(self, task_type: TaskType) -> bool:
        """Whether `start(task_type)` is legal on this record."""
        return self.can_advance(task_type) | ((self.task_type == task_type) & self.can_be_restarted)

    def start_error(self, task_type: TaskType | None) -> TaskValidationError:
        """Return the error that says why `start(task_type)` is illegal here, and what to do."""
        kind, category = TaskValidationError, ErrorCategory.USER_FIXABLE
        if not self.status or task_type is None:
            given = task_type.value if task_type else "a task without a type"
            message = f"A session begins with {TaskType.PROCESSING.value}, not {given}"
            next_step = f"Start {TaskType.PROCESSING.value} first."
        elif self.status == TaskStatus.RUNNING:
            kind = TaskConflict
            message = f"Task {self.task_type.value} is already running"
            next_step = "Wait for it, or cancel it first."
        elif self.status == TaskStatus.COMPLETED:
            message = "Cannot modify completed task"
            next_step = "All tasks are done; open a new session for new documents."
            if following := self.task_type.next:
                next_step = f"The next task is {following.value}."
        elif self.status == TaskStatus.FAILED and not self.can_be_retried:
            category = ErrorCategory.ADMIN_REQUIRED
            message = "Maximum retry attempts exceeded"
            next_step = "An operator can reset the count: session-tasks retry ID --reset."
        else:
            message = f"Cannot start {task_type.value}: {self.task_type.value} {self.status.value}"
            next_step = f"Retry {self.task_type.value} first."
        return kind(message, category, next_step=next_step, session_id=self.session_id)

    def end_error(self, action: str) -> TaskValidationError:
        """Return the error that says why `action` (complete, fail, cancel) is illegal here."""
        message = "Cannot modify completed task"
        next_step = "Nothing is left to do: it has ended."
        if self.status != TaskStatus.COMPLETED:
            state = self.status.value if self.status else "not started"
            kind = self.task_type.value if self.task_type else "without a type"
            message = f"Cannot {action} task {kind}: it is {state}, not running"
            next_step = "Read its state again; it may have changed meanwhile."
        return TaskValidationError(message, next_step=next_step, session_id=self.session_id)


@dataclass(frozen=True, slots=True)
class TaskState(TaskRules):
    """The columns of a task row, as a value; each transition returns the next one, or raises."""

    session_id: uuid.UUID | None = field(default=None, compare=False)
    task_type: TaskType | None = None
    task_id: uuid.UUID | None = None
    status: TaskStatus | None = None
    retry_count: int = 0
    started_at: datetime | None = None
    completed_at: datetime | None = None
    failed_at: datetime | None = None
    failure_context: Mapping[str, Any] | None = None

    @property
    def stage(self) -> SessionStage:
        """The stage of a session whose task is in this state."""
        if self.task_type is None or self.status is None:
            return SessionStage.CREATED
        if self.status == TaskStatus.COMPLETED and self.task_type.next is None:
            return SessionStage.COMPLETED
        return SessionStage(self.task_type.value)

    def started(
        self, task_type: TaskType | None, task_id: uuid.UUID | None, moment: datetime
    ) -> TaskState:
        """Start the first task, another attempt, or the next type with a clean count."""
        is_first = self.status is None and task_type == TaskType.PROCESSING
        if not is_first and (task_type is None or not self.can_start(task_type)):
            raise self.start_error(task_type)
        if task_id is None or task_id == self.task_id:
            raise TaskValidationError(
                "A run needs a task_id of its own",
                next_step="Give a new one, such as uuid.uuid4().",
                session_id=self.session_id,
            )
        is_restart = self.can_be_restarted
        return replace(
            self,
            task_type=task_type,
            task_id=task_id,
            status=TaskStatus.RUNNING,
            retry_count=self.retry_count if is_restart else 0,
            started_at=moment,
            completed_at=None,
            failed_at=None,
            failure_context=self.failure_context if is_restart else None,
        )

    def completed(self, moment: datetime) -> TaskState:
        """Complete the task; the context of earlier failures is cleared."""
        self._require_running("complete")
        return replace(self, status=TaskStatus.COMPLETED, completed_at=moment, failure_context=None)

    def failed(self, error_context: Mapping[str, Any], moment: datetime) -> TaskState:
        """Fail the task, counted; earlier failures stay inside the context in brief."""
        self._require_running("fail")
        count = min(self.retry_count + 1, MAX_RETRY_COUNT)
        context = {
            **sanitize_context(error_context),
            "attempt": count,
            "failed_at": format_utc(moment),
        }
        if self.failure_context is not None:
            earlier = self.failure_context.get("earlier")
            briefs = earlier if isinstance(earlier, list) else []
            context["earlier"] = [*briefs, brief_of(self.failure_context)][-MAX_EARLIER:]
        return replace(
            self,
            status=TaskStatus.FAILED,
            failed_at=moment,
            retry_count=count,
            failure_context=context,
        )

    def explained(self, error_context: Mapping[str, Any]) -> TaskState:
        """Replace the description of the last failure; its attempt, time and history are kept."""
        stored = self.failure_context or {}
        kept = {key: stored[key] for key in ADDED_KEYS if key in stored}
        return replace(self, failure_context={**sanitize_context(error_context), **kept})

    def cancelled(self) -> TaskState:
        """Cancel the task, which costs no attempt."""
        self._require_running("cancel")
        return replace(self, status=TaskStatus.CANCELLED)

    def _require_running(self, action: str) -> None:
        if not self.is_running:
            raise self.end_error(action)
