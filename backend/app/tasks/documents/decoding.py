"""Determine a document's kind from its name, and decode its bytes to text."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import PurePath

from charset_normalizer import from_bytes

from app.core.errors import DocumentError

ACCEPTED = (
    "Markdown (.md, .markdown, .mdx), tables (.csv, .tsv, .xlsx, .ods), HTML (.html, .htm), plain"
    " text (.txt) and Word (.docx)"
)


class DocumentKind(str, Enum):
    """The kind of a document, determined by its name."""

    MARKDOWN = "markdown"
    CSV = "csv"
    HTML = "html"
    TEXT = "text"
    WORKBOOK = "workbook"
    WORD = "word"

    @property
    def is_text(self) -> bool:
        """Whether its bytes are text; Office documents are archives."""
        return self not in {DocumentKind.WORKBOOK, DocumentKind.WORD}


_KIND_BY_SUFFIX = {
    ".md": DocumentKind.MARKDOWN,
    ".markdown": DocumentKind.MARKDOWN,
    ".mdx": DocumentKind.MARKDOWN,
    ".csv": DocumentKind.CSV,
    ".tsv": DocumentKind.CSV,
    ".html": DocumentKind.HTML,
    ".htm": DocumentKind.HTML,
    ".xhtml": DocumentKind.HTML,
    ".txt": DocumentKind.TEXT,
    ".xlsx": DocumentKind.WORKBOOK,
    ".ods": DocumentKind.WORKBOOK,
    ".docx": DocumentKind.WORD,
}
SUFFIXES = tuple(_KIND_BY_SUFFIX)


_BY_PANDOC = "Convert it to Markdown, for example by pandoc: `pandoc -t gfm -o {0}.md {0}{1}`."
_NEXT_STEPS = {
    ".xlsm": "Save it as .xlsx, without macros.",
    ".docm": "Save it as .docx, without macros.",
    ".pdf": "Give the document that it was made from, or save it as .docx.",
    ".adoc": "Convert it to HTML, for example by asciidoctor, and give that.",
    ".asciidoc": "Convert it to HTML, for example by asciidoctor, and give that.",
    ".zip": "Unpack it, and name the files in it.",
    ".json": "Save it as .csv, with a line of column names.",
    **dict.fromkeys((".xlsb", ".xls", ".numbers", ".gsheet"), "Save it as .xlsx."),
    **dict.fromkeys((".doc", ".odt", ".rtf", ".pages", ".gdoc"), "Save it as .docx."),
    **dict.fromkeys((".eml", ".msg", ".mht", ".mhtml"), "Save it as .html."),
    **dict.fromkeys((".mdown", ".mkd", ".qmd", ".rmd"), "It is Markdown: rename it to end in .md."),
    **dict.fromkeys((".text", ".log"), "It is plain text: rename it to end in .txt."),
    **dict.fromkeys((".rst", ".org", ".tex", ".textile", ".mediawiki", ".ipynb"), _BY_PANDOC),
}
"""What to do with a document of a type that is not accepted."""


def kind_of(name: str) -> DocumentKind:
    """Return the kind by the name's suffix, in upper or lower case.

    Raises:
        DocumentError: any other suffix, or none; it lists the accepted ones.

    """
    suffix = PurePath(name).suffix.lower()
    kind = _KIND_BY_SUFFIX.get(suffix)
    if kind is None:
        what = f"“{suffix}” is not a type" if suffix else "it has no suffix that shows its type"
        raise DocumentError(
            f"{name}: {what}; accepted are {ACCEPTED}",
            name=name,
            next_step=_NEXT_STEPS.get(
                suffix, "Save it as .md if it is text, or as .csv if it is a table."
            ).format(PurePath(name).stem, suffix),
        )
    return kind


def is_table(name: str) -> bool:
    """Return whether a document of this name has rows, rather than lines."""
    kind = _KIND_BY_SUFFIX.get(PurePath(name).suffix.lower())
    return kind in {DocumentKind.CSV, DocumentKind.WORKBOOK}


def place_text(name: str, row: int) -> str:
    """Return a place in a document as text: `notes.md, line 3`, `rows.csv, row 3`."""
    return f"{name}, {'row' if is_table(name) else 'line'} {row:,}"


@dataclass(frozen=True, slots=True)
class Decoded:
    """A document's text and its encoding.

    Attributes:
        text: without byte order mark, with unchanged line ends; no lone surrogates.
        encoding: its usual name in lower case: `utf-8`, `utf-16-le`, `windows-1252`, ...
        guessed: nothing in the document named the encoding, so a note should say it.

    """

    text: str
    encoding: str
    guessed: bool


# UTF-32 before UTF-16: its little-endian mark begins with that of UTF-16.
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

_SIGNATURES = (
    (b"%PDF-", "a PDF"),
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF87a", "a GIF image"),
    (b"GIF89a", "a GIF image"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document (.xls, .doc)"),
    (b"\x1f\x8b\x08", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\x00", "an xz archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"\x7fELF", "a program"),
    (b"PAR1", "a Parquet file"),
    (b"{\\rtf", "an RTF document"),
)
_ZIP_SIGNATURE = b"PK\x03\x04"
_ZIP_CONTENTS = (
    (b"xl/", "an Excel workbook (.xlsx)"),
    (b"word/", "a Word document (.docx)"),
    (b"opendocument", "an OpenDocument file (.ods, .odt)"),
)
# A signature of plain letters counts only if these bytes are present too.
_NEVER_IN_TEXT = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_CONTROLS = bytes(byte for byte in range(32) if chr(byte) not in "\t\n\v\f\r\x1b")

_SAMPLE_BYTES = 64 * 1024


def decode(name: str, content: bytes) -> Decoded:
    """Decode the document: by its byte order mark, else as strict UTF-8, else by a guess.

    Raises:
        DocumentError: it is empty, is not text (the error says what it looks like), or contradicts
            its own byte order mark.

    """
    if not content:
        raise _empty(name)
    decoded = _by_byte_order_mark(name, content)
    if decoded is None:
        _refuse_known_binary(name, content)
        decoded = (
            _as_unmarked_utf_16(content) or _as_utf_8(name, content) or _by_guess(name, content)
        )
    text = decoded.text.lstrip("\ufeff")  # two tools may each have added a mark
    if not text or text.isspace():
        raise _empty(name)
    return replace(decoded, text=text)


def _empty(name: str) -> DocumentError:
    return DocumentError(
        f"{name} is empty", name=name, next_step="Leave it out, or fill it and try again."
    )


def _by_byte_order_mark(name: str, content: bytes) -> Decoded | None:
    mark_and_encoding = next(
        (pair for pair in _BYTE_ORDER_MARKS if content.startswith(pair[0])), None
    )
    if mark_and_encoding is None:
        return None
    mark, encoding = mark_and_encoding
    try:
        text = content[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        raise DocumentError(
            f"{name}: its byte order mark says {encoding.upper()}, but the bytes at"
            f" {error.start + len(mark):,} are not ({error.reason})",
            name=name,
            next_step="Save it again as UTF-8; it may be truncated or joined from several files.",
        ) from error
    return Decoded(text, encoding, guessed=False)


def _refuse_known_binary(name: str, content: bytes) -> None:
    if content.startswith(_ZIP_SIGNATURE):
        inside = (what for mark, what in _ZIP_CONTENTS if mark in content)
        looks_like = next(inside, "a ZIP archive")
    else:
        looks_like = next((what for mark, what in _SIGNATURES if content.startswith(mark)), "")
        is_worded = content[:4].isascii() and content[:3].isalnum()
        if is_worded and not _NEVER_IN_TEXT.search(content, 0, _SAMPLE_BYTES):
            looks_like = ""  # text that happens to begin with these letters
    if looks_like:
        raise DocumentError(
            f"{name} looks like {looks_like}, despite its name",
            name=name,
            next_step=f"Save its content as {ACCEPTED}.",
        )


def _as_unmarked_utf_16(content: bytes) -> Decoded | None:
    """Decode UTF-16 that a Windows program wrote without a mark: every other ASCII byte is NUL."""
    sample = content[:_SAMPLE_BYTES]
    half = len(sample) // 2
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    for mostly, rarely, encoding in ((odd, even, "utf-16-le"), (even, odd, "utf-16-be")):
        if half > 1 and mostly * 2 > half and rarely * 20 < half:
            try:
                return Decoded(content.decode(encoding), encoding, guessed=True)
            except UnicodeDecodeError:
                return None
    return None


def _control_share(content: bytes) -> float:
    """Return the share of control characters, which no text has, at the beginning."""
    sample = content[:_SAMPLE_BYTES]
    controls = len(sample) - len(sample.translate(None, _CONTROLS))
    return controls / len(sample) if controls > 4 else 0.0  # noqa: PLR2004 - a few may be in text


def _binary(name: str) -> DocumentError:
    return DocumentError(
        f"{name} is not text: it is full of control characters, as programs and images are",
        name=name,
        next_step=f"Give {ACCEPTED}.",
    )


def _as_utf_8(name: str, content: bytes) -> Decoded | None:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return None
    # A few NULs, one in a cell, are accepted; a file that is mostly NULs is not text.
    if _control_share(content) > 0.25:  # noqa: PLR2004
        raise _binary(name)
    return Decoded(text, "utf-8", guessed=False)


def _by_guess(name: str, content: bytes) -> Decoded:
    # Compressed data and machine code have about a tenth; text in an old encoding has none.
    if _control_share(content) > 0.02:  # noqa: PLR2004
        raise _binary(name)
    sample = _sample_of(content)
    matches = from_bytes(sample, cp_isolation=_PLAUSIBLE_ENCODINGS)
    candidates = [match.encoding for match in matches]
    best = matches.best()
    western = next((match for match in matches if "cp1252" in match.could_be_from_charset), None)
    # If no language was recognised, or a Western one fits as well as any, the Western encoding of
    # Windows is by far the most likely.
    is_as_good = best and western and (not best.coherence or western.coherence >= best.coherence)
    if is_as_good or (candidates[:1] == ["mac_roman"] and _has_letters_of_windows(sample)):
        candidates.insert(0, "cp1252")
    for encoding in candidates:
        try:
            return Decoded(content.decode(encoding), _usual_name(encoding), guessed=True)
        except UnicodeDecodeError:
            continue  # it fits the sample, but not the whole text
    raise DocumentError(
        f"{name} cannot be read: it is not UTF-8, and no other encoding fits it",
        name=name,
        next_step="Save it again as UTF-8.",
    )


# Encodings that spreadsheets and editors write or wrote. Among all that Python knows, the guess
# would often be a mainframe's or typewriter's encoding that fits a short text by chance.
_PLAUSIBLE_ENCODINGS = [
    *(f"cp125{digit}" for digit in range(9)),
    *("cp850", "cp874", "mac_roman", "koi8_r"),
    *("cp932", "euc_jp", "gb18030", "big5", "cp949"),
]

_IN_WORD = re.compile(rb"(?<=[A-Za-z])[\x80-\xff]|[\x80-\xff](?=[A-Za-z])")
_APOSTROPHE = 0x92
"""The typographic one of Windows, which stands in words."""


def _has_letters_of_windows(sample: bytes) -> bool:
    """Return whether letters in words have codes of Windows; the Macintosh has 80 to 9F."""
    codes = b"".join(_IN_WORD.findall(sample))
    of_windows = sum(code >= 0xC0 for code in codes)  # noqa: PLR2004
    return of_windows >= sum(code < 0xA0 and code != _APOSTROPHE for code in codes)  # noqa: PLR2004


_FIRST_NON_ASCII = re.compile(rb"[\x80-\xff]")


def _sample_of(content: bytes) -> bytes:
    """Return at most 64 KiB around the first byte that is not ASCII, to the end of a line.

    So the guess costs the same for a document of any size.
    """
    found = _FIRST_NON_ASCII.search(content)
    first = found.start() if found else 0
    start = max(0, first - _SAMPLE_BYTES // 2)  # in ASCII: no character is cut in two
    end = start + _SAMPLE_BYTES
    if end < len(content):
        end = content.rfind(b"\n", first, end) + 1 or end
    return content[start:end]


def _usual_name(encoding: str) -> str:
    """Return the name in other programs' menus: `windows-1252` for Python's `cp1252`."""
    match = re.fullmatch(r"cp(125\d)", encoding)
    return f"windows-{match[1]}" if match else encoding.replace("_", "-")
