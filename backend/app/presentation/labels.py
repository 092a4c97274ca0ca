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
