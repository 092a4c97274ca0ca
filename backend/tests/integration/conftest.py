"""What tests of the repository and of loaded objects begin with."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest

from app.models.session import TaskType

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.models.session import Session
    from app.repositories.transitions import Claim


@pytest.fixture
def running(act: Callable[..., Any], make_session: Callable[..., Session]) -> Callable[..., Claim]:
    """Make a session whose task is claimed."""

    def make(*, lease_seconds: float = 30, **options: Any) -> Claim:
        session_id = make_session(**options).id
        started = act(lambda s: s.start_task(session_id, TaskType.PROCESSING))
        claim: Claim | None = act(
            lambda s: s.claim_task(
                session_id, started.task_id, uuid.uuid4(), lease_seconds=lease_seconds
            )
        )
        assert claim is not None
        return claim

    return make
