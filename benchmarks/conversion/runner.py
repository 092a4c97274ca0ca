"""Markdown to ADF by us and by every converter that installs, on the same documents, in one run.

    python -m benchmarks.conversion.runner [--keep FOLDER] [--misses]

The documents are the examples of CommonMark and GFM, and Markdown out of packages (`corpus.py`).
Each converter runs in a process and an environment of its own, made for the run and removed with
it. What a document says is read by comrak and Lexbor (`reading.py`); a converter's ADF is held to
that (`judging.py`). For the time they take turns, on the real documents that all of them convert.
Another checkout of ours joins in as `baseline`: SESSION_TASKS_BENCH_BASELINE names its Python.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.conversion import corpus, peers
from benchmarks.conversion.judging import Verdict, judge
from benchmarks.machine import baseline_python

ROUNDS = 5
SLOW_SECONDS = 30.0
"""A converter that takes longer is timed once, on the documents that it reaches."""

MANY_ERRORS = 0.1
"""A converter that refuses more of the documents than this is timed on those that it takes."""

Results = dict[str, list[dict[str, Any]]]


def measure(
    keep: Path | None = None, *, misses: bool = False, alone: bool = False
) -> dict[str, Any]:
    """Install, fetch, convert, judge and time; a folder to `keep` is used again by the next run."""
    with _folder(keep) as folder:
        real, not_fetched = _real_documents(folder)
        documents = {"examples": corpus.examples(), "real": real}
        _fresh(folder / "peers")
        found, not_installed = ([], {}) if alone else peers.installed(folder / "peers")
        reference = peers.installed_reference(folder / "peers")
        converters = [peers.own("ours", sys.executable), *found]
        if baseline := baseline_python():
            converters.insert(1, peers.own("baseline", baseline))
        report: dict[str, Any] = {
            "versions": {each.name: each.version for each in found},
            "reference": reference.version,
            "not installed": not_installed,
            "packages not fetched": not_fetched,
        }
        for name, corpus_documents in documents.items():
            race = _Race(folder, reference, converters, corpus_documents)
            report[name] = race.judged(misses=misses)
            if name == "real":
                report[name]["packages"] = sorted(
                    {each.name.partition(":")[0] for each in corpus_documents}
                )
                report[name] |= race.timed()
            race.close()
        return report


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="session-tasks-bench-") as folder:
        yield Path(folder)


def _real_documents(folder: Path) -> tuple[list[corpus.Document], list[str]]:
    packages = folder / "packages"
    if packages.exists():
        return corpus.documents_in(packages), []
    packages.mkdir()
    missing = corpus.fetch(packages)
    return corpus.documents_in(packages), missing


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


class _Race:
    """The converters on one list of documents."""

    def __init__(
        self,
        folder: Path,
        reference: peers.Converter,
        converters: list[peers.Converter],
        documents: list[corpus.Document],
    ) -> None:
        self._folder = folder
        self._documents = documents
        self._answer = folder / "answer.json"
        markdown = folder / "markdown.json"
        markdown.write_text(json.dumps([each.text for each in documents]), encoding="utf-8")
        readings = self._convert_alone(reference, markdown)
        self.references = [each["adf"] for each in readings]
        renderer = peers.Converter("html", "", (*reference.command[:-1], "html"), folder)
        html = folder / "html.json"
        rendered = [each["adf"] for each in self._convert_alone(renderer, markdown)]
        html.write_text(json.dumps(rendered), encoding="utf-8")
        self.processes: dict[str, peers.Process] = {}
        self.not_run: dict[str, str] = {}
        self.results: Results = {}
        for each in converters:
            begun = time.perf_counter()
            try:
                process = peers.Process(each, html if each.name in peers.FROM_HTML else markdown)
                self.results[each.name] = process.convert(self._answer)
                self.processes[each.name] = process
            except peers.NotRunError as error:
                self.not_run[each.name] = str(error)
            took = time.perf_counter() - begun
            print(f"{each.name}: {took:.1f} s for {len(documents)}", file=sys.stderr, flush=True)

    def _convert_alone(self, converter: peers.Converter, file: Path) -> list[dict[str, Any]]:
        process = peers.Process(converter, file)
        try:
            return process.convert(self._answer)
        finally:
            process.close()

    def judged(self, *, misses: bool) -> dict[str, Any]:
        """The judgements on all documents, summed up for each converter."""
        report: dict[str, Any] = {
            "documents": len(self._documents),
            "characters": sum(len(each.text) for each in self._documents),
            "not run": self.not_run,
            "constructs": _total(self.references),
        }
        for name, results in self.results.items():
            pairs = [
                (result, reference)
                for result, reference in zip(results, self.references, strict=True)
                if "skipped" not in result
            ]
            verdicts = [judge(result.get("adf"), reference) for result, reference in pairs]
            report[name] = _summary(verdicts, pairs)
            if misses and name == "ours":
                self._tell(verdicts, results)
        return report

    def timed(self) -> dict[str, Any]:
        """Documents a second: the medians of interleaved rounds, and ours over each."""
        refused = {
            name: {number for number, result in enumerate(results) if "error" in result}
            for name, results in self.results.items()
        }
        few = {
            name: numbers
            for name, numbers in refused.items()
            if len(numbers) <= MANY_ERRORS * len(self._documents)
        }
        few = {name: few[name] for name in few if not _is_slow(self.results[name])}
        slow = {
            name: [each["seconds"] for each in results if "seconds" in each]
            for name, results in self.results.items()
            if _is_slow(results)
        }
        chosen = sorted(set(range(len(self._documents))).difference(*few.values()))
        file = self._folder / "chosen.json"
        file.write_text(json.dumps(chosen))
        rounds: dict[str, list[float]] = {name: [] for name in few}
        for _ in range(ROUNDS):
            for name, seconds in rounds.items():
                seconds.append(self.processes[name].seconds(file))
        rates = {name: len(chosen) / statistics.median(seconds) for name, seconds in rounds.items()}
        rates |= {name: len(seconds) / sum(seconds) for name, seconds in slow.items()}
        return {
            "documents timed": len(chosen),
            "rounds": ROUNDS,
            "timed while they were judged": sorted(slow),
            "refuse too many to be timed": sorted(set(refused) - set(few) - set(slow)),
            "documents/s": {name: round(rate, 1) for name, rate in rates.items()},
            "ours over": {name: round(rates["ours"] / rate, 2) for name, rate in rates.items()},
        }

    def close(self) -> None:
        """End the processes."""
        for process in self.processes.values():
            process.close()

    def _tell(self, verdicts: list[Verdict], results: list[dict[str, Any]]) -> None:
        for document, verdict, result, reference in zip(
            self._documents, verdicts, results, self.references, strict=True
        ):
            title = result.get("title") or ""
            told = {
                "error": result.get("error"),
                "valid": None if verdict.is_valid else "invalid",
                "missing": verdict.missing[:8],
                "source": verdict.shows_source,
                "title": None if _same(title, reference["title"]) else (title, reference["title"]),
                **{kind: keys[:6] for kind, keys in verdict.lost.items()},
            }
            if any(told.values()):
                print(
                    document.name, json.dumps({k: v for k, v in told.items() if v}), file=sys.stderr
                )


def _total(references: list[dict[str, Any]]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for reference in references:
        counts.update({kind: len(keys) for kind, keys in reference["said"].items()})
    return dict(sorted(counts.items()))


def _summary(
    verdicts: list[Verdict], pairs: list[tuple[dict[str, Any], dict[str, Any]]]
) -> dict[str, Any]:
    number = len(verdicts)
    of: Counter[str] = Counter()
    kept: Counter[str] = Counter()
    for verdict in verdicts:
        of.update({kind: counts[0] for kind, counts in verdict.kept.items()})
        kept.update({kind: counts[1] for kind, counts in verdict.kept.items()})
    summary: dict[str, Any] = {
        "judged": number,
        "refused": sum("error" in result for result, _ in pairs),
        "valid %": _percent(sum(verdict.is_valid for verdict in verdicts), number),
        "whole %": _percent(sum(not verdict.missing for verdict in verdicts), number),
        "documents with HTML as source": sum(verdict.shows_source > 0 for verdict in verdicts),
        "kept %": {kind: _percent(kept[kind], of[kind]) for kind in sorted(of)},
    }
    if any("title" in result for result, _ in pairs):
        summary["titles right"] = sum(
            _same(result.get("title") or "", reference["title"]) for result, reference in pairs
        )
    return summary


def _is_slow(results: list[dict[str, Any]]) -> bool:
    seconds: float = sum(result.get("seconds", 0.0) for result in results)
    return seconds > SLOW_SECONDS


def _same(title: str, wanted: str) -> bool:
    return title.casefold().split() == wanted.casefold().split()


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 1) if whole else 100.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.conversion.runner")
    parser.add_argument("--keep", type=Path, help="a folder for packages, used again")
    parser.add_argument("--alone", action="store_true", help="without the peers")
    parser.add_argument("--misses", action="store_true", help="name what ours lacks, on stderr")
    options = parser.parse_args()
    print(json.dumps(measure(options.keep, misses=options.misses, alone=options.alone), indent=2))


if __name__ == "__main__":
    main()
