"""A value that cannot be used is described in our words, never in pydantic's."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import pytest
from pydantic import BaseModel, Field, ValidationError

from app.core.validation_text import problem_text
from app.values.options import BodyFormat, SessionOptions


class Everything(BaseModel):
    """A field of each kind."""

    whole: Annotated[int, Field(ge=1, le=9)] = 1
    number: Annotated[float, Field(gt=0, lt=1)] = 0.5
    flag: bool = False
    text: Annotated[str, Field(min_length=1, max_length=3)] = "a"
    pair: Annotated[list[int], Field(min_length=2, max_length=2)] = Field([1, 2])
    markup: BodyFormat = BodyFormat.AUTO
    word: Literal["a", "b"] = "a"
    moment: datetime | None = None
    key: UUID | None = None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"whole": "x"}, "must be a whole number"),
        ({"whole": 0}, "must be 1 or more"),
        ({"whole": 10}, "must be 9 or less"),
        ({"whole": 1.5}, "must be a whole number"),
        ({"number": "x"}, "must be a number"),
        ({"number": 0}, "must be more than 0"),
        ({"number": 1}, "must be less than 1"),
        ({"flag": "perhaps"}, "must be true or false"),
        ({"text": ""}, "must not be empty"),
        ({"text": "abcd"}, "must have at most 3 characters"),
        ({"text": 1}, "must be text"),
        ({"pair": [1]}, "must have at least 2 entries"),
        ({"pair": 1}, "must be a list"),
        ({"markup": "x"}, "must be one of 'auto', 'markdown', 'text', 'jira' or 'html'"),
        ({"word": "x"}, "must be one of 'a' or 'b'"),
        ({"moment": "x"}, "must be a date and a time"),
        ({"key": "x"}, "must be an id: 32 hexadecimal digits"),
    ],
)
def test_each_kind_of_problem_is_said_plainly(value: dict[str, object], text: str) -> None:
    with pytest.raises(ValidationError) as raised:
        Everything.model_validate(value)
    assert problem_text(raised.value.errors()[0]) == text


def test_what_our_own_validators_say_is_kept() -> None:
    with pytest.raises(ValidationError) as raised:
        SessionOptions.model_validate({"base_url": "x"})
    text = problem_text(raised.value.errors()[0])
    assert text == "must be an absolute address, like https://example.org/docs/"


def test_a_kind_that_is_not_in_the_table_is_not_shown_raw() -> None:
    assert problem_text({"type": "new", "msg": "Input should be new"}) == "cannot be used"
