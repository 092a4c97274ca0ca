"""A failure's context is a JSON object, and the options that it asks for are a list in it.

They used to stand as flags in the sentence `next_step`, where the pages and the command looked for
them. Sentences about attempts, which were stored too, stay: contexts without `options` are read
without them.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

CONSTRAINT = "ck_session_tasks_failure_context_is_object"

WRAP_OTHER_VALUES = """
UPDATE session_tasks
   SET failure_context = CASE
       WHEN status <> 'failed' AND failure_context = 'null' THEN NULL
       ELSE jsonb_build_object(
           'error', 'Failure', 'message', coalesce(failure_context #>> '{}', ''),
           'category', 'admin_required', 'next_step', '', 'traceback', '', 'worker', '') END
 WHERE jsonb_typeof(failure_context) <> 'object'"""

_TOO_WIDE_BEFORE = (
    "If the delimiter was guessed wrongly, give it with --delimiter; if not, raise the limit: "
    "SESSION_TASKS_MAX_COLUMNS."
)
_TOO_WIDE = (
    "Raise the limit, SESSION_TASKS_MAX_COLUMNS; or, if the delimiter was guessed wrongly, name "
    "the right one."
)
STEPS = (
    (
        "Say which one holds the titles: --title-column NAME.",
        "Name the column that holds the titles.",
        "title_column",
    ),
    ("Give --title-column one of them.", "Name one of these columns.", "title_column"),
    ("Give --body-column one of them.", "Name one of these columns.", "body_column"),
    (_TOO_WIDE_BEFORE, _TOO_WIDE, "delimiter"),
)

UPGRADE_STEP = """
UPDATE session_tasks
   SET failure_context = failure_context || jsonb_build_object(
           'next_step', CAST(:step AS text), 'options', jsonb_build_array(CAST(:option AS text)))
 WHERE failure_context ->> 'next_step' = :before AND NOT failure_context ? 'options'"""

DOWNGRADE_STEP = """
UPDATE session_tasks
   SET failure_context = failure_context || jsonb_build_object('next_step', CAST(:before AS text))
 WHERE failure_context ->> 'next_step' = :step
   AND failure_context -> 'options' = jsonb_build_array(CAST(:option AS text))"""


def upgrade() -> None:
    _lock()
    op.execute(WRAP_OTHER_VALUES)
    op.create_check_constraint(
        op.f(CONSTRAINT), "session_tasks", "jsonb_typeof(failure_context) = 'object'"
    )
    _update_steps(UPGRADE_STEP)


def downgrade() -> None:
    _lock()
    op.drop_constraint(op.f(CONSTRAINT), "session_tasks", type_="check")
    _update_steps(DOWNGRADE_STEP)
    op.execute(
        "UPDATE session_tasks SET failure_context = failure_context - 'options'"
        " WHERE failure_context ? 'options'"
    )


def _lock() -> None:
    """Lock the whole table, since a batch of transitions locks its rows in another order."""
    op.execute("LOCK TABLE session_tasks IN ACCESS EXCLUSIVE MODE")


def _update_steps(statement: str) -> None:
    for before, step, option in STEPS:
        op.execute(sa.text(statement).bindparams(before=before, step=step, option=option))
