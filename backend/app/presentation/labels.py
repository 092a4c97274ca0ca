"""Names of states and categories, as people read them."""

from __future__ import annotations

from app.core.errors import ErrorCategory

WHO_CAN_FIX = {
    ErrorCategory.USER_FIXABLE: "you",
    ErrorCategory.ADMIN_REQUIRED: "an administrator",
    ErrorCategory.TEMPORARY: "nobody needs to: it is temporary",
}
"""Labels of “Who can fix it?”."""

CAN_FIX_IT = {
    ErrorCategory.USER_FIXABLE: "You can fix it",
    ErrorCategory.ADMIN_REQUIRED: "An administrator can fix it",
    ErrorCategory.TEMPORARY: "It is temporary",
}
"""Begins a sentence that says how."""

CATEGORY_LABELS = {
    ErrorCategory.USER_FIXABLE: "You can fix",
    ErrorCategory.ADMIN_REQUIRED: "An administrator can fix",
    ErrorCategory.TEMPORARY: "Temporary",
}
"""Names a group of failures: `4 you can fix`."""

OPTION_FLAGS = {
    "to": "--to jira",
    "project_key": "--project KEY",
    "issue_type": "--issue-type NAME",
    "split_level": "--split-level LEVEL",
    "title_column": "--title-column NAME",
    "body_column": "--body-column NAME",
    "delimiter": "--delimiter CHAR",
    "parent_type": "--parent-type NAME",
    "map": "--map COLUMN=FIELD",
    "day_first": "--day-first",
    "body_format": "--body-format FORMAT",
    "sheet": "--sheet NAME",
    "base_url": "--base-url URL",
    "too_long": "--too-long refuse|split|cut",
}
"""Each session option as an option of the command line."""
