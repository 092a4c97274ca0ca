"""A multipart form as documents: names made harmless, every limit kept."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Annotated, NamedTuple

from fastapi import UploadFile
from pydantic import Field

from app.api.chosen_options import ChosenOptions
from app.api.resources import SafeText
from app.core.errors import DocumentError
from app.repositories.content_reader import IncomingDocument
from app.tasks.documents.decoding import kind_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from app.core.config import Settings

LONGEST_NAME = 255
CHUNK_BYTES = 1024 * 1024
MOST_BYTES_READ_HERE = 1024 * 1024
"""Text of one request whose check takes less time than the start of a process."""
SMALL_BYTES = 32 * 1024
"""Text of one request whose check takes less time than the change to a thread and back."""


class NewSession(ChosenOptions):
    """A session to be opened: its documents, and what is wanted of them."""

    documents: Annotated[
        list[UploadFile],
        Field(min_length=1, description="Markdown, tables, HTML, text and Word files"),
    ]
    label: Annotated[SafeText, Field(max_length=200, description="what people call it")] = ""
    auto_advance: Annotated[
        bool, Field(description="whether a completed task starts the next one automatically")
    ] = True
    start: Annotated[bool, Field(description="whether processing starts at once")] = False


def usable_documents(
    form: NewSession, settings: Settings
) -> tuple[UsableDocuments, list[DocumentError]]:
    """The documents that may be read, and what is wrong with the others.

    Raises:
        DocumentError: too many.

    """
    if len(form.documents) > settings.max_documents:
        raise DocumentError(
            f"{len(form.documents):,} documents are more than the {settings.max_documents:,} that "
            "a session takes",
            next_step="Use several sessions.",
        )
    names: list[str] = []
    uploads: list[UploadFile] = []
    problems: list[DocumentError] = []
    for upload in form.documents:
        try:
            name = _checked_name(upload, names, settings.max_document_bytes)
        except DocumentError as error:
            problems.append(error)
        else:
            names.append(name)
            uploads.append(upload)
    return UsableDocuments(names, uploads), problems


class UsableDocuments(NamedTuple):
    """Documents with their names."""

    names: list[str]
    uploads: list[UploadFile]

    def are_text_within(self, most_bytes: int) -> bool:
        """Whether they are no more text than that, and no archive."""
        size = sum(upload.size or 0 for upload in self.uploads)
        return size <= most_bytes and all(kind_of(name).is_text for name in self.names)

    def read(self) -> Iterator[IncomingDocument]:
        """The documents, one after the other."""
        for upload, name in zip(self.uploads, self.names, strict=True):
            upload.file.seek(0)
            yield IncomingDocument(name, upload.file.read())


def _checked_name(upload: UploadFile, names: Sequence[str], most_bytes: int) -> str:
    name = _harmless(upload.filename or "")
    kind_of(name)
    if name in names:
        raise DocumentError(
            f"Two documents are called {name}", name=name, next_step="Rename one of them."
        )
    if not upload.size:
        raise DocumentError(
            f"{name} is empty", name=name, next_step="Leave it out, or fill it and try again."
        )
    if upload.size > most_bytes:
        raise DocumentError(
            f"{name} has {upload.size:,} bytes; a document may have {most_bytes:,}",
            name=name,
            next_step="Split it.",
        )
    return name


def fingerprint(form: NewSession, names: list[str]) -> bytes:
    """SHA-256 of all that the form says, read in small pieces."""
    digest = hashlib.sha256(form.model_dump_json(exclude={"documents"}).encode())
    for upload, name in zip(form.documents, names, strict=True):
        digest.update(f"\0{name}\0{upload.size}\0".encode())
        upload.file.seek(0)
        while chunk := upload.file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.digest()


def _harmless(filename: str) -> str:
    """The last part of the name, in characters that can be stored and shown; never a path."""
    last = filename.replace("\\", "/").rsplit("/", 1)[-1].strip()
    text = last.encode("utf-8", "replace").decode()
    name = "".join(character if character.isprintable() else "\ufffd" for character in text)
    if not name or name in {".", ".."} or len(name) > LONGEST_NAME:
        raise DocumentError(
            "A document has no usable name",
            next_step="Name each one, in at most 255 characters: curl -F documents=@notes.md",
        )
    return name
