"""CSV for people: every cell is shown as text by a spreadsheet, and none is run as a formula."""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

BYTE_ORDER_MARK = "\ufeff"
"""Begin a file with it: without it, Excel reads UTF-8 as the code page of its machine."""

_FORMULA = re.compile(r"(^|[;\t\r\n]\"*)(?=[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20])")
"""Where a formula may begin: a cell's start, and behind what other regions' spreadsheets split at.

The characters are those of OWASP's page on CSV injection, in full width too, as Japanese Excel
takes them.
"""


def csv_line(cells: Iterable[object]) -> str:
    """Return the cells as a line of CSV (RFC 4180); what could begin a formula follows a `'`."""
    written = io.StringIO()
    csv.writer(written).writerow([_FORMULA.sub(r"\1'", str(cell)) for cell in cells])
    return written.getvalue()
