"""Failure contexts: any exception can be stored, names who can fix it, and leaks nothing.

One file of more than 450 lines: a collection of awkward exceptions, used by all its tests.
"""

# ruff: noqa: TRY301 - exceptions are raised where they are caught, to get their traceback

from __future__ import annotations

import errno
import json
import math
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from enum import IntEnum
from types import MappingProxyType
from typing import Any
from uuid import UUID

import psycopg.errors
import pytest
import sqlalchemy.exc
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import DocumentError, ErrorCategory, StaleClaim, TaskError, WorkerLost
from app.core.failure import (
    BRIEF_BYTES,
    CONTEXT_BYTES,
    RESERVED_BYTES,
    brief_of,
    category_of,
    failure_context,
    sanitize_context,
)
from app.core.json_safety import WINDOW_CHARACTERS, json_safe, window
from app.core.redaction import REDACTED, redact_text

KEYS = {"error", "message", "category", "next_step", "traceback", "worker"}


def assert_storable(context: dict[str, Any], limit: int = CONTEXT_BYTES) -> None:
    """Check the requirements of PostgreSQL's JSONB, and our own for a context."""
    assert set(context) >= KEYS
    assert all(isinstance(context[key], str) for key in KEYS)
    assert ErrorCategory(context["category"])
    assert context["error"]
    assert context["message"]
    text = json.dumps(context, ensure_ascii=False, allow_nan=False)
    assert "\\u0000" not in text
    assert len(text.encode("utf-8")) <= limit  # a lone surrogate would raise here
    assert json.loads(text) == context


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001
        return caught


def deep(frames: int) -> None:
    if frames:
        deep(frames - 1)
    raise ValueError("at the bottom")


class BrokenTextError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


class ExitingText(BaseException):
    def __str__(self) -> str:
        raise SystemExit(3)


class TextIsNoTextError(Exception):
    def __str__(self) -> str:
        return 42  # type: ignore[return-value]  # noqa: PLE0307 - on purpose


class LyingClassError(Exception):
    @property
    def __class__(self) -> type:
        raise RuntimeError("guess")

    def __getattribute__(self, name: str) -> Any:
        raise KeyError(name)


class LyingMeta(type):
    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise RuntimeError("nameless")

    def __subclasscheck__(cls, subclass: type) -> bool:
        raise RuntimeError("no family")


class LyingMetaError(Exception, metaclass=LyingMeta):
    pass


class HostileText(str):
    __slots__ = ()

    def __len__(self) -> int:
        raise RuntimeError

    def __str__(self) -> str:
        raise RuntimeError

    def __getitem__(self, key: Any) -> str:
        raise RuntimeError

    def encode(self, *_: Any) -> bytes:
        raise RuntimeError


class HostileMapping(dict[Any, Any]):
    def items(self) -> Any:
        raise RuntimeError

    def __iter__(self) -> Iterator[Any]:
        raise RuntimeError

    def __getitem__(self, key: Any) -> Any:
        raise RuntimeError


class EndlessMapping(Mapping[str, Any]):
    def __getitem__(self, key: str) -> Any:
        return self

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[str]:
        number = 0
        while True:
            number += 1
            yield f"key {number}"


class BrokenEverything:
    def __getattribute__(self, name: str) -> Any:
        raise SystemExit(name)

    def __repr__(self) -> str:
        raise KeyboardInterrupt

    def __hash__(self) -> int:
        raise RuntimeError

    def __eq__(self, other: object) -> bool:
        raise RuntimeError


class WrongAttributesError(Exception):
    category = BrokenEverything()
    next_step = BrokenEverything()
    errno = BrokenEverything()
    sqlstate = BrokenEverything()
    orig = BrokenEverything()
    __notes__ = BrokenEverything()


def cyclic_cause() -> BaseException:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    return raised(first)


def long_chain() -> BaseException:
    error: BaseException = ValueError("link 0")
    for number in range(1, 500):
        following = ValueError(f"link {number}")
        following.__cause__ = error
        error = following
    return error


def endless_recursion() -> BaseException:
    def again() -> None:
        again()

    try:
        again()
    except RecursionError as error:
        return error
    raise AssertionError


def nested_groups() -> BaseException:
    error: Exception = ValueError("innermost \x00")
    for _ in range(300):
        error = ExceptionGroup("group", [error, *(KeyError(n) for n in range(50))])
    return raised(error)


