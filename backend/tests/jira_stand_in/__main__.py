"""Run the stand-in by hand: `PYTHONPATH=backend python -m tests.jira_stand_in --port 8099`."""

from __future__ import annotations

import argparse
import threading

from tests.jira_stand_in.server import JiraStandIn

parser = argparse.ArgumentParser(prog="python -m tests.jira_stand_in", description=__doc__)
parser.add_argument("--port", type=int, default=8099)
parser.add_argument("--project", default="SHOP", help="the key of its project")
parser.add_argument("--seconds", type=float, default=0.0, help="that each request takes")
parser.add_argument("--token", default="stand-in-token", help="of ann.other@example.com")
options = parser.parse_args()

with JiraStandIn(port=options.port) as jira:
    jira.site.add_project(options.project, components=("Cart",), versions=("1.0",))
    jira.seconds_each = {"": options.seconds}
    account = jira.site.add_account("Ann Other", token=options.token)
    print(f"export SESSION_TASKS_JIRA_URL={jira.url}")
    print(f"export SESSION_TASKS_JIRA_EMAIL={account.email}")
    print(f"export SESSION_TASKS_JIRA_TOKEN={options.token}", flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print(f"{len(jira.site.issues)} issues; violations: {jira.violations}")
