"""Office documents: what is common to workbooks and Word files, which are ZIP archives of XML.

The libraries that read them are the extra `[office]`. Before they see an archive it is measured: a
few kilobytes can unpack to gigabytes, or name a cell in row 1,048,576 and have it filled with
everything above.
"""

from __future__ import annotations

import io
import zipfile
from importlib.util import find_spec

from app.core.errors import DocumentError, MissingExtra

MOST_UNPACKED_BYTES = 256 * 1024 * 1024
MOST_FILES = 10_000

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")
_ENCRYPTION_FLAG = 0x1


def require(module: str) -> None:
    """Return if a library of the extra is installed.

    Raises:
        ConfigurationError: it is not; it says how to install it.

    """
    if find_spec(module) is None:
        what = "A document of an office program (.xlsx, .ods, .docx)"
        raise MissingExtra(what, "office", otherwise=", wherever a worker runs")


def open_archive(name: str, content: bytes) -> zipfile.ZipFile:
    """Return the document's archive, measured.

    Raises:
        DocumentError: it is no archive, has a password or a macro, or unpacks to too much.

    """
    if content.startswith(_OLE):
        if _ENCRYPTED in content:
            raise _unusable(name, "has a password", "Save it without a password.")
        raise _unusable(
            name, "is an old Office document (.xls, .doc)", "Save it as .xlsx or .docx."
        )
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
        entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
        raise _unusable(name, f"is no Office document ({error})", "Save it again.") from error
    if any(entry.flag_bits & _ENCRYPTION_FLAG for entry in entries):
        raise _unusable(name, "has a password", "Save it without a password.")
    if any("vbaproject" in entry.filename.lower() for entry in entries):
        raise _unusable(name, "has a macro", "Save it as .xlsx or .docx, without macros.")
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > MOST_UNPACKED_BYTES or len(entries) > MOST_FILES:
        raise _unusable(
            name,
            f"unpacks to {unpacked:,} bytes in {len(entries):,} files, more than the"
            f" {MOST_UNPACKED_BYTES:,} bytes and {MOST_FILES:,} files that are read",
            "Split it, or save the part you need as CSV or Markdown.",
        )
    return archive


def read_entry(name: str, archive: zipfile.ZipFile, entry: str) -> bytes:
    """Return a file of the archive, no longer than the archive says.

    Raises:
        DocumentError: it is damaged, or longer.

    """
    try:
        return archive.read(entry)
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, EOFError) as error:
        raise _unusable(name, f"is damaged ({error})", "Save it again.") from error


def _unusable(name: str, what: str, next_step: str) -> DocumentError:
    return DocumentError(f"{name} {what}", name=name, next_step=next_step)