def with_notes() -> BaseException:
    error = ValueError("x")
    error.add_note("password=s3cret " + "n" * 100_000)
    return raised(error)


NASTY = {
    "broken text": lambda: raised(BrokenTextError(1, "two")),
    "exiting text": lambda: raised(ExitingText()),
    "text is no text": lambda: raised(TextIsNoTextError()),
    "lying class": lambda: raised(LyingClassError("x")),
    "lying metaclass": lambda: raised(LyingMetaError("x")),
    "wrong attributes": lambda: raised(WrongAttributesError()),
    "broken argument": lambda: raised(ValueError(BrokenEverything(), BrokenTextError())),
    "hostile text argument": lambda: raised(ValueError(HostileText("x"))),
    "cyclic cause": cyclic_cause,
    "long chain": long_chain,
    "recursion": endless_recursion,
    "groups": nested_groups,
    "notes": with_notes,
    "no message": lambda: raised(ValueError()),
    "nul and surrogates": lambda: raised(ValueError("a\x00b\ud800c\udfff \x1b[31m")),
    "10 MB": lambda: raised(ValueError("x" * 10_000_000)),
    "10 MB of lines": lambda: raised(ValueError('é"\\\n' * 2_500_000)),
    "10 MB cause": lambda: raised_from(ValueError("y"), ValueError("x\n" * 5_000_000)),
    "keyboard interrupt": lambda: raised(KeyboardInterrupt()),
    "generator exit": lambda: raised(GeneratorExit()),
    "never raised": lambda: ValueError("x"),
    "unicode error": lambda: raised(UnicodeDecodeError("utf-8", b"\xff" * 1000, 0, 1, "why")),
    "syntax error": lambda: raised(SyntaxError("x", ("f\x00", -1, -5, "\ud800", "a", "b"))),
    "os error": lambda: raised(OSError(errno.ENOSPC, "No space left on device", "f\udcff")),
}


