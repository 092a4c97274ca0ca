"""Write the results of runs, for many sessions at once.

Each table costs two statements, whatever the number of sessions: DELETE, and COPY.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from psycopg import sql

from app.models.content import DeliveredIssue, Export, Ticket, ValidationFinding
from app.values.results import NO_FIELDS, Note, TaskResults
from app.values.states import TaskType

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import psycopg

Row = tuple[object, ...]


class Produced(NamedTuple):
    """The results of one run of a session's task."""

    session_id: uuid.UUID
    task_type: TaskType
    results: TaskResults


def write_results(connection: psycopg.Connection[Any], produced: Sequence[Produced]) -> None:
    """Write the results of runs, in place of those of earlier runs of their type.

    Results of a run's own type are replaced even by none: a validation that finds nothing deletes
    the findings of the last one. Existing notes are not added again. Called in the
    transaction that ends the runs, after its guard; no session twice.
    """
    for part in _PARTS:
        replaced = [
            each
            for each in produced
            if each.task_type == part.produced_by or len(getattr(each.results, part.name))
        ]
        if replaced:
            connection.execute(part.delete, [[each.session_id for each in replaced]], binary=True)
            copy_rows(connection, part.copy, part.numbered_rows(replaced))
    if any(each.results.notes for each in produced):
        _write_notes(connection, produced)


def copy_statement(table: str, columns: Sequence[str]) -> sql.Composed:
    """Return the COPY that takes these columns."""
    return sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
    )


def copy_rows(
    connection: psycopg.Connection[Any], statement: sql.Composed, rows: Iterable[Row]
) -> None:
    """Send the rows, if there is any."""
    first = next(rows := iter(rows), None)
    if first is None:
        return
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write_row(first)
        for row in rows:
            copy.write_row(row)


_INSERT_NOTES = """
WITH news AS (
    SELECT session_id, text, max(options) AS options, min(ordinal) AS ordinal
      FROM unnest(%s::uuid[], %s::text[], %s::text[])
           WITH ORDINALITY AS note(session_id, text, options, ordinal)
     WHERE NOT EXISTS (SELECT FROM session_notes known
                        WHERE known.session_id = note.session_id AND known.text = note.text)
     GROUP BY session_id, text)
INSERT INTO session_notes (session_id, position, text, options)
SELECT session_id,
       coalesce((SELECT max(known.position) FROM session_notes known
                  WHERE known.session_id = news.session_id), 0)
         + row_number() OVER (PARTITION BY session_id ORDER BY ordinal),
       text,
       string_to_array(options, ',')
  FROM news"""


def _write_notes(connection: psycopg.Connection[Any], produced: Sequence[Produced]) -> None:
    notes = [
        (each.session_id, note.text, ",".join(note.options))
        for each in produced
        for note in map(Note.of, each.results.notes)
    ]
    connection.execute(_INSERT_NOTES, [*map(list, zip(*notes, strict=True))])


class _Part:
    """One field of `TaskResults`, whose items become the rows of a table.

    Attributes:
        name: the field's.
        produced_by: the task type that owns it; None: only items of the same kind replace it.

    """

    def __init__(  # noqa: PLR0913 - what a table is made of
        self,
        name: str,
        produced_by: TaskType | None,
        table: str,
        columns: Sequence[str],
        row_of: Callable[[Any], Row],
        *,
        position_of: Callable[[int, Any], int] = lambda ordinal, _item: ordinal,
    ) -> None:
        self.name = name
        self.produced_by = produced_by
        self.delete = f"DELETE FROM {table} WHERE session_id = ANY(%s::uuid[])"  # noqa: S608 - a constant
        self.copy = copy_statement(table, ("session_id", "position", *columns))
        self._row_of = row_of
        self._position_of = position_of

    def numbered_rows(self, produced: Iterable[Produced]) -> Iterator[Row]:
        """Return the rows of all these with their positions, mostly from 1 in each session."""
        for each in produced:
            for ordinal, item in enumerate(getattr(each.results, self.name), 1):
                yield each.session_id, self._position_of(ordinal, item), *self._row_of(item)


_PARTS = (
    _Part(
        "tickets",
        TaskType.PROCESSING,
        Ticket.__tablename__,
        ("title", "description", "source_name", "source_row", "fields", "parent"),
        lambda ticket: (
            ticket.title,
            ticket.description,
            ticket.source_name,
            ticket.source_row,
            None if ticket.fields == NO_FIELDS else ticket.fields,
            ticket.parent,
        ),
    ),
    _Part(
        "exports",
        TaskType.EXPORT,
        Export.__tablename__,
        ("body", "issue_count"),
        lambda export: (export.body, export.issue_count),
    ),
    _Part(
        "issues",
        None,
        DeliveredIssue.__tablename__,
        ("issue_id", "key", "url"),
        lambda issue: (issue.issue_id, issue.key, issue.url),
        position_of=lambda _ordinal, issue: int(issue.ticket),
    ),
    _Part(
        "findings",
        TaskType.ADF_VALIDATION,
        ValidationFinding.__tablename__,
        ("ticket", "title", "source_name", "source_row", "path", "rule", "reason"),
        lambda found: (
            found.ticket,
            found.title,
            found.source_name,
            found.source_row,
            found.path,
            found.rule,
            found.reason,
        ),
    ),
)

PARTS_WRITTEN = frozenset({"notes", *(part.name for part in _PARTS)})
"""The fields of `TaskResults` that `write_results` writes."""
