"""A session's import as files: the bodies, a report, a script that sends them, and a README.

The same bytes at every door: the command writes them to a directory, the API and the pages
hand them out as one archive. They are read page by page; no transaction is open while a disk or a
client is slow.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple

from app.core.spreadsheet import BYTE_ORDER_MARK, csv_line
from app.core.wording import count_text, short_id
from app.repositories.content_repository import ContentRepository
from app.repositories.session_repository import SessionRepository
from app.tasks.documents.decoding import is_table
from app.tasks.jira_import import import_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from uuid import UUID

    from app.core.database import Database
    from app.repositories.content_repository import TicketTitle
    from app.values.results import ExportBody

BODIES_PER_READ = 10
TICKETS_PER_READ = 1_000
REPORT = "report.csv"
README = "README.txt"
ISSUES = "issues.csv"
SCRIPT = "import.sh"

SITE = "https://YOUR-SITE.atlassian.net"
"""In the place of an address that no setting names."""

REPORT_COLUMNS = (
    "ticket", "document", "row", "line", "file", "position", "parent", "summary",
)  # fmt: skip

ISSUE_COLUMNS = ("ticket", "key", "url", "document", "row", "line", "summary")

_PART_BYTES = 64 * 1024
_EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The only time that files in an archive have: the same session gives the same bytes."""


class ImportFile(NamedTuple):
    """A file: its name, its content in parts, and how many issues it has.

    Its parts are read before the next file is asked for.
    """

    name: str
    parts: Iterable[bytes]
    issue_count: int = 0


@dataclass(frozen=True, slots=True)
class SessionImport:
    """The import of one session, which must have been exported.

    Attributes:
        owner: whose session it must be; None: any owner's.
        site: the address of the Jira site, where one is known.

    """

    database: Database
    session_id: UUID
    owner: str | None = None
    site: str | None = None

    def bodies(self) -> Iterator[ExportBody]:
        """Read the bodies in order.

        Raises:
            SessionNotFound: the session was deleted, or is another owner's.

        """
        after = 0
        while True:
            with self.database.transaction() as db:
                SessionRepository(db, owner=self.owner).get(self.session_id)
                exports = ContentRepository(db).exports(
                    self.session_id, after=after, limit=BODIES_PER_READ
                )
                page = list(exports)
            yield from page
            after += len(page)
            if len(page) < BODIES_PER_READ:
                return

    def files(self) -> Iterator[ImportFile]:
        """Return all files, one after the other.

        Raises:
            SessionNotFound: the session was deleted, or is another owner's.

        """
        counts: list[int] = []
        for number, body in enumerate(self.bodies(), 1):
            counts.append(body.issue_count)
            parts = (body.body.encode(), b"\n")
            yield ImportFile(import_name(number), parts, body.issue_count)
        yield ImportFile(REPORT, self._report(counts))
        with self.database.transaction() as db:
            issue_count = ContentRepository(db).issue_count(self.session_id)
        if issue_count:
            yield ImportFile(ISSUES, self._issues())
            readme = _README_OF_DELIVERED.format(
                session=short_id(self.session_id), issues=count_text(issue_count, "issue")
            )
        else:
            yield ImportFile(SCRIPT, (_script(),))
            readme = self._readme(counts)
        yield ImportFile(README, (readme.encode(),))

    def zipped(self) -> Iterator[bytes]:
        """Return all files as one ZIP archive, in parts, below a directory of the session's name.

        Raises:
            SessionNotFound: the session was deleted, or is another owner's.

        """
        directory = f"jira-import-{short_id(self.session_id)}"
        sink = _Sink()
        with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in self.files():
                entry = zipfile.ZipInfo(f"{directory}/{file.name}", _EARLIEST)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = 0o644 << 16
                with archive.open(entry, "w") as content:
                    for part in file.parts:
                        content.write(part)
                        if sink.is_filled:
                            yield sink.taken()
        yield sink.taken()

    def _report(self, counts: list[int]) -> Iterator[bytes]:
        """Return the report; the tickets stand in the files in their order."""
        places = _places(counts)
        with self.database.transaction() as db:
            tickets = ContentRepository(db).counts(self.session_id).tickets
        is_known = tickets == sum(counts)  # a team's own export may make issues of its own
        yield (BYTE_ORDER_MARK + csv_line(REPORT_COLUMNS)).encode()
        after = 0
        while after < tickets:
            with self.database.transaction() as db:
                page = ContentRepository(db).ticket_titles(
                    self.session_id, after=after, limit=TICKETS_PER_READ
                )
            if not page:
                return
            lines = (_report_line(each, next(places) if is_known else ("", "")) for each in page)
            yield "".join(lines).encode()
            after += len(page)

    def _issues(self) -> Iterator[bytes]:
        """Return the table of the tickets and their issues in Jira."""
        yield (BYTE_ORDER_MARK + csv_line(ISSUE_COLUMNS)).encode()
        after = 0
        while True:
            with self.database.transaction() as db:
                page = ContentRepository(db).ticket_titles(
                    self.session_id, after=after, limit=TICKETS_PER_READ
                )
            if not page:
                return
            yield "".join(map(_issue_line, page)).encode()
            after += len(page)

    def _readme(self, counts: list[int]) -> str:
        issues, in_files = count_text(sum(counts), "issue"), count_text(len(counts), "file")
        names = (
            import_name(1) if len(counts) == 1 else f"import-001.json to {import_name(len(counts))}"
        )
        return _README.format(
            session=short_id(self.session_id),
            issues=issues,
            files=in_files,
            command=import_command(self.site),
            names=names,
        )