def raised_from(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = raised(cause)
    return raised(error)


@pytest.mark.parametrize("make", NASTY.values(), ids=NASTY.keys())
def test_any_exception_becomes_a_context_that_can_be_stored(make: Any) -> None:
    error = make()
    before = time.process_time()
    context = failure_context(error, worker="w-1")
    assert time.process_time() - before < 5
    assert_storable(context, CONTEXT_BYTES - RESERVED_BYTES)
    assert context["worker"] == "w-1"


def test_context_says_what_happened_who_can_fix_it_and_what_to_do() -> None:
    error = raised(DocumentError("a.csv has no title column.", name="a.csv", next_step="Add one."))
    context = failure_context(error, worker="w", extra={"document": "a.csv", "row": 3})
    assert context["error"] == "DocumentError"
    assert context["message"] == "a.csv has no title column."
    assert context["category"] == "user_fixable"
    assert context["next_step"] == "Add one."
    assert context["traceback"].startswith("Traceback (most recent call last):\n  File ")
    assert context["traceback"].endswith("DocumentError: a.csv has no title column.")
    assert "raise error" in context["traceback"]
    assert (context["document"], context["row"]) == ("a.csv", 3)


def test_context_can_be_made_without_an_exception() -> None:
    context = failure_context(
        None, error_name="WorkerLost", message="The worker died.", category="temporary"
    )
    assert (context["error"], context["message"]) == ("WorkerLost", "The worker died.")
    assert context["category"] == "temporary"
    assert context["next_step"] == ""
    assert_storable(failure_context(None))


def test_the_options_that_an_exception_asks_for_are_kept() -> None:
    error = DocumentError("No title.", next_step="Name the column.", options=["title_column"])
    context = failure_context(error)
    assert (context["next_step"], context["options"]) == ("Name the column.", ["title_column"])
    assert sanitize_context(context)["options"] == ["title_column"]


@pytest.mark.parametrize(
    "options", [{"a": 1}, "title_column", [1], ["two words"], [HostileText("x")]]
)
def test_what_is_no_list_of_option_names_is_kept_as_any_other_value(options: Any) -> None:
    context = sanitize_context({"options": options})
    assert_storable(context)
    assert context["options"] == json_safe(options)


def test_a_context_without_options_has_an_empty_list() -> None:
    assert failure_context(ValueError("x"))["options"] == []
    assert sanitize_context({"message": "m"})["options"] == []


def test_keywords_stand_before_what_the_exception_says() -> None:
    context = failure_context(
        ValueError("x"), error_name="Other", message="y", category=ErrorCategory.TEMPORARY
    )
    assert (context["error"], context["message"]) == ("Other", "y")
    assert context["category"] == "temporary"


def test_extra_cannot_replace_the_keys_of_every_context() -> None:
    context = failure_context(ValueError("x"), extra=dict.fromkeys(KEYS, "mine"))
    assert context["message"] == "x"
    assert "mine" not in context.values()


def test_exception_that_cannot_speak_is_told_by_name_and_arguments() -> None:
    message = failure_context(raised(BrokenTextError(1, "two")))["message"]
    assert "BrokenTextError" in message
    assert "two" in message


def test_traceback_keeps_its_first_and_last_frames() -> None:
    try:
        deep(900)
    except ValueError as error:
        context = failure_context(error)
    trace = context["traceback"]
    assert "in test_traceback_keeps_its_first_and_last_frames" in trace
    assert "frames left out" in trace
    assert 'raise ValueError("at the bottom")' in trace
    assert trace.endswith("ValueError: at the bottom")


def test_traceback_that_is_too_long_is_cut_in_the_middle() -> None:
    lines = [f"line {number} é" for number in range(1_000_000)]
    trace = sanitize_context({"traceback": "\n".join(lines)})["traceback"]
    assert trace.startswith("line 0 é\nline 1 é\n")
    assert "… cut here …" in trace
    assert trace.endswith("\nline 999998 é\nline 999999 é")


def test_causes_are_told_oldest_first() -> None:
    try:
        try:
            raise KeyError("inner")
        except KeyError as inner:
            raise ValueError("outer") from inner
    except ValueError as error:
        trace = failure_context(error)["traceback"]
    inner_at, words_at = trace.index("KeyError: 'inner'"), trace.index("direct cause")
    assert inner_at < words_at < trace.index("ValueError: outer")


def test_members_of_a_group_have_their_frames() -> None:
    member = raised(ValueError("one of two"))
    trace = failure_context(raised(ExceptionGroup("g", [member, KeyError("k")])))["traceback"]  # type: ignore[list-item]
    assert "  | ValueError: one of two" in trace
    assert "  |   File " in trace


# ------------------------------------------------------------------------------------- redaction

SECRETS = "postgresql://app:s3cret@db/x Authorization: Bearer s3cret.s3cret"


def test_secrets_are_redacted_wherever_they_stand() -> None:
    error = raised_from(ValueError(SECRETS), KeyError(SECRETS))
    error.add_note("token=s3cret")
    context = failure_context(
        error, worker=SECRETS, extra={"password": "s3cret", "deep": [{"text": SECRETS}]}
    )
    assert "s3cret" not in json.dumps(context)
    assert context["password"] == REDACTED
    assert "postgresql://app" in context["message"]


@pytest.mark.parametrize("offset", range(0, 4_200, 150))
def test_no_cut_hides_the_beginning_of_a_secret(offset: int) -> None:
    """Redaction comes before every cut, so that no part of a secret can be left."""
    block = "-----BEGIN PRIVATE KEY-----\n" + "S3CRET7S3CRET7\n" * 200 + "-----END PRIVATE KEY-----"
    padded = "a" * offset + "\n" + block + "\n" + "z" * (6_000 - offset)
    error = raised_from(ValueError(padded), KeyError(padded))
    context = failure_context(error, extra={"text": padded})
    assert "S3CRET" not in json.dumps(context)


@pytest.mark.parametrize("shift", [*range(-30, 30), *range(0, 3_000, 250)])
def test_no_window_onto_a_huge_text_hides_the_beginning_of_a_secret(shift: int) -> None:
    block = "-----BEGIN PRIVATE KEY-----\n" + "S3CRET7S3CRET7\n" * 200 + "-----END PRIVATE KEY-----"
    quoted = 'password="' + "S3CRET7 " * 200 + '"\n'
    url = "postgresql://app:S3CRET7@db\n"
    for secret in (block, quoted, url):
        # across the start of the window's tail (its last quarter), and across the end of its head
        huge = "x " * 100_000 + secret + "y" * (WINDOW_CHARACTERS // 4 - shift)
        head = "x" * (WINDOW_CHARACTERS * 3 // 4 - shift) + " " + secret + "y" * 100_000
        for text in (huge, head):
            assert "S3CRET" not in redact_text(window(text))
            assert "S3CRET" not in json.dumps(sanitize_context({"traceback": text}))


# ------------------------------------------------------------------------------------ categories


class OwnCategoryError(Exception):
    def __init__(self, category: Any) -> None:
        self.category = category


class OperationalError(Exception):
    """Drivers have their own classes for this error."""


@pytest.mark.parametrize(
    ("error", "category"),
    [
        (StaleClaim("x"), "temporary"),
        (WorkerLost("x"), "temporary"),
        (TaskError("x", "admin_required"), "admin_required"),
        (OwnCategoryError("user_fixable"), "user_fixable"),
        (OwnCategoryError(ErrorCategory.TEMPORARY), "temporary"),
        (OwnCategoryError("no such category"), "admin_required"),
        (OwnCategoryError(["temporary"]), "admin_required"),
        (ConnectionResetError("x"), "temporary"),
        (TimeoutError("x"), "temporary"),
        (OSError(errno.EHOSTUNREACH, "x"), "temporary"),
        (OSError(errno.ENOSPC, "x"), "admin_required"),
        (FileNotFoundError("x"), "admin_required"),
        (MemoryError("x"), "admin_required"),
        (ZeroDivisionError("x"), "admin_required"),
        (SystemExit(1), "admin_required"),
        (OperationalError("x"), "temporary"),
        (psycopg.OperationalError("x"), "temporary"),
        (psycopg.errors.AdminShutdown("x"), "temporary"),
        (psycopg.errors.DiskFull("x"), "admin_required"),
        (psycopg.errors.InvalidPassword("x"), "admin_required"),
        (psycopg.errors.UniqueViolation("x"), "admin_required"),
        (sqlalchemy.exc.OperationalError("x", {}, psycopg.OperationalError("x")), "temporary"),
        (sqlalchemy.exc.OperationalError("x", {}, psycopg.errors.DiskFull("x")), "admin_required"),
        (sqlalchemy.exc.TimeoutError("x"), "temporary"),
        (ExceptionGroup("x", [TimeoutError("x"), ConnectionError("y")]), "temporary"),
        (ExceptionGroup("x", [TimeoutError("x"), ValueError("y")]), "admin_required"),
    ],
    ids=repr,
)
def test_category_says_who_can_fix_it(error: BaseException, category: str) -> None:
    assert category_of(error).value == category
    assert failure_context(error)["category"] == category


# --------------------------------------------------------------------------------- callers' own


def test_missing_keys_are_filled() -> None:
    context = sanitize_context({"error": "Something broke", "row": 4})
    assert_storable(context)
    assert context["error"] == "Something broke"
    assert context["message"] == "Something broke"
    assert context["category"] == "admin_required"
    assert context["row"] == 4
    assert_storable(sanitize_context({}))


def test_unknown_category_becomes_admin_required() -> None:
    assert sanitize_context({"category": "whatever"})["category"] == "admin_required"


def test_values_that_json_lacks_are_written_as_text() -> None:
    class Colour(IntEnum):
        RED = 3

    context = sanitize_context(
        {
            "nan": math.nan,
            "infinity": -math.inf,
            "huge": 10**5000,
            "large": 2**70,
            "tiny": 1e-300,
            "bytes": b"a\xff\x00",
            "moment": datetime(2025, 1, 2, tzinfo=UTC),
            "id": UUID(int=1),
            "decimal": Decimal("1.50"),
            "set": {"b", "a"},
            "tuple": (1, 2.5),
            "enum": Colour.RED,
            7: "number as key",
            "text": "\x00 \ud800",
        }
    )
    assert_storable(context)
    assert context["nan"] == "nan"
    assert context["infinity"] == "-inf"
    assert context["huge"] == "<integer of 16,610 bits>"
    assert context["large"] == str(2**70)
    assert context["tiny"] == "1e-300"
    assert context["bytes"] == "a\\xff\\x00"
    assert context["moment"] == "2025-01-02T00:00:00+00:00"
    assert context["id"] == str(UUID(int=1))
    assert context["set"] == ["a", "b"]
    assert context["tuple"] == [1, 2.5]
    assert context["enum"] == 3
    assert context["7"] == "number as key"
    assert context["text"] == "\\x00 \\ud800"


def test_hostile_values_are_named_in_their_place() -> None:
    cyclic: dict[str, Any] = {}
    cyclic["again"] = [cyclic]
    wide: Any = "leaf"
    for _ in range(15):  # 32,768 leaves
        wide = [wide, wide]
    context = sanitize_context(
        HostileMapping(
            {
                "message": HostileText("hello"),
                "broken": BrokenEverything(),
                "cyclic": cyclic,
                "wide": wide,
                "endless": EndlessMapping(),
                "bomb": "x" * 10_000_000,
                "ours": 1,
            }
        )
    )
    assert_storable(context)
    assert "<repeats itself>" in json.dumps(context["cyclic"])
    assert json.dumps(json_safe(wide)).count("leaf") < 2_000
    assert context["message"] == "hello"
    assert context["broken"] == "<BrokenEverything: cannot be read>"
    assert context["ours"] == 1


@pytest.mark.parametrize(
    "context",
    [
        EndlessMapping(),
        MappingProxyType({"message": "m"}),
        HostileMapping(),
        None,
        3,
        "text",
        {HostileText("message"): 1},
        {("a", "b"): 1, None: 2, 1.5: 3},
    ],
    ids=lambda value: type(value).__name__,
)
def test_any_mapping_becomes_a_context(context: Any) -> None:
    assert_storable(sanitize_context(context))


def test_the_six_keys_are_kept_beside_any_number_of_others() -> None:
    context = {f"k{number}": "v" * 500 for number in range(50_000)}
    sanitized = sanitize_context({**context, "message": "the point"})
    assert sanitized["message"] == "the point"
    assert_storable(sanitized, CONTEXT_BYTES - RESERVED_BYTES)


def test_earlier_failures_and_the_attempt_survive() -> None:
    earlier = [brief_of(failure_context(ValueError(str(n)))) for n in range(4)]
    context = sanitize_context({"message": "m", "earlier": earlier, "attempt": 3})
    assert context["earlier"] == earlier[-2:]
    assert context["attempt"] == 3


def test_brief_has_what_tells_failures_apart() -> None:
    context = {**failure_context(TimeoutError("m" * 1_000)), "attempt": 1, "failed_at": "2025"}
    brief = brief_of(context)
    assert brief == {
        "error": "TimeoutError",
        "message": "m" * 299 + "…",
        "category": "temporary",
        "attempt": 1,
        "failed_at": "2025",
    }


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.binary()
    | st.datetimes()
    | st.text(st.characters(exclude_categories=[]))
    | st.builds(BrokenTextError)
    | st.frozensets(st.integers()),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.tuples(inner, inner)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=[])) | st.integers(), inner, max_size=4
        )
    ),
    max_leaves=12,
)
keys = st.sampled_from([*sorted(KEYS), "earlier", "attempt", "failed_at"]) | st.text()


