"""Issues that are created once: whatever Jira responds, and wherever a run is broken off."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from app.core.config import Settings
from app.core.database import Database
from app.core.errors import ErrorCategory
from app.engines.execution import Completed, Failed, Outcome, run_handler
from app.models.session import TaskType
from app.repositories import steps
from app.repositories.content_repository import ContentRepository
from app.repositories.session_repository import SessionRepository
from app.tasks.context import Progress, TaskContext, TaskIdentity
from app.tasks.jira.client import JiraClient
from app.tasks.jira.delivery import PROPERTY
from app.values.results import NO_FIELDS, TaskResults, TicketDraft
from tests.jira_stand_in.misbehaving import Does, Fault, Says
from tests.jira_stand_in.server import JiraStandIn
from tests.jira_stand_in.site import Account, Issue, Project

pytestmark = pytest.mark.usefixtures("project")

DOCUMENT = json.dumps(
    {
        "type": "doc",
        "version": 1,
        "content": [{"type": "paragraph", "content": [{"type": "text", "text": "What to do"}]}],
    }
)


SEARCH = "searchAndReconsileIssuesUsingJqlPost"


def ticket(number: int, fields: dict[str, Any] | None = None, **more: Any) -> TicketDraft:
    written = json.dumps(fields) if fields else NO_FIELDS
    return TicketDraft(f"Ticket {number}", DOCUMENT, "issues.csv", number, fields=written, **more)


class Killed(BaseException):
    """Stands for SIGKILL: nothing of the run goes on, and nothing is written."""


class Exporting:
    """A session whose export runs here, attempt by attempt, as a worker would have it."""

    def __init__(self, database: Database, tickets: list[TicketDraft], **options: Any) -> None:
        self.database = database
        self.progress: list[Progress] = []
        chosen = {"to": "jira", "project_key": "SHOP", **options}
        with database.transaction() as db:
            sessions = SessionRepository(db)
            self.id = sessions.create_session(options=chosen, auto_advance=True).id
            started = sessions.start_task(self.id, TaskType.PROCESSING)
        with database.transaction() as db:
            sessions = SessionRepository(db)
            claim = sessions.claim_task(self.id, started.task_id, uuid.uuid4())
            assert claim is not None
            sessions.complete_task(claim, TaskResults(tickets=tickets))

    def attempt(self, *, settings: Settings | None = None) -> Outcome:
        """Run the task that waits, and write its outcome."""
        context, claim = self._claimed(settings)
        reference = {
            TaskType.EXPORT: "app.tasks.export:export_tickets",
            TaskType.ADF_VALIDATION: "app.tasks.adf_validation:validate_export",
        }[claim.task_type]
        outcome = run_handler(reference, context, worker="here")
        failure = outcome.context if isinstance(outcome, Failed) else None
        if failure is not None and failure["error"] == "Killed":
            outcome = Failed({"error": "worker_lost", "message": "", "category": "temporary"})
        with self.database.transaction() as db:
            sessions = SessionRepository(db)
            if isinstance(outcome, Completed):
                sessions.complete_task(claim, outcome.results)
            elif isinstance(outcome, Failed):
                sessions.fail_task(claim, outcome.context, outcome.results)
        return outcome

    def retry(self, **options: Any) -> Exporting:
        with self.database.transaction() as db:
            sessions = SessionRepository(db)
            sessions.retry_task(self.id)
            sessions.change_options(self.id, options)
        return self

    def keys(self) -> dict[int, str]:
        with self.database.transaction() as db:
            return {each.ticket: each.key for each in ContentRepository(db).issues(self.id)}

    def findings(self) -> list[Any]:
        with self.database.transaction() as db:
            return ContentRepository(db).findings(self.id)

    def _claimed(self, settings: Settings | None) -> tuple[TaskContext, Any]:
        with self.database.transaction() as db:
            sessions = SessionRepository(db)
            task = sessions.get(self.id).task
            assert task is not None
            claim = sessions.claim_task(self.id, task.task_id, uuid.uuid4(), lease_seconds=600)
            assert claim is not None
        context = TaskContext(
            TaskIdentity(self.id, claim.task_id, claim.task_type, claim.attempt),
            settings=settings or self.database.settings,
            open_database=lambda: self.database,
            report=self.progress.append,
            is_cancelled=lambda: False,
            claim=lambda: claim,
        )
        return context, claim


@pytest.fixture
def open_session(
    jira: JiraStandIn, account: Account, settings: Settings, database_url: str
) -> Iterator[Callable[..., Exporting]]:
    """Open sessions with these tickets that go to the stand-in."""
    of_jira = settings.model_copy(
        update={
            "jira_url": jira.url,
            "jira_email": account.email,
            "jira_token": SecretStr(account.token),
            "jira_timeout_seconds": 2.0,
            "jira_index_seconds": 0.5,
            "jira_patience_seconds": 3.0,
        }
    )
    jira.site.index_delay_seconds = 0.3
    with Database(of_jira, database_url) as database:
        yield lambda tickets, **options: Exporting(database, tickets, **options)
    assert jira.violations == []


def created(jira: JiraStandIn, session: Exporting) -> dict[int, Issue]:
    """Return the session's issues by ticket: each once, and known to the session."""
    mine = [
        (int(issue.properties[PROPERTY]["ticket"]), issue)
        for issue in jira.site.issues.values()
        if issue.properties.get(PROPERTY, {}).get("session") == str(session.id)
    ]
    doubled = [number for number, count in Counter(n for n, _ in mine).items() if count > 1]
    assert doubled == []
    return dict(mine)


