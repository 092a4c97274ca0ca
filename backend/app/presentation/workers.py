"""Workers in words: what each is doing, and why a task that waits is not taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.values.states import TaskType

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from app.repositories.pause_repository import Pause
    from app.repositories.worker_repository import LiveWorker

UNREGISTERED = "unregistered"
"""What stands for host, version and engine of a program that claims tasks and keeps no row."""


def why_not_taken(
    workers: Sequence[LiveWorker],
    pauses: Sequence[Pause],
    task_type: TaskType,
    session_id: UUID,
) -> str:
    """Say in a few words why a task that waits is not taken by these, which are all that live."""
    if any(pause.task_type is task_type for pause in pauses):
        return f"claims of {task_type.value} are paused"
    takers = [worker for worker in workers if worker.takes(task_type, session_id)]
    if any(worker.has_room for worker in takers):
        return "a worker has room, and takes it soon"
    if takers:
        count = len(takers)
        return (
            "the one that is alive is busy"
            if count == 1
            else f"all {count} that are alive are busy"
        )
    if any(worker.is_draining for worker in workers):
        return "every one that is alive is draining"
    if workers:
        return "none that is alive takes it"
    return "none is alive"


def holds_text(worker: LiveWorker) -> str:
    """`2 of 4 (2 export)`: tasks that it holds, of how many at a time; `0 of 4`.

    Light tasks are claimed ahead of free slots, so there may be more than there are slots.
    """
    types = ", ".join(
        f"{worker.held_types[task_type]:,} {task_type.value}"
        for task_type in TaskType
        if worker.held_types.get(task_type)
    )
    return f"{worker.held_count:,} of {worker.concurrency}{f' ({types})' if types else ''}"


def paused_text(pauses: Sequence[Pause]) -> str:
    """Say what is paused, `Claims of export are paused`; empty where nothing is."""
    if not pauses:
        return ""
    if len(pauses) == len(TaskType):
        return "All claims are paused"
    return f"Claims of {', '.join(pause.task_type.value for pause in pauses)} are paused"


def pause_document(pause: Pause) -> dict[str, Any]:
    """Return the pause as scripts are given it, by the command and by the API."""
    return {
        "task_type": pause.task_type.value,
        "paused_at": pause.paused_at.isoformat(),
        "paused_by": pause.paused_by,
    }


def worker_document(worker: LiveWorker) -> dict[str, Any]:
    """Return the worker as scripts are given it, by the command and by the API."""
    return {
        "id": str(worker.id),
        "state": worker.state,
        "host": worker.host,
        "pid": worker.pid,
        "version": worker.version,
        "engine": worker.engine,
        "concurrency": worker.concurrency,
        "task_types": [task_type.value for task_type in worker.task_types],
        "session_ids": None if worker.session_ids is None else list(map(str, worker.session_ids)),
        "started_at": worker.started_at.isoformat(),
        "seen_seconds_ago": round(worker.seen_seconds, 1),
        "held_count": worker.held_count,
        "held": [
            {
                "session_id": str(task.session_id),
                "task_type": task.task_type.value,
                "seconds": round(task.seconds, 1),
            }
            for task in worker.held
        ],
    }
