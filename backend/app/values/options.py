"""The options of a session: `SessionOptions`, to and from `sessions.options`."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from app.core.errors import ConfigurationError, ErrorCategory
from app.core.validation_text import problems_text

if TYPE_CHECKING:
    from collections.abc import Mapping


MOST_RULES = 1_000
"""The most columns with rules in one session."""


class BodyFormat(str, Enum):
    """The markup of a table's descriptions."""

    AUTO = "auto"
    MARKDOWN = "markdown"
    TEXT = "text"
    JIRA = "jira"
    HTML = "html"


class TooLong(str, Enum):
    """How to handle a description that is longer than Jira allows."""

    REFUSE = "refuse"
    SPLIT = "split"
    CUT = "cut"


def _absolute_url(url: str) -> str:
    try:
        parts = urlsplit(url.strip())
        is_absolute = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        is_absolute = False
    if not is_absolute:
        message = "must be an absolute address, like https://example.org/docs/"
        raise ValueError(message)
    return url.strip()


class SessionOptions(BaseModel):
    """A session's options, checked; options that were not chosen have their defaults.

    Keys that are not listed here are kept (`model_extra`): a team's own handlers find their own
    options there.

    Attributes:
        to: the Jira site that the export creates the issues in, `jira` or `jira:NAME`; None: it
            makes import files only.
        project_key: the key of the Jira project that the issues are for; None: the setting's.
        issue_type: the issue type of tickets whose document names none.
        parent_type: the issue type of tickets with others below them, if their document names none;
            the highest headings become parents; None: a heading is no parent.
        map: rules for columns, each `[FILE:]COLUMN=FIELD`.
        day_first: whether `03/04/2026` is 3 April; None: such dates are left unchanged.
        split_level: one ticket per Markdown heading of this level or above; None: one per file.
        title_column: the CSV column that holds the titles; None: found by its usual names.
        body_column: the CSV column that holds the descriptions; None: found by its usual names.
        delimiter: the delimiter of a CSV: one character, or its name; None: the best fit.
        body_format: the markup of the descriptions in tables; `auto`: detected from them.
        sheet: the sheet of a workbook that is read; None: every one that has titles.
        base_url: the base address of relative links and pictures in documents; None: they become
            text.
        too_long: how to handle a description that is longer than Jira allows.

    """

    model_config = ConfigDict(frozen=True, extra="allow")

    to: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    project_key: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    issue_type: Annotated[str, Field(min_length=1, max_length=255)] = "Task"
    parent_type: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    split_level: Annotated[int, Field(ge=1, le=3)] | None = None
    title_column: str | None = None
    body_column: str | None = None
    delimiter: str | None = None
    map: Annotated[tuple[str, ...], Field(max_length=MOST_RULES)] = ()
    day_first: bool | None = None
    body_format: BodyFormat = BodyFormat.AUTO
    sheet: str | None = None
    base_url: Annotated[str, AfterValidator(_absolute_url)] | None = None
    too_long: TooLong = TooLong.REFUSE

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> SessionOptions:
        """Read the options in `sessions.options`, or in a request; None is unset.

        Raises:
            ConfigurationError: a value is invalid; it names the option (`user_fixable`).

        """
        try:
            return cls.model_validate(
                {name: value for name, value in stored.items() if value is not None}
            )
        except ValidationError as error:
            raise ConfigurationError(
                f"These options cannot be used: {problems_text(error)}",
                ErrorCategory.USER_FIXABLE,
                next_step="Correct them and try again.",
            ) from error

    def to_json(self) -> dict[str, Any]:
        """Return the value to store: only the chosen options, as defaults may change."""
        return self.model_dump(mode="json", exclude_unset=True)
