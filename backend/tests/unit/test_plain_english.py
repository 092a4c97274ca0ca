"""The check for odd English finds it wherever people read it, and nowhere else."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from tools.plain_english import findings_in

import app

APP = Path(app.__file__).parent


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("a.py", '"""Summary.\n\nSay who asked."""\n', [(3, "who")]),
        ("a.py", "x = 1  # anew\n", [(1, "anew")]),
        ("a.py", "raise ValueError(f'{whom} waits for ever')\n", [(1, "for ever")]),
        ("a.py", 'def f():\n    """What it does."""\n', [(2, "What")]),
        ("a.py", "def told(whoever):\n    return whoever\n", []),
        ("a.py", '"""Who can fix it, and people who wait."""\n', [(1, "Who")]),
        ("a.md", "It runs by\nitself.\n", [(1, "by\nitself")]),
        ("a.md", "```\nanew\n```\nSee `anew`.\n\nTold.\n", [(6, "Told")]),
        ("a.html", '<p class="told">{{ told }}\nIt was told.</p>{# anew #}\n', [(2, "told")]),
    ],
)
def test_odd_phrases_are_found_in_prose_and_not_in_code(
    tmp_path: Path, name: str, text: str, found: list[tuple[int, str]]
) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    assert [(finding.line, finding.phrase) for finding in findings_in(path)] == found


def test_messages_of_errors_end_without_a_period_as_doors_add_what_follows() -> None:
    ended = [
        (path.name, call.lineno)
        for path in sorted(APP.rglob("*.py"))
        for call in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(call, ast.Call)
        and call.args
        and (
            "next_step" in {keyword.arg for keyword in call.keywords}
            or getattr(call.func, "id", "") == "_unusable"
        )
        and ast.unparse(call.args[0]).rstrip("'\"").endswith(".")
    ]
    assert ended == []
