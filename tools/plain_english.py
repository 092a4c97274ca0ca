"""Find phrases that do not read as plain English, in comments, docstrings, strings and pages.

`make lint` runs it on all files, or name files as arguments. Each row of `PHRASES` is a pattern and
its replacement.

Vale downloads a program when it runs, proselint is for journalism, and neither reads Python.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
SUFFIXES = {".py", ".md", ".html"}
NOT_OURS = re.compile(
    r"^(examples|backend/tests/data|backend/app/tasks/adf/schema)/|/vendor/|plain_english"
)

_PEOPLE = ("people", "person", "someone", "anyone", "user", "administrator", "reader")
_WHO_PATTERN = r"\b" + "".join(f"(?<!{one} )" for one in _PEOPLE) + r"who\b(?! can fix)"
PHRASES = (
    (r"whoever|whomever|whom", "name it: the caller, the worker, the user"),
    (r"his|him|himself", "the caller's, the worker's; it"),
    (r"by (itself|themselves)", "automatically; on its own; alone"),
    (r"answers|answered", "returns; responds"),
    (r"told", "notified; returned; shown; reported"),
    (r"(tried|try|tries) again by", "retried automatically"),
    (r"in hand|at hand|hands? full|hands of", "holds; available; busy"),
    (r"anew", "again; new"),
    (r"for ever", "forever; without end; indefinitely"),
    (r"mend|mends|mended|mending", "fix; correct"),
    (r"heeds?|heeded", "follow; use"),
    (r"(back|put|stands?) in line", "queued again; waiting"),
    (r"(give|gives|given|gave|giving) (them |it |its attempts )?back", "release; return; reset"),
    (r"(take|takes|taken|took|taking) up again", "resume; retry"),
    (r"(look|looks|looked) after", "manage; maintain"),
    (r"(sees|saw|seen) to|seeing to", "handle; do"),
    (r"(becomes?|became|become) of", "the result of; how it ended"),
    (r"alike", "similar; equal"),
    (r"(nobody|no one) (foresaw|foresees)|unforeseen", "unexpected"),
    (r"in the books", "in the database"),
    (r"hung up on|hang up on|hung up|hangs up", "closed; disconnected"),
    (r"quicker", "faster; first"),
    (r"by commas", "comma-separated"),
    (r"shall|whence|thereof|wherein|lest|aught|naught", "a modern word"),
    (r"anybody's|nobody's|somebody's", "anyone's; unclaimed"),
    (r"(put|puts|putting) off", "defer; postpone"),
    (r"all at one glance|at one glance|at a glance", "in short"),
    (r"of late|of old|of its own accord", "recently; automatically"),
    (r"held? against|holds against", "compare with; check against"),
    (r"(wants|want|needs|need) a person", "needs attention"),
    (r"(there is|there are|is) nothing for it", "nothing helps"),
    (r"as people (have|meet|say) (it|them)", "drop it"),
    (r"here and now", "now"),
)
_COMPILED = [(re.compile(_WHO_PATTERN, re.IGNORECASE), "that, or name it: “who” is for people")]
_COMPILED += [
    (re.compile(rf"\b(?:{one})\b".replace(" ", r"\s+"), re.IGNORECASE), advice)
    for one, advice in PHRASES
]

CLAUSE = re.compile(r"(What|Who|Whoever|Whom|Whose|Those|That which)\b")
VERB_FIRST = "begin with a verb or a noun, not with a relative clause"


class Finding(NamedTuple):
    """One phrase: its place, and its replacement."""

    line: int
    phrase: str
    advice: str


def findings_in(path: Path) -> list[Finding]:
    """Return the file's odd phrases, in order."""
    found = [
        Finding(line + text.count("\n", 0, match.start()), match[0], advice)
        for line, text in texts_of(path)
        for pattern, advice in _COMPILED
        for match in pattern.finditer(text)
    ]
    if path.suffix == ".py":
        found += clauses_in(path)
    return sorted(set(found))


def texts_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the prose of the file, in pieces, each with its first line."""
    if path.suffix != ".py":
        yield 1, _without_code(path)
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
    with tokenize.open(path) as source:
        for token in tokenize.generate_tokens(source.readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string


def _without_code(path: Path) -> str:
    """Return a page with its code removed, line for line."""
    code = r"^```.*?^```|`[^`\n]*`"
    if path.suffix == ".html":
        code = r"\{[%#].*?[%#]\}|\{\{.*?\}\}|<[^>]*>"
    return re.sub(
        code,
        lambda match: "\n" * match[0].count("\n"),
        path.read_text(encoding="utf-8"),
        flags=re.DOTALL | re.MULTILINE,
    )


def clauses_in(path: Path) -> Iterator[Finding]:
    """Find docstrings of the file that begin with a relative clause."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            match = CLAUSE.match(ast.get_docstring(node) or "")
            if match:
                yield Finding(node.body[0].lineno, match[0], VERB_FIRST)


def files() -> list[str]:
    """Return the project's source files and pages, as paths from its root."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return sorted(
        name
        for name in listed
        if Path(name).suffix in SUFFIXES and not NOT_OURS.search(name) and (ROOT / name).exists()
    )


def main(names: list[str]) -> int:
    """Check the files and print the findings; return 1 if there are any."""
    is_clean = True
    for name in names or files():
        for finding in findings_in(ROOT / name):
            is_clean = False
            phrase = " ".join(finding.phrase.split())
            print(f"{name}:{finding.line}: “{phrase}”: {finding.advice}")
    return int(not is_clean)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
