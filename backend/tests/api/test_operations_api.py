"""For operators: health, readiness, metrics, and documentation that matches the code."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from chaos.waiting import until
from sqlalchemy import text

from app.api.document import openapi_text
from app.api.http_metrics import HttpMetrics
from app.api.server import listen_on
from app.core.errors import ConfigurationError
from app.engines.attempts import STALE, attempt_ended
from app.engines.metrics import Metrics
from app.engines.metrics_server import serving_metrics
from app.engines.worker import Worker
from app.models.session import TaskType
from app.values.claims import Claim
from tests.worker_rows import add_worker

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"


def test_ready_only_while_work_can_be_taken(make_server: Any) -> None:
    api = make_server()
    client = api.client()
    add_worker(api.database)
    assert client.get("/healthz").json() == {"status": "ok"}
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["ready"]) == (200, True)
    with api.database.transaction() as db:
        session_id, task_id = uuid.uuid4(), uuid.uuid4()
        db.execute(text("INSERT INTO sessions (id) VALUES (:id)"), {"id": session_id})
        db.execute(
            text(
                "INSERT INTO session_task_leases"
                " (session_id, task_id, task_type, claimed_at, leased_until)"
                " VALUES (:id, :task, 'processing', clock_timestamp(),"
                " clock_timestamp() - interval '10 minutes')"
            ),
            {"id": session_id, "task": task_id},
        )
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert [c["name"] for c in answer.json()["checks"] if not c["ok"]] == ["sweep"]


def test_celery_without_its_broker_is_ready_only_where_another_engine_works(
    make_server: Any,
) -> None:
    api = make_server(engine="celery", broker_url="redis://:hunter2@127.0.0.1:1/0")
    add_worker(api.database, engine="celery")
    answer = api.client().get("/readyz")
    assert answer.status_code == 503
    assert [c["name"] for c in answer.json()["checks"] if not c["ok"]] == ["broker"]
    add_worker(api.database, engine="embedded")
    answer = api.client().get("/readyz")
    assert answer.status_code == 200
    assert "broker cannot be reached; embedded workers" in answer.text
    assert "127.0.0.1" not in answer.text


def test_ready_says_that_migrations_are_missing(make_server: Any) -> None:
    api = make_server()
    add_worker(api.database)
    with api.database.transaction() as db:
        db.execute(text("UPDATE session_tasks_version SET version_num = '0001'"))
    answer = api.client().get("/readyz")
    assert answer.status_code == 503
    assert [c["name"] for c in answer.json()["checks"] if not c["ok"]] == ["migrations"]


def test_figures_count_what_happened_and_name_nobody(
    make_server: Any, open_session: Callable[..., str]
) -> None:
    api = make_server()
    client = api.client(api.key("a-telling-owner"))
    session = open_session(client, label="a-telling-label")
    client.post(f"{session}/task")
    assert "session_tasks_waiting 1.0" in client.get("/metrics").text
    with Worker(api.database, api.settings, concurrency=1, threads=True):
        until(lambda: client.get(f"{session}/task").json()["status"] == "completed", "it")
    figures = api.client().get("/metrics").text
    assert 'session_tasks_started_total{task_type="processing"} 1.0' in figures
    assert 'session_tasks_finished_total{outcome="completed",task_type="processing"} 1.0' in figures
    assert "session_tasks_waiting 0.0" in figures
    assert 'session_tasks_wait_seconds_count{task_type="processing"} 1.0' in figures
    assert 'route="/api/v1/sessions/{session_id}/task"' in figures
    assert "a-telling" not in figures
    assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}-", figures)


def test_stale_claim_is_counted() -> None:
    figures = Metrics()
    stop = figures.observe()
    claim = Claim(*(uuid.uuid4() for _ in range(2)), TaskType.EXPORT, 1, uuid.uuid4(), uuid.uuid4())
    for outcome in ("completed", STALE, "released"):
        attempt_ended(claim, outcome, 1.0)
    stop()
    attempt_ended(claim, STALE, 1.0)
    assert "session_tasks_stale_claims_total 1.0" in figures.text(None).decode()


def test_process_that_serves_nothing_else_tells_its_figures(
    make_server: Any, open_session: Callable[..., str]
) -> None:
    api = make_server()
    client = api.client(api.key())
    with serving_metrics(api.database, host="127.0.0.1", port=0) as port:
        client.post(f"{open_session(client)}/task")
        figures = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=30).text
        assert "session_tasks_waiting 1.0" in figures
        assert 'session_tasks_started_total{task_type="processing"} 1.0' in figures
        with (
            pytest.raises(ConfigurationError, match="No figures"),
            serving_metrics(api.database, host="127.0.0.1", port=port),
        ):
            pass
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=30)


@pytest.mark.parametrize("host", ["127.0.0.1", "192.0.2.1", "nonsense.invalid"])
def test_what_cannot_be_listened_on_is_said_before_anything_is_begun(host: str) -> None:
    with (
        listen_on("127.0.0.1", 0) as taken,
        pytest.raises(ConfigurationError, match="Nothing can listen") as refused,
    ):
        listen_on(host, taken.getsockname()[1])
    assert "--port" in refused.value.next_step


def test_every_metric_of_the_dashboard_exists(api: Any) -> None:
    dashboard = (DOCS / "grafana-dashboard.json").read_text()
    expressions = [
        target["expr"]
        for panel in json.loads(dashboard)["panels"]
        for target in panel.get("targets", ())
    ]
    named = {name for text_ in expressions for name in re.findall(r"session_tasks_\w+", text_)}
    told = {
        line.split()[2]
        for line in api.client().get("/metrics").text.splitlines()
        if line.startswith("# TYPE") and "_created " not in line
    }
    assert {re.sub(r"_bucket$|_sum$|_count$", "", name) for name in named} == told
    page = (DOCS / "operations.md").read_text()
    rows = re.findall(r"^\| `(session_tasks_\w+)` \| (.*?) \|", page, re.MULTILINE)
    assert {name for name, _ in rows} == told
    kept = HttpMetrics().registry._names_to_collectors
    for name, labels in rows:
        assert labels == ", ".join(kept[name]._labelnames or ["-"])


def test_committed_openapi_document_is_the_apps_own() -> None:
    committed = (DOCS / "openapi.json").read_text()
    assert committed == openapi_text(), (
        "run: .venv/bin/python -m app.api.document > docs/openapi.json"
    )


def test_every_operation_is_documented_and_locked() -> None:
    document = json.loads(openapi_text())
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], (method, path)
            assert operation["description"], (method, path)
            is_open = path in {"/healthz", "/readyz", "/metrics"}
            assert ("security" in operation) != is_open, (method, path)


def commands_of(page: Path) -> list[str]:
    """Return the shell blocks of a page, in order."""
    return re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_four_curl_commands_of_the_page_lead_to_a_finished_export(
    make_server: Any, tmp_path: Path
) -> None:
    api = make_server()
    (tmp_path / "notes.md").write_text("# First\n\nText.\n")
    script = "\n".join(commands_of(DOCS / "api.md"))
    assert script.count("curl ") == 4
    with Worker(api.database, api.settings, concurrency=1, threads=True):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=tmp_path,
            env={**os.environ, "API": api.url, "KEY": api.key()},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    export = json.loads((tmp_path / "jira-import.json").read_text())
    assert export["bodies"][0]["issueUpdates"][0]["fields"]["summary"] == "First"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_makes_a_key_on_its_first_start_and_stops_cleanly(
    database_url: str, tmp_path: Path, number: signal.Signals
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", "from app.cli import main; main()", "serve", "--port", "0"],
        env={
            **os.environ,
            "SESSION_TASKS_DATABASE_URL": database_url,
            "SESSION_TASKS_DATA_DIR": str(tmp_path),
            "PYTHONPATH": str(ROOT / "backend"),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        link = re.search(r"(http://127\S+)\n.* (st_\S+)\n.*\1/login\?code=\S{43}\n", "".join(lines))
        assert link is not None, lines
        answer = _get(link[1] + "/api/v1/sessions", link[2])
        assert answer.status_code == 200
    finally:
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert link[2] not in errors


def _get(url: str, key: str) -> httpx.Response:
    return httpx.get(url, headers={"Authorization": f"Bearer {key}"}, timeout=30)
