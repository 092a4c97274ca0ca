"""Check whether Jira would accept an ADF document, and if not, where and why.

Three parts, in this order: Atlassian's own schema validates (`atlassian_schema`); our locator
explains its refusals (`locator`); small rules (`jira_rules`) find violations of Jira and PostgreSQL
that the schema allows, among the places that one walk collected (`scan`).
"""

from __future__ import annotations

from itertools import islice

from app.tasks.adf.atlassian_schema import load_validator
from app.tasks.adf.jira_rules import RULES_BY_TYPE, find_broken_rules
from app.tasks.adf.locator import load_locator
from app.tasks.adf.narrowing import Narrowed
from app.tasks.adf.scan import Scan, scan
from app.tasks.adf.violation import Violation

__all__ = ["Violation", "find_violations", "is_valid_adf"]

_UNEXPLAINED = (
    "Atlassian's schema refuses this document, and we could not find out why: please report it as "
    "a fault of this program, with the document."
)


def find_violations(
    document: object, *, max_characters: int = 32_000, limit: int = 20
) -> list[Violation]:
    """Return why Jira would refuse `document`; empty if it would take it.

    `document` is a tree as `json.loads` returns it, of any shape and depth: this neither raises
    nor hangs, time grows with its size only, and one that nests too deep is a violation, as is a
    value that JSON does not have. At most `limit` (from 1 up) violations come back, those of the
    schema first. `max_characters` limits the text and, at 4 characters a node or mark, its
    structure, in UTF-16 code units. Thread-safe.
    """
    noted = scan(document, RULES_BY_TYPE)
    broken_rules = list(islice(find_broken_rules(noted, document, max_characters), limit))
    if not noted.is_plain_json or _keeps_to_schema(document, noted):
        return broken_rules
    explained = _explained(document, limit) or load_locator().locate(document, limit)
    places = {violation.path for violation in explained if violation.path}
    others = [violation for violation in broken_rules if violation.path not in places]
    return ((explained or [Violation("", "schema", _UNEXPLAINED)]) + others)[:limit]


def _explained(document: object, limit: int) -> list[Violation]:
    if not isinstance(document, dict):
        return []
    narrowed = Narrowed(document, _is_valid, limit)
    found = load_locator().locate(narrowed.document, limit)
    return [Violation(narrowed.pointer(one.path), one.rule, one.reason) for one in found]


def is_valid_adf(document: object) -> bool:
    """Say whether Atlassian's schema accepts `document`; never raises, whatever it is.

    Exactly when this is false, `find_violations` names a violation of the rule `schema`.
    """
    return _keeps_to_schema(document, scan(document))


def _keeps_to_schema(document: object, noted: Scan) -> bool:
    if not noted.is_plain_json:
        return False
    return _is_valid(document)


def _is_valid(document: object) -> bool:
    try:
        return load_validator().is_valid(document)
    except UnicodeEncodeError:
        return False  # a lone surrogate in a key
