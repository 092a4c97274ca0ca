"""One converter in a process of its own, in an environment of its own.

    python driver.py CONVERTER DOCUMENTS.json

Commands come a line at a time: `convert FILE` writes the result of each document; `time FILE`
converts the documents whose numbers are in the file, and writes the seconds that took.
"""

from __future__ import annotations

import importlib
import inspect
import json
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Convert = Callable[[str], Any]

SECONDS_A_DOCUMENT = 30
SECONDS_IN_ALL = 240
"""A converter that is slower is judged on the documents that it reaches in this time."""

BASE = "https://base.example/"


def _value(function: Any) -> Convert:
    return lambda source: function(source).value


def _as_json(function: Any) -> Convert:
    return lambda source: json.loads(function(source, src="md", dst="adf"))


CONVERTERS: dict[str, tuple[str, str, Callable[[Any], Convert] | None]] = {
    "reference": ("reading", "read", None),
    "html": ("reading", "to_html", None),
    "md-adf": ("md_adf", "markdown_to_adf", _value),
    "adf-bridge": ("adf_bridge", "markdown_to_adf", _value),
    "adflux": ("adflux", "convert", _as_json),
    "marklas": ("marklas", "to_adf", None),
    "marklassian": ("marklassian", "markdown_to_adf", None),
    "md2adf": ("md2adf.converter", "convert", None),
    "md-to-adf": ("md_to_adf", "convert", None),
    "html-to-adf": ("html_to_adf", "convert_html_to_adf", None),
}
"""Where the function of each is, and what makes one out of it that takes a text and returns ADF."""


def converter(name: str) -> tuple[Convert, Convert | None]:
    """The function that converts one document, and for ours the one that finds its title."""
    if name in CONVERTERS:
        module, attribute, adapted = CONVERTERS[name]
        function = getattr(importlib.import_module(module), attribute)
        return (function if adapted is None else adapted(function)), None
    own = importlib.import_module("app.tasks.adf.markdown")
    takes_base = "base_url" in inspect.signature(own.markdown_to_adf).parameters
    given = {"base_url": BASE} if takes_base else {}
    return (
        lambda source: own.markdown_to_adf(source, **given),
        lambda source: own.split_sections(source, None, **given)[0].title,
    )


def too_slow(*_: object) -> None:
    raise TimeoutError(f"more than {SECONDS_A_DOCUMENT} s")


def main() -> None:
    warnings.simplefilter("ignore")
    convert, title_of = converter(sys.argv[1])
    documents = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    answers, sys.stdout = sys.stdout, sys.stderr  # what a converter prints is no answer
    signal.signal(signal.SIGALRM, too_slow)
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        command, _, file = line.strip().partition(" ")
        if command == "convert":
            results: list[dict[str, Any]] = []
            until = time.perf_counter() + SECONDS_IN_ALL
            for document in documents:
                if time.perf_counter() > until:
                    results.append({"skipped": True})
                    continue
                signal.alarm(SECONDS_A_DOCUMENT)
                try:
                    begun = time.perf_counter()
                    result = {"adf": convert(document), "seconds": time.perf_counter() - begun}
                    if title_of is not None:
                        result["title"] = title_of(document)
                    json.dumps(result)
                except Exception as error:  # noqa: BLE001 - any error is a result
                    result = {"error": f"{type(error).__name__}: {error}"[:200]}
                signal.alarm(0)
                results.append(result)
            Path(file).write_text(json.dumps(results), encoding="utf-8")
            print("done", file=answers, flush=True)
        elif command == "time":
            chosen = [documents[each] for each in json.loads(Path(file).read_text())]
            begun = time.perf_counter()
            for document in chosen:
                convert(document)
            print(time.perf_counter() - begun, file=answers, flush=True)


if __name__ == "__main__":
    main()
