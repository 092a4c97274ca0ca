"""The right to run a task, and the limits of what a run stores."""

from __future__ import annotations

import uuid
from typing import NamedTuple

from app.values.states import TaskType

MESSAGE_CHARACTERS = 500
"""The longest message of a progress report; a longer one is cut."""

STEP_NAME_CHARACTERS = 200


class Claim(NamedTuple):
    """The right to run one task, until the lease ends; `claim_token` fences every write.

    Attributes:
        waited_seconds: from the moment the task was due until it was claimed.

    """

    session_id: uuid.UUID
    task_id: uuid.UUID
    task_type: TaskType
    attempt: int
    claim_token: uuid.UUID
    worker_id: uuid.UUID
    waited_seconds: float = 0.0
