"""Generate the documents of `serve --demo`: handbooks and lists of any length."""

from __future__ import annotations

import csv
import io
import random

from app.repositories.content_reader import IncomingDocument

_TEAMS = ("Platform", "Payments", "Search", "Mobile", "Support", "Data")
_SUBJECTS = (
    "Rotate the signing keys",
    "Move the image service to the new region",
    "Answer requests for deletion within 30 days",
    "Show the tax of each line in the cart",
    "Warn before a certificate expires",
    "Keep drafts when the connection is lost",
    "Import the suppliers' price lists",
    "Retire the old login page",
    "Explain refused payments in plain words",
    "Restore a backup every quarter",
    "Measure the time to the first result",
    "Translate the mails about orders",
)
_PRIORITIES = ("High", "Medium", "Low")


def handbook(name: str, headings: int) -> IncomingDocument:
    """Return a Markdown handbook with so many sections, each of which becomes a ticket."""
    chance = random.Random(name)  # noqa: S311 - sample text, the same at every start
    title = name.removesuffix(".md").lstrip("0123456789-").replace("-", " ").capitalize()
    parts = [f"# {title}\n\n{headings} steps, each with its **team** and how long it takes.\n"]
    for number in range(1, headings + 1):
        subject, team = chance.choice(_SUBJECTS), chance.choice(_TEAMS)
        parts.append(
            f"## {subject} ({number})\n\nThe **{team}** team does this; it takes about"
            f" {chance.randint(1, 8)} hours.\n\n"
            f"1. Read the notes of the last time.\n2. Tell `#{team.lower()}` before you begin.\n"
            "3. Write down what surprised you.\n\n"
            "> [!NOTE]\n> Do it in a week without a release.\n\n"
            f"| step | team | minutes |\n|---|---|---|\n| prepare | {team} |"
            f" {chance.randint(5, 60)} |\n| check | Support | {chance.randint(5, 60)} |\n"
        )
    return IncomingDocument(name, "\n".join(parts).encode())


def backlog(name: str, rows: int) -> IncomingDocument:
    """Return a CSV backlog with so many rows, each of which becomes a ticket."""
    chance = random.Random(name)  # noqa: S311 - as above
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["Summary", "Description", "Priority", "Labels"])
    for number in range(1, rows + 1):
        subject, team = chance.choice(_SUBJECTS), chance.choice(_TEAMS)
        words = f"Asked for by **{team}**, {chance.randint(2, 90)} votes.\n\n- [ ] design\n- [ ] do"
        table.writerow([f"{subject} ({number})", words, chance.choice(_PRIORITIES), team])
    return IncomingDocument(name, text.getvalue().encode())


def list_without_titles(name: str) -> IncomingDocument:
    """Return a CSV whose columns have no usual name: the user must say which holds the titles."""
    return IncomingDocument(name, b"article,price,stock\nDesk lamp,39.90,12\nDesk,240.00,3\n")


def overlong(name: str) -> IncomingDocument:
    """Return a Markdown file that Jira would refuse: its text is too long for one issue."""
    line = "The minutes of the meeting were read, discussed and approved without changes.\n\n"
    return IncomingDocument(name, f"# Minutes of ten years\n\n{line * 600}".encode())
