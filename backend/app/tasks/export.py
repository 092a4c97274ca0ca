"""The task `export`: tickets become the bodies of a Jira import."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.tasks.jira.delivery import deliver_tickets
from app.tasks.jira_import import build_bodies, project_of
from app.values.results import TaskResults

if TYPE_CHECKING:
    from app.tasks.context import TaskContext
    from app.values.results import ExportBody


def export_tickets(context: TaskContext) -> TaskResults:
    """Make the bulk bodies for all tickets of the session, in order; progress counts issues.

    A session that goes to a Jira site has its issues created there
    (`app.tasks.jira.delivery.deliver_tickets`), and its bodies are what was sent.

    Raises:
        ConfigurationError: the project key or the issue type cannot be used.
        ContentViolation: a description is no ADF document at all.

    """
    if context.options.to is not None:
        return deliver_tickets(context)
    total = context.counts().tickets
    bodies: list[ExportBody] = []
    issue_count = 0
    for body in build_bodies(
        context.tickets(),
        project_key=project_of(context.options, context.settings),
        issue_type=context.options.issue_type,
    ):
        bodies.append(body)
        issue_count += body.issue_count
        context.progress(issue_count, total)
    return TaskResults(exports=bodies)
