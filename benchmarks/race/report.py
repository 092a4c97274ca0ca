"""Write the race's results as tables and charts, between the markers of `docs/performance.md`."""

from __future__ import annotations

import html
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.race.environment import ROOT
from benchmarks.race.workloads import LIMIT, OURS

PAGE = ROOT / "docs" / "performance.md"
IMAGES = ROOT / "docs" / "images"
_GENERATED = re.compile(r"(<!-- figures -->\n).*(<!-- /figures -->)", re.DOTALL)

Medians = Mapping[str, Mapping[str, float]]


def write(result: Mapping[str, Any]) -> None:
    """Write the figures into the page, and draw the charts beside it."""
    text = _GENERATED.sub(
        lambda found: found[1] + tables(result) + found[2], PAGE.read_text("utf-8")
    )
    PAGE.write_text(text, "utf-8")
    median: Medians = result["median"]
    best = {name: values for name, values in median.items() if name != LIMIT}
    _chart(
        IMAGES / "race-drain.svg",
        "Bulk enqueue and drain by one worker process, whole tasks a second",
        {
            "session tasks, threads": median[OURS].get("threads_whole_per_second", 0.0),
            "session tasks, processes": median[OURS].get("processes_whole_per_second", 0.0),
            **{name: each["whole_per_second"] for name, each in best.items() if name != OURS},
        },
    )
    _chart(
        IMAGES / "race-lives.svg",
        "Fed one by one by 64 callers, whole lives a second",
        {
            "session tasks, combined": median[OURS].get("combined_lives_per_second", 0.0),
            "pgbench, the same statements": median.get(LIMIT, {}).get("lives_per_second", 0.0),
            **{
                name: each["fed_one_by_one_per_second"]
                for name, each in best.items()
                if name != OURS
            },
        },
    )


def goals(result: Mapping[str, Any]) -> list[tuple[str, float, float, bool]]:
    """Return each figure that has a goal: name, goal, value, and whether more is better."""
    median: Medians = result["median"]
    ours = median[OURS]
    limit = median.get(LIMIT, {}).get("lives_per_second", float("nan"))
    peers = [each for name, each in median.items() if name not in (OURS, LIMIT)]
    fed = max(each["fed_one_by_one_per_second"] for each in peers)
    whole = max(each["whole_per_second"] for each in peers)
    ahead = min(each["pickup_p50"] for each in peers)
    only_ours = _goals_alone(result["alone"]) if "alone" in result else []
    return [
        ("combined lives / pgbench", 3.0, ours["combined_lives_per_second"] / limit, True),
        ("combined lives / fastest peer", 9.0, ours["combined_lives_per_second"] / fed, True),
        (
            "bulk and drain in threads / fastest peer",
            2.0,
            ours["threads_whole_per_second"] / whole,
            True,
        ),
        (
            "bulk and drain in processes / fastest",
            1.0,
            ours["processes_whole_per_second"] / whole,
            True,
        ),
        ("own transaction / pgbench", 0.6, ours["transactions_lives_per_second"] / limit, True),
        ("client µs a life", 100.0, ours["combined_client_microseconds_per_life"], False),
        ("WAL bytes a life", 800.0, ours["combined_wal_bytes_per_life"], False),
        ("pick-up p50, same process, ms", 0.5, ours["pickup_same-process_p50"], False),
        ("pick-up p99, same process, ms", 5.0, ours["pickup_same-process_p99"], False),
        ("pick-up p50, across, ms", 2.0, ours["pickup_threads_p50"], False),
        ("pick-up p99, across, ms", 6.0, ours["pickup_threads_p99"], False),
        (
            "pick-up p50, across / fastest peer",
            1.0,
            _ratio(ours["pickup_threads_p50"], ahead),
            False,
        ),
        *only_ours,
    ]


def _goals_alone(alone: Mapping[str, Any]) -> list[tuple[str, float, float, bool]]:
    growth, idle, many = alone["growth"], alone["idle"], alone["many_sessions"]
    grown = sum(growth["bytes_after"].values()) - sum(growth["bytes_before"].values())
    return [
        ("growth of all tables, MiB", 1.0, grown / 2**20, False),
        ("HOT updates, %", 99.0, min(growth["hot_percent"].values()), True),
        ("lives among many sessions / few", 0.9, many["ratio"], True),
        ("status read p99 among many, ms", 2.0, many["many"]["status_read_p99"], False),
        ("idle worker, % of a core", 1.0, idle["cpu_percent_of_a_core"], False),
        ("idle worker, transactions/s", 2.0, idle["transactions_per_second"], False),
    ]