def assert_delivered(jira: JiraStandIn, session: Exporting, count: int) -> None:
    found = created(jira, session)
    assert set(found) == set(range(1, count + 1))
    assert session.keys() == {number: issue.key for number, issue in found.items()}


def test_each_ticket_becomes_one_issue_with_its_fields(
    open_session: Callable[..., Exporting], jira: JiraStandIn
) -> None:
    tickets = [ticket(number, {"labels": ["a b"], "priority": "High"}) for number in range(1, 121)]
    session = open_session(tickets)
    assert isinstance(session.attempt(), Completed)
    assert_delivered(jira, session, 120)
    sent = Counter(name for name, *_ in jira.requests)
    assert sent["createIssues"] == 3
    assert SEARCH not in sent  # every outcome is known
    fields = created(jira, session)[7].fields
    assert (fields["summary"], fields["labels"]) == ("Ticket 7", ["a-b"])
    assert fields["priority"]["name"] == "High"
    assert session.progress[-1].current == 120
    with session.database.transaction() as db:
        (first, *_others) = ContentRepository(db).issues(session.id)
        assert first.url == f"{jira.url}/browse/{first.key}"


def test_parents_are_created_before_their_children(
    open_session: Callable[..., Exporting], jira: JiraStandIn
) -> None:
    tickets = [
        ticket(1, {"issuetype": "Epic"}),
        ticket(2, parent=1),
        ticket(3, parent=1),
        ticket(4, {"issuetype": "Sub-task"}, parent=2),
    ]
    session = open_session(tickets)
    assert isinstance(session.attempt(), Completed)
    found = created(jira, session)
    parents = {n: (issue.fields["parent"] or {}).get("key") for n, issue in found.items()}
    keys = session.keys()
    assert parents == {1: None, 2: keys[1], 3: keys[1], 4: keys[2]}


def test_what_does_not_fit_the_site_is_named_whole_before_anything_is_sent(
    open_session: Callable[..., Exporting], jira: JiraStandIn
) -> None:
    tickets = [
        ticket(1),
        ticket(2, {"priority": "Blazing", "components": ["Cellar"]}),
        ticket(3, {"issuetype": "Wish"}),
        TicketDraft("Broken", '{"type":"doc","version":1,"content":[{"type":"no"}]}', "a.md", 1),
    ]
    session = open_session(tickets)
    outcome = session.attempt()
    assert isinstance(outcome, Failed)
    assert outcome.context["category"] == "user_fixable"
    found = Counter(finding.ticket for finding in session.findings())
    assert found == {2: 2, 3: 1, 4: 1}
    assert "Blazing" in session.findings()[0].reason
    assert jira.site.issues == {}


LOST = [
    Fault(says=Says.NOTHING),
    Fault(says=Says.HALF),
    Fault(says=Says.HTML),
    Fault(says=Says.FEWER),
    Fault(says=Says.STATUS, status=503, retry_after="1"),
    Fault(says=Says.STATUS, status=500),
    Fault(does=Does.NOTHING, says=Says.NOTHING),
    Fault(does=Does.NOTHING, says=Says.HTML),
    Fault(does=Does.NOTHING, says=Says.STATUS, status=503, retry_after="1"),
    Fault(does=Does.NOTHING, says=Says.STATUS, status=429, retry_after="1"),
    Fault(does=Does.SOME, count=3, says=Says.NOTHING),
    Fault(does=Does.SOME, count=1, says=Says.STATUS, status=504),
    Fault(does=Does.LATER, seconds_after=0.1, says=Says.NOTHING),
    Fault(seconds_before=2.5),
    Fault(seconds_after=2.5),
]


