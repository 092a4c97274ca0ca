"""A session's options as requests choose them: of a form that opens one, of a retry's JSON."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from app.api.resources import Request, SafeText
from app.values.options import MOST_RULES, BodyFormat, SessionOptions, TooLong

Option = Annotated[SafeText, Field(min_length=1, max_length=255)]
Rule = Annotated[SafeText, Field(min_length=2, max_length=1_000)]
DocumentName = Annotated[SafeText, Field(min_length=1, max_length=255)]


class ChosenOptions(Request):
    """The options of a session that a request may choose."""

    to: Annotated[
        Option | None,
        Field(description="create the issues in this Jira site: `jira`, or `jira:NAME`"),
    ] = None
    project_key: Option | None = None
    issue_type: Option | None = None
    split_level: Annotated[int, Field(ge=1, le=3)] | None = None
    title_column: Option | None = None
    body_column: Option | None = None
    delimiter: Option | None = None
    parent_type: Option | None = None
    map: Annotated[
        list[Rule],
        Field(
            default_factory=list,
            max_length=MOST_RULES,
            description="`[FILE:]COLUMN=FIELD`; repeat it for more",
        ),
    ]
    day_first: Annotated[
        bool | None, Field(description="whether 03/04/2026 is 3 April; without it: left alone")
    ] = None
    body_format: BodyFormat | None = None
    sheet: Option | None = None
    base_url: Annotated[SafeText, Field(min_length=1, max_length=2_000)] | None = None
    too_long: TooLong | None = None

    def given(self) -> dict[str, Any]:
        """The options that the request names, None among them."""
        return self.model_dump(
            mode="json", include=set(ChosenOptions.model_fields), exclude_unset=True
        )

    def options(self) -> SessionOptions:
        """The options that were chosen."""
        return SessionOptions.from_json(
            {name: value for name, value in self.given().items() if value not in (None, [])}
        )


class RetryTask(ChosenOptions):
    """A retry that changes options, or leaves documents out.

    An option that is not named stays as it is; one that is null is as if it was never chosen.
    """

    without: Annotated[
        list[DocumentName],
        Field(
            default_factory=list,
            max_length=1_000,
            description="names of documents to leave out of the session",
        ),
    ]
