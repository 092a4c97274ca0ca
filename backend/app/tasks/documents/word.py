"""Word documents (.docx) as HTML, by `mammoth`."""

from __future__ import annotations

import io
from typing import Any, NamedTuple

from app.core.errors import DocumentError
from app.tasks.documents.office import open_archive, require

MOST_XML_BYTES = 16 * 1024 * 1024
"""Of the document's text; the library holds some 20 bytes for each."""

_STYLES = """
p[style-name='Title'] => h1:fresh
p[style-name='Subtitle'] => p:fresh
p[style-name='Quote'] => blockquote > p:fresh
p[style-name='Intense Quote'] => blockquote > p:fresh
p[style-name='Code'] => pre:separator('\\n')
p[style-name='HTML Preformatted'] => pre:separator('\\n')
r[style-name='HTML Code'] => code
u => u
strike => s
highlight => mark
"""


class WordDocument(NamedTuple):
    """A Word document as HTML, and notes for people on what it shows otherwise."""

    html: str
    notes: tuple[str, ...]


def read_word(name: str, content: bytes) -> WordDocument:
    """Return the document as HTML; pictures in it are shown by their alternative texts.

    Raises:
        ConfigurationError: the extra `[office]` is not installed.
        DocumentError: it is no Word document, has a password or macros, or is too large.

    """
    require("mammoth")
    import mammoth  # noqa: PLC0415 - an extra

    archive = open_archive(name, content)
    sizes = [entry.file_size for entry in archive.infolist() if entry.filename.endswith(".xml")]
    if max(sizes, default=0) > MOST_XML_BYTES:
        raise DocumentError(
            f"{name} has more than {MOST_XML_BYTES:,} bytes of text",
            name=name,
            next_step="Split it into several documents.",
        )

    pictures = 0

    def without_picture(_image: Any) -> dict[str, str]:
        nonlocal pictures
        pictures += 1
        return {"src": ""}

    try:
        read = mammoth.convert_to_html(
            io.BytesIO(content),
            style_map=_STYLES,
            convert_image=mammoth.images.img_element(without_picture),
        )
    except (RecursionError, MemoryError) as error:
        raise _unusable(name, "it nests too deeply") from error
    except Exception as error:  # the library and its XML parser raise what they like
        raise _unusable(name, str(error) or type(error).__name__) from error
    notes = []
    if pictures:
        notes.append(f"{name}: pictures that are shown by their alternative texts: {pictures:,}")
    if any("}oMath" in message.message for message in read.messages):
        notes.append(f"{name}: its formulas are left out; add them by hand")
    return WordDocument(str(read.value), tuple(notes))


def _unusable(name: str, reason: str) -> DocumentError:
    return DocumentError(
        f"{name} cannot be read as a Word document: {reason}",
        name=name,
        next_step="Save it again as .docx.",
    )
