"""Documents a second from Markdown to ADF: ours, `marklassian`, and pyromark's HTML.

    python -m benchmarks.adf_conversion [SECONDS]

The converters take turns, round after round, so that whatever else the machine does hits all of
them alike; the medians of the rounds are compared, and only the ratio is a result.
"""

from __future__ import annotations

import gc
import json
import platform
import random
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import marklassian
import pyromark

from app.tasks.adf.markdown import markdown_to_adf

if TYPE_CHECKING:
    from collections.abc import Callable

SEED = 20_260
TICKETS = 100
TICKET_CHARACTERS = 1_024
EXAMPLES = Path(__file__).parents[1] / "backend/tests/data/commonmark/commonmark-0.31.2.json"
WORDS = (
    *(
        "session",
        "task",
        "worker",
        "lease",
        "row",
        "claim",
        "export",
        "ticket",
        "retry",
        "database",
    ),
    *("restart", "heartbeat", "sweeper", "document", "heading", "table", "import", "transaction"),
    *(
        "status",
        "stage",
        "failure",
        "message",
        "operator",
        "upgrade",
        "the",
        "a",
        "of",
        "to",
        "and",
    ),
    *("is", "not", "after", "before", "with", "every", "when", "only"),
)


def ticket(random_: random.Random) -> str:
    """One ticket's description of about 1 KB, with the markup that people use in tickets."""

    def words(least: int, most: int) -> str:
        return " ".join(random_.choices(WORDS, k=random_.randint(least, most)))

    def sentence() -> str:
        marked = random_.choice(
            ["**{}**", "*{}*", "`{}`", "[{}](https://example.com/a?b=1)", "{}", "{}", "{}", "{}"]
        )
        return f"{words(5, 10).capitalize()} {marked.format(words(1, 3))} {words(3, 9)}."

    def paragraph() -> str:
        return "\n".join(sentence() for _ in range(random_.randint(1, 4)))

    blocks: list[Callable[[], str]] = [
        paragraph,
        paragraph,
        paragraph,
        lambda: f"## {words(2, 5).capitalize()}",
        lambda: "\n".join(f"- {sentence()}" for _ in range(3)),
        lambda: "\n".join(f"{n}. {words(4, 9)}" for n in range(1, 4)),
        lambda: "\n".join(f"- [{random_.choice(' x')}] {words(3, 8)}" for _ in range(3)),
        lambda: f"```python\n{words(2, 3).replace(' ', '_')} = {random_.randint(1, 99)}\n```",
        lambda: f"> {sentence()}",
        lambda: (
            "| a | b |\n|---|---|\n"
            + "\n".join(f"| {words(1, 2)} | {words(1, 4)} |" for _ in range(3))
        ),
    ]
    written: list[str] = []
    while sum(map(len, written)) < TICKET_CHARACTERS - 100:
        written.append(random_.choice(blocks)())
    return "\n\n".join(written)


def measure(seconds: float = 10.0) -> dict[str, Any]:
    """The medians of interleaved rounds, in documents a second, and what we are ahead by."""
    random_ = random.Random(SEED)
    examples = json.loads(EXAMPLES.read_text(encoding="utf-8"))
    corpora = {
        "tickets of 1 KB": [ticket(random_) for _ in range(TICKETS)],
        "CommonMark examples": [example["markdown"] for example in examples],
    }
    report: dict[str, Any] = {
        "seed": SEED,
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
    }
    for name, documents in corpora.items():
        report[name] = _race(documents, seconds / len(corpora))
    return report


def _race(documents: list[str], seconds: float) -> dict[str, Any]:
    floor = pyromark.Markdown(options=pyromark.Options.ENABLE_TABLES)
    refused = 0
    convertible: list[str] = []
    for document in documents:
        try:
            marklassian.markdown_to_adf(document)
        except Exception:  # noqa: BLE001 - whatever it is, that document is left out for both
            refused += 1
        else:
            convertible.append(document)
    converters: dict[str, Callable[[str], Any]] = {
        "ours": markdown_to_adf,
        "ours, as JSON text": lambda source: json.dumps(markdown_to_adf(source)),
        "marklassian": marklassian.markdown_to_adf,
        "pyromark, HTML only": floor.html,
    }
    rounds: dict[str, list[float]] = {name: [] for name in converters}
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or not rounds["ours"]:
        for name, convert in converters.items():
            gc.collect()
            started = time.perf_counter()
            for document in convertible:
                convert(document)
            rounds[name].append(len(convertible) / (time.perf_counter() - started))
    medians = {name: statistics.median(taken) for name, taken in rounds.items()}
    return {
        "documents": len(convertible),
        "characters": sum(map(len, convertible)),
        "refused by marklassian": refused,
        "rounds": len(rounds["ours"]),
        "documents/s": {name: round(median) for name, median in medians.items()},
        "ahead of marklassian": round(medians["ours"] / medians["marklassian"], 2),
        "seconds for 10,000 as JSON text": round(10_000 / medians["ours, as JSON text"], 2),
    }


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    print(json.dumps(measure(seconds), indent=2))


if __name__ == "__main__":
    main()
