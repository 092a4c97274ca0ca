"""Word documents (.docx) as HTML, by `mammoth`."""

from __future__ import annotations

import io
from typing import Any, NamedTuple

from app.core.errors import DocumentError
from app.tasks.documents.office import open_archive, require
from app.tasks.documents.word_parts import prepare_parts, with_signs_read

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

    parts = prepare_parts(name, open_archive(name, content))
    pictures = 0

    def without_picture(_image: Any) -> dict[str, str]:
        nonlocal pictures
        pictures += 1
        return {"src": ""}

    try:
        read = mammoth.convert_to_html(
            io.BytesIO(parts.content),
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
    for what, count in parts.left_out.items():
        notes.append(f"{name}: {what} that are left out: {count:,}")
    return WordDocument(with_signs_read(str(read.value)), tuple(notes))


def _unusable(name: str, reason: str) -> DocumentError:
    return DocumentError(
        f"{name} cannot be read as a Word document: {reason}",
        name=name,
        next_step="Save it again as .docx.",
    )