@pytest.mark.parametrize(
    "fault", LOST, ids=lambda f: f"{f.does.name} {f.says.name} {f.status} {f.seconds_before}"
)
def test_a_lost_response_neither_doubles_nor_loses_an_issue(
    fault: Fault, open_session: Callable[..., Exporting], jira: JiraStandIn
) -> None:
    session = open_session([ticket(number) for number in range(1, 61)])
    jira.misbehave(fault)
    assert isinstance(session.attempt(), Completed)
    assert_delivered(jira, session, 60)


POINTS = ("before the intent", "after the intent", "after the request", "after the issues")


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("request_number", [1, 2])
def test_a_run_that_is_killed_between_intent_and_keys_doubles_and_loses_nothing(
    point: str,
    request_number: int,
    open_session: Callable[..., Exporting],
    jira: JiraStandIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keep, create = steps.keep, JiraClient.create
    with monkeypatch.context() as patched:

        def dying_keep(connection: Any, claim: Any, name: str, result: str, **more: Any) -> bool:
            if (name, point) == (f"intent {request_number}", "before the intent"):
                raise Killed
            kept = keep(connection, claim, name, result, **more)
            dies_at = {"after the intent": "intent", "after the issues": "issues"}.get(point)
            if name == f"{dies_at} {request_number}":
                raise Killed
            return kept

        def dying_create(client: JiraClient, body: bytes) -> Any:
            answer = create(client, body)
            sent = [name for name, *_ in jira.requests].count("createIssues")
            if point == "after the request" and sent == request_number:
                raise Killed
            return answer

        patched.setattr(steps, "keep", dying_keep)
        patched.setattr(JiraClient, "create", dying_create)
        session = open_session([ticket(number) for number in range(1, 121)])
        killed = session.attempt()
        assert isinstance(killed, Failed)
        assert killed.context["error"] == "worker_lost"
    assert isinstance(session.retry().attempt(), Completed)
    assert_delivered(jira, session, 120)


def test_what_jira_refuses_is_a_finding_and_alone_is_sent_again(
    open_session: Callable[..., Exporting], jira: JiraStandIn
) -> None:
    session = open_session([ticket(number) for number in range(1, 11)])
    jira.misbehave(Fault(refused=frozenset((2, 7))))
    outcome = session.attempt()
    assert isinstance(outcome, Failed)
    assert outcome.context["category"] == "user_fixable"
    assert outcome.context["refused_ticket_count"] == 2
    findings = [(f.ticket, f.source_name, f.source_row, f.reason) for f in session.findings()]
    assert {f.path for f in session.findings()} == {"/fields/summary"}
    reason = "Summary: Something went wrong on our side."
    assert findings == [(3, "issues.csv", 3, reason), (8, "issues.csv", 8, reason)]
    assert len(session.keys()) == 8
    assert isinstance(session.retry().attempt(), Completed)
    assert_delivered(jira, session, 10)


def test_a_field_that_leaves_the_screen_midway_asks_for_no_session_that_doubles_the_others(
    open_session: Callable[..., Exporting], jira: JiraStandIn, project: Project
) -> None:
    session = open_session([ticket(number, {"labels": ["a"]}) for number in range(1, 61)])
    requests = iter(range(3))

    def remove(operation: str) -> None:
        if operation == "createIssues" and next(requests) == 1:
            for issue_type in project.issue_types:
                del issue_type.screen["labels"]

    jira.choose_fault = remove
    session.attempt()
    assert len(session.keys()) == 50
    assert {finding.ticket for finding in session.findings()} == set(range(51, 61))
    jira.choose_fault = lambda _operation: None
    outcome = session.retry().attempt()
    assert isinstance(outcome, Failed)
    next_step = outcome.context["next_step"]
    assert "a new session would create them again" in next_step
    assert "open a new session" not in next_step
    assert len(session.keys()) == 50


def test_children_of_a_refused_parent_wait_for_it(
    open_session: Callable[..., Exporting], jira: JiraStandIn
) -> None:
    tickets = [ticket(1, {"issuetype": "Epic"}), ticket(2), ticket(3, parent=1)]
    session = open_session(tickets)
    jira.misbehave(Fault(refused=frozenset((0,))))
    session.attempt()
    orphan = session.findings()[1]
    assert (orphan.path, orphan.reason) == (
        "/fields/parent", "Parent: its parent, ticket 1, was not created",
    )  # fmt: skip
    assert set(session.keys()) == {2}
    assert isinstance(session.retry().attempt(), Completed)
    assert_delivered(jira, session, 3)


def test_a_revoked_token_stops_the_delivery_and_a_new_one_goes_on(
    open_session: Callable[..., Exporting], jira: JiraStandIn, account: Account
) -> None:
    session = open_session([ticket(number) for number in range(1, 121)])
    token, requests = account.token, iter(range(3))

    def revoke(operation: str) -> None:
        if operation == "createIssues" and next(requests) == 0:
            account.token = "revoked"

    jira.choose_fault = revoke
    outcome = session.attempt()
    assert isinstance(outcome, Failed)
    assert outcome.context["category"] == ErrorCategory.ADMIN_REQUIRED.value
    assert "account's rights" in outcome.context["next_step"]
    assert len(session.keys()) == 50
    account.token = token
    jira.choose_fault = lambda _operation: None
    assert isinstance(session.retry().attempt(), Completed)
    assert_delivered(jira, session, 120)


def test_a_site_that_stays_away_is_a_temporary_failure(
    open_session: Callable[..., Exporting], jira: JiraStandIn
) -> None:
    session = open_session([ticket(1)])
    away = Fault("", does=Does.NOTHING, says=Says.STATUS, status=503)
    jira.choose_fault = lambda _operation: away
    outcome = session.attempt()
    assert isinstance(outcome, Failed)
    assert outcome.context["category"] == "temporary"
    jira.choose_fault = lambda _operation: None
    assert isinstance(session.retry().attempt(), Completed)
    assert_delivered(jira, session, 1)


def test_a_rate_limit_is_obeyed_and_progress_says_until_when(
    open_session: Callable[..., Exporting], jira: JiraStandIn
) -> None:
    session = open_session([ticket(1)])
    busy = Fault(does=Does.NOTHING, says=Says.STATUS, status=429, retry_after="1")
    jira.misbehave(busy)
    assert isinstance(session.attempt(), Completed)
    assert any("goes on at" in (each.message or "") for each in session.progress)


@pytest.mark.parametrize("how", ["reset", "start"])
def test_a_session_that_begins_again_goes_on_with_what_was_sent(
    how: str, open_session: Callable[..., Exporting], jira: JiraStandIn, account: Account
) -> None:
    session = open_session([ticket(number) for number in range(1, 61)])
    token, requests = account.token, iter(range(3))

    def revoke(operation: str) -> None:
        if operation == "createIssues" and next(requests) == 0:
            account.token = "revoked"

    jira.choose_fault = revoke
    session.attempt()
    account.token = token
    jira.choose_fault = lambda _operation: None
    with session.database.transaction() as db:
        sessions = SessionRepository(db)
        if how == "reset":
            sessions.reset_retries(session.id)
            sessions.retry_task(session.id)
        else:
            sessions.start_task(session.id, TaskType.EXPORT)
    assert isinstance(session.attempt(), Completed)
    assert_delivered(jira, session, 60)
    assert SEARCH not in {name for name, *_ in jira.requests}


def test_what_was_sent_to_another_project_is_looked_for_there(
    open_session: Callable[..., Exporting], jira: JiraStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    jira.site.add_project("OTHER")
    session = open_session([ticket(1), ticket(2)])
    with monkeypatch.context() as patched:
        create = JiraClient.create

        def dying_create(client: JiraClient, body: bytes) -> Any:
            create(client, body)
            raise Killed

        patched.setattr(JiraClient, "create", dying_create)
        session.attempt()
    assert isinstance(session.retry(project_key="OTHER").attempt(), Completed)
    assert session.keys() == {1: "SHOP-1", 2: "SHOP-2"}
    assert_delivered(jira, session, 2)


def test_a_changed_project_takes_what_is_not_yet_created(
    open_session: Callable[..., Exporting], jira: JiraStandIn, project: Project
) -> None:
    jira.site.add_project("OTHER")
    session = open_session([ticket(1), ticket(2)])
    jira.misbehave(Fault(refused=frozenset((1,))))
    session.attempt()
    assert isinstance(session.retry(project_key="OTHER").attempt(), Completed)
    assert session.keys() == {1: "SHOP-1", 2: "OTHER-1"}
    assert project.last_number == 1
