"""How many ADF descriptions a second are validated and exported, beside the bare schema check."""

from __future__ import annotations

import copy
import json
import random
import statistics
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from app.tasks.adf.atlassian_schema import load_validator
from app.tasks.adf.validation import find_violations, is_valid_adf
from app.tasks.jira_import import build_bodies
from app.values.results import TicketDraft

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

SEED = 20_261_123
DOCUMENTS = 2_000
ROUNDS = 5
WORDS = (
    *("import", "session", "ticket", "export", "worker", "lease", "retry", "customer", "report"),
    *("deadline", "invoice", "upload", "calendar", "quarter", "review", "release", "window"),
)

Node = dict[str, Any]


def make_documents(count: int) -> list[Node]:
    """Descriptions of about 1 to 3 KB, as people write them; the same for the same seed."""
    source = random.Random(SEED)
    return [_document(source, source.randint(1_000, 3_000)) for _ in range(count)]


def spoil(documents: list[Node]) -> list[Node]:
    """Copies of the documents with one mistake each, in their last node."""
    source = random.Random(SEED)
    spoilt = copy.deepcopy(documents)
    for document in spoilt:
        last = document["content"][-1]
        last[source.choice(("type", "content", "colour"))] = "wrong"
    return spoilt


def measure() -> dict[str, Any]:
    """Documents a second, the median of several rounds that take turns, and ratios within them."""
    documents = make_documents(DOCUMENTS)
    texts = [json.dumps(document, separators=(",", ":")) for document in documents]
    spoilt = spoil(documents)
    assert not any(map(find_violations, documents))
    assert all(map(find_violations, spoilt))
    validator = load_validator()
    tickets = [TicketDraft(f"Ticket {at}", text, "a.md", 1) for at, text in enumerate(texts)]
    contenders: dict[str, Callable[[], Iterable[object]]] = {
        "schema_verdict_only": lambda: map(validator.is_valid, documents),
        "is_valid_adf": lambda: map(is_valid_adf, documents),
        "find_violations": lambda: map(find_violations, documents),
        "find_violations_in_wrong": lambda: map(find_violations, spoilt),
        "json_loads": lambda: map(json.loads, texts),
        "export_bodies": lambda: build_bodies(tickets, project_key="ABC", issue_type="Task"),
    }
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, work in contenders.items():
            start = time.perf_counter()
            deque(work(), maxlen=0)  # run it, keep nothing
            rates[name].append(DOCUMENTS / (time.perf_counter() - start))
    per_second = {name: statistics.median(figures) for name, figures in rates.items()}
    return {
        "seed": SEED,
        "documents": DOCUMENTS,
        "mean_bytes": round(statistics.mean(len(text) for text in texts)),
        "documents_per_second": {name: round(figure) for name, figure in per_second.items()},
        "find_violations_over_schema_verdict_only": round(
            per_second["find_violations"] / per_second["schema_verdict_only"], 2
        ),
        "find_violations_over_json_loads": round(
            per_second["find_violations"] / per_second["json_loads"], 2
        ),
    }


def _document(source: random.Random, size: int) -> Node:
    nodes: list[Node] = []
    written = 0
    while written < size:
        node = source.choice((_heading, _paragraph, _list, _code, _table))(source)
        nodes.append(node)
        written += len(json.dumps(node, separators=(",", ":")))
    return {"version": 1, "type": "doc", "content": nodes}


def _words(source: random.Random, count: int) -> str:
    return " ".join(source.choices(WORDS, k=count))


def _text(source: random.Random, count: int, *marks: Node) -> Node:
    text: Node = {"type": "text", "text": _words(source, count)}
    return text | {"marks": list(marks)} if marks else text


def _heading(source: random.Random) -> Node:
    level = source.randint(1, 6)
    return {"type": "heading", "attrs": {"level": level}, "content": [_text(source, 4)]}


def _paragraph(source: random.Random) -> Node:
    link = {"type": "link", "attrs": {"href": f"https://example.com/{source.randint(1, 999)}"}}
    content = [
        _text(source, 9),
        _text(source, 2, {"type": "strong"}),
        _text(source, 9),
        _text(source, 2, link),
    ]
    return {"type": "paragraph", "content": content}


def _list(source: random.Random) -> Node:
    items = [{"type": "listItem", "content": [_plain(source, 8)]} for _ in range(3)]
    return {"type": source.choice(("bulletList", "orderedList")), "content": items}


def _code(source: random.Random) -> Node:
    return {"type": "codeBlock", "attrs": {"language": "text"}, "content": [_text(source, 20)]}


def _table(source: random.Random) -> Node:
    def row(kind: str) -> Node:
        cells: Iterator[Node] = ({"type": kind, "content": [_plain(source, 2)]} for _ in range(2))
        return {"type": "tableRow", "content": list(cells)}

    return {"type": "table", "content": [row("tableHeader"), row("tableCell"), row("tableCell")]}


def _plain(source: random.Random, count: int) -> Node:
    return {"type": "paragraph", "content": [_text(source, count)]}


def main() -> None:
    """Print the figures."""
    print(json.dumps(measure(), indent=2))


if __name__ == "__main__":
    main()
