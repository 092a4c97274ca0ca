"""CSV for spreadsheets: every cell is shown as text, and none is run as a formula."""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

BYTE_ORDER_MARK = "\ufeff"
"""The beginning of a file: without it, Excel reads UTF-8 as the machine's code page."""

_FORMULA = re.compile(r"(^|[;\t\r\n]\"*)(?=[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20])")
"""Where a formula may begin: a cell's start, and after delimiters of other regions' spreadsheets.

The characters are those of OWASP's page on CSV injection, also in full width, as Japanese Excel
accepts them.
"""


def csv_line(cells: Iterable[object]) -> str:
    """Return the cells as a line of CSV (RFC 4180), with `'` before a possible formula."""
    written = io.StringIO()
    csv.writer(written).writerow([_FORMULA.sub(r"\1'", str(cell)) for cell in cells])
    return written.getvalue()