@given(st.dictionaries(keys, anything, max_size=12))
def test_any_context_can_be_stored_and_told_in_brief(context: dict[str, Any]) -> None:
    sanitized = sanitize_context(context)
    assert_storable(sanitized)
    whole = {**sanitized, "earlier": [brief_of(context), brief_of(sanitized)], "attempt": 3}
    assert_storable(whole)
    assert_storable(sanitize_context(whole))


@given(
    st.lists(anything, max_size=4),
    st.sampled_from([ValueError, KeyError, BrokenTextError, OSError, UnicodeError, BaseException]),
    st.dictionaries(st.text(), anything, max_size=3),
)
def test_any_arguments_of_an_exception_can_be_stored(
    arguments: list[Any], kind: type[BaseException], extra: dict[str, Any]
) -> None:
    error = raised(kind(*arguments))
    assert_storable(failure_context(error, extra=extra), CONTEXT_BYTES - RESERVED_BYTES)


@pytest.mark.parametrize("letter", ["x", "é", "\U0001f600", '"', "\\", "\n", "\x00", "\ud800"])
def test_two_briefs_and_a_full_context_fit_in_sixteen_kibibytes(letter: str) -> None:
    full = dict.fromkeys([*KEYS, "extra one", "extra two", "failed_at"], letter * 50_000)
    brief = brief_of(full)
    assert len(json.dumps(brief, ensure_ascii=False).encode()) <= BRIEF_BYTES
    assert len(brief["message"]) <= 300
    context = {**sanitize_context(full), "earlier": [brief, brief], "attempt": 3}
    assert_storable(context)