def tables(result: Mapping[str, Any]) -> str:
    """Return the environment, the goals, and every adapter's medians, in Markdown."""
    where = result.get("where", {})
    load = result["load_before_and_after"]
    lines = [
        f"{result['server']}; {where.get('machine', '')}; Python {where.get('python', '')};",
        f"commit `{where.get('commit', '')}`; seed {result['seed']}; {result['size']['rounds']}",
        f"rounds; load average {load[0]} before and {load[1]} after.",
        "",
        *_table(
            ("figure", "goal", "in this run", "met"),
            [
                (
                    name,
                    f"{'≥' if more else '≤'} {goal:g}",
                    f"{value:,.{2 if round(value, 2) != goal else 3}f}",
                    _met(value, goal, more),
                )
                for name, goal, value, more in goals(result)
            ],
        ),
        "",
    ]
    median: Medians = result["median"]
    columns = (
        "singles", "fed one by one", "bulk", "drain", "one after another", "beside", "in parts",
    )  # fmt: skip
    lines += _table(
        ("tasks a second", *columns, "WAL bytes a task", "pick-up p50 / p99 ms"),
        [
            (
                f"{name} {result['peers'].get(name, '')}",
                *(_number(each, f"{column.replace(' ', '_')}_per_second") for column in columns),
                _number(each, "wal_bytes_per_task"),
                f"{each['pickup_p50']:.1f} / {each['pickup_p99']:.1f}",
            )
            for name, each in median.items()
            if name not in (OURS, LIMIT)
        ],
    )
    lines += ["", *_table(("ours, and the limit", "median"), _ours(median)), ""]
    if "alone" in result:
        lines += [*_table(("ours alone", "measured"), _alone(result["alone"])), ""]
    lines += [f"Not run: {name} ({reason})" for name, reason in result["not_run"].items()]
    return "\n".join(lines) + "\n"


def _ours(median: Medians) -> list[Sequence[str]]:
    rows = [(f"{LIMIT} {name}", value) for name, value in median.get(LIMIT, {}).items()]
    rows += list(median[OURS].items())
    return [(name.replace("_", " "), f"{value:,.1f}") for name, value in rows]


def _ratio(value: float, other: float) -> float:
    return value / other if other else float("inf")


def _alone(alone: Mapping[str, Any]) -> list[Sequence[str]]:
    growth, sizes_compared = alone["growth"], alone["many_sessions"]
    few, many, ratios = (sizes_compared[name] for name in ("few", "many", "ratios"))

    def sizes(name: str) -> str:
        return ", ".join(f"{table} {size / 1024:,.0f} KiB" for table, size in growth[name].items())

    def hot(name: str) -> str:
        return ", ".join(f"{table} {percent:g} %" for table, percent in growth[name].items())

    return [
        ("table and index of new sessions", sizes("bytes_planted")),
        ("when each has its row", sizes("bytes_before")),
        (f"after {growth['lives']:,} lives", sizes("bytes_after")),
        ("HOT updates", hot("hot_percent")),
        (
            f"after {growth['lives_under_the_snapshot']:,} more under an open snapshot",
            sizes("bytes_under_the_snapshot"),
        ),
        ("when it was closed, and some more lives", sizes("bytes_after_the_snapshot")),
        ("HOT updates then", hot("hot_percent_after_the_snapshot")),
        (
            "history of a run of its own",
            (
                f"{alone['history']['recorded_versions']:,} versions, "
                f"{len(alone['history']['violations'])} violations"
            ),
        ),
        (
            "idle worker",
            (
                f"{alone['idle']['transactions_per_second']:.1f} transactions/s (the server's own "
                f"{alone['idle']['transactions_per_second_without']:.1f} subtracted), "
                f"{alone['idle']['cpu_percent_of_a_core']:.1f} % of a core"
            ),
        ),
        (
            "combined lives, many sessions / few",
            (
                f"{sizes_compared['ratio']:.2f}, the median of {len(ratios)} pairs: "
                f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
            ),
        ),
        (
            "status read p50 / p99, few and many, ms",
            " and ".join(
                f"{each['status_read_p50']:.1f} / {each['status_read_p99']:.1f}"
                for each in (few, many)
            ),
        ),
    ]


def _met(value: float, goal: float, more: bool) -> str:
    return "yes" if (value >= goal if more else value <= goal) else "no"


def _number(values: Mapping[str, float], name: str) -> str:
    return f"{values[name]:,.0f}" if name in values else "–"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def _chart(path: Path, title: str, values: Mapping[str, float]) -> None:
    """Draw horizontal bars, the longest first, readable on light and dark backgrounds."""
    ordered = sorted(values.items(), key=lambda each: -each[1])
    longest = max(values.values()) or 1.0
    height = 44 + 26 * len(ordered)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 {height}" role="img"',
        f' font-family="system-ui, sans-serif" font-size="13"><title>{html.escape(title)}</title>',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        f'<text x="12" y="24" font-weight="600" fill="#172b4d">{html.escape(title)}</text>',
    ]
    for number, (name, value) in enumerate(ordered):
        top = 40 + 26 * number
        width = max(1.0, 440 * value / longest)
        colour = "#0c66e4" if name.startswith("session tasks") else "#8590a2"
        parts.append(
            f'<text x="12" y="{top + 14}" fill="#172b4d">{html.escape(name)}</text>'
            f'<rect x="220" y="{top}" width="{width:.1f}" height="18" rx="2" fill="{colour}"/>'
            f'<text x="{226 + width:.1f}" y="{top + 14}" fill="#172b4d">{value:,.0f}</text>'
        )
    path.write_text("\n".join([*parts, "</svg>"]) + "\n", "utf-8")


if __name__ == "__main__":
    write(json.loads(Path(sys.argv[1]).read_text("utf-8")))