def import_command(site: str | None, script: str = SCRIPT) -> str:
    """Return the command that sends the files to Jira."""
    return f"JIRA_URL={site or SITE} JIRA_EMAIL=you@example.com sh {script}"


def _places(counts: list[int]) -> Iterator[tuple[str, object]]:
    """Yield the file of each issue, and its position in it (first is 1)."""
    for number, count in enumerate(counts, 1):
        for position in range(1, count + 1):
            yield import_name(number), position


def _report_line(ticket: TicketTitle, place: tuple[str, object]) -> str:
    where = _row_and_line(ticket)
    parent = ticket.parent or ""
    return csv_line((ticket.number, ticket.source_name, *where, *place, parent, ticket.title))


def _issue_line(ticket: TicketTitle) -> str:
    issue = (ticket.issue_key or "", ticket.issue_url or "")
    where = _row_and_line(ticket)
    return csv_line((ticket.number, *issue, ticket.source_name, *where, ticket.title))


def _row_and_line(ticket: TicketTitle) -> tuple[object, object]:
    row: object = ticket.source_row
    return (row, "") if is_table(ticket.source_name) else ("", row)


def _script() -> bytes:
    return files("app.tasks.jira").joinpath(SCRIPT).read_bytes()


class _Sink(io.RawIOBase):
    """Hold what an archive writes until it is handed on; nothing before it can be changed."""

    def __init__(self) -> None:
        super().__init__()
        self._written = bytearray()
        self._position = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def write(self, data: object) -> int:
        part = bytes(data)  # type: ignore[call-overload]
        self._written += part
        self._position += len(part)
        return len(part)

    @property
    def is_filled(self) -> bool:
        """Whether there is enough to hand on."""
        return len(self._written) >= _PART_BYTES

    def taken(self) -> bytes:
        """Return what was written since the last time."""
        part = bytes(self._written)
        self._written.clear()
        return part


_README = """\
Jira import of session {session}: {issues} in {files}, every description checked.

NEXT STEP
In this directory (sh and curl: Linux, macOS, WSL, Git Bash), with your site and your address:

    {command}

It asks for an API token (https://id.atlassian.com/manage-profile/security/api-tokens), or takes
JIRA_TOKEN from the environment. Each file is sent once: run it again and it goes on where it
stopped. Jira's responses stay beside the files, as answer-001.json and so on.

FILES
{names}: each one body of POST /rest/api/3/issue/bulk, at most 50 issues. A parent that
    stands in an earlier file is written as "import-001.json#3", the third issue of that file:
    Jira has no key for it yet. import.sh puts the key there; Jira refuses the issue without it.
report.csv: for each ticket its document, row or line, and its place in the files. parent is the
    number of another ticket. A text that a spreadsheet might run as a formula follows a '.
import.sh: sends the files.
"""

_README_OF_DELIVERED = """\
Session {session}: {issues} created in Jira. Nothing is left to be sent.

FILES
issues.csv: for each ticket its key and address in Jira, and its document, row or line.
import-001.json and so on: what was sent. Sending it again would create every issue again.
report.csv: for each ticket its place in these files.
A text that a spreadsheet might run as a formula follows a '.
"""
