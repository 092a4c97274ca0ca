"""Files are read, or refused with a reason; nothing is ever waited for."""

from __future__ import annotations

import os
import socket
import threading
import tracemalloc
from pathlib import Path

import pytest

from app.core.errors import DocumentError, ErrorCategory
from app.repositories.content_reader import IncomingDocument
from app.tasks.documents import intake
from app.tasks.documents.intake import read_files


def read(*paths: Path, max_bytes: int = 1000, max_documents: int = 10) -> list[IncomingDocument]:
    return read_files(paths, max_bytes=max_bytes, max_documents=max_documents)


def refused(*paths: Path, max_bytes: int = 1000, max_documents: int = 10) -> DocumentError:
    with pytest.raises(DocumentError) as caught:
        read(*paths, max_bytes=max_bytes, max_documents=max_documents)
    assert caught.value.category is ErrorCategory.USER_FIXABLE
    assert caught.value.next_step
    return caught.value


def file(path: Path, content: bytes = b"text") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_files_are_read_in_the_order_given(tmp_path: Path) -> None:
    second, first = file(tmp_path / "b.md", b"1"), file(tmp_path / "a.csv", b"2")
    assert read(second, first) == [IncomingDocument("b.md", b"1"), IncomingDocument("a.csv", b"2")]


def test_a_missing_file(tmp_path: Path) -> None:
    assert "does not exist" in refused(tmp_path / "a.md").message
    assert "cannot be read" in refused(file(tmp_path / "b.md") / "a.md").message
    assert "cannot be read" in refused(tmp_path / ("x" * 300 + ".md")).message
    assert "cannot be read" in refused(tmp_path / "a\0.md").message


def test_a_link_to_itself(tmp_path: Path) -> None:
    (tmp_path / "a.md").symlink_to(tmp_path / "a.md")
    assert "cannot be read" in refused(tmp_path / "a.md").message


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = file(tmp_path / "a.md")
    if os.geteuid() == 0:  # root may read everything: have the system say no

        def denied(*_: object) -> int:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(intake.os, "open", denied)
    else:
        path.chmod(0)
    assert "may not be read" in refused(path).message


def test_a_directory(tmp_path: Path) -> None:
    (tmp_path / "docs.md").mkdir()
    error = refused(tmp_path / "docs.md")
    assert "is a directory" in error.message
    assert "docs.md/*.md" in error.next_step


def test_a_pipe_a_socket_and_a_device_are_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.csv")
    assert "is a pipe" in refused(tmp_path / "a.csv").message
    with socket.socket(socket.AF_UNIX) as listener:
        previous = Path.cwd()
        os.chdir(tmp_path)  # a socket's path may have only about 100 characters
        try:
            listener.bind("b.csv")
        finally:
            os.chdir(previous)
        assert "is a socket" in refused(tmp_path / "b.csv").message
    assert "is a device" in refused(Path("/dev/zero")).message
    (tmp_path / "c.csv").symlink_to("/dev/zero")
    assert "is a device" in refused(tmp_path / "c.csv").message


def test_a_pipe_put_in_the_files_place_meanwhile_does_not_keep_us(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    os.mkfifo(path)
    rescue = threading.Timer(10, path.write_bytes, [b""])  # a writer, so that a failure ends too
    rescue.start()
    try:
        with pytest.raises(DocumentError, match="is a pipe"):
            intake._read(path, 1000)
        assert rescue.is_alive(), "waited for a writer"
    finally:
        rescue.cancel()


@pytest.mark.parametrize("name", ["a.pdf", "a.xlsb", "README"])
def test_an_unknown_type(tmp_path: Path, name: str) -> None:
    assert ".csv" in refused(file(tmp_path / name)).message


def test_an_empty_file(tmp_path: Path) -> None:
    assert "is empty" in refused(file(tmp_path / "a.md", b"")).message


def test_a_file_of_the_very_limit_is_read_and_one_byte_more_is_not(tmp_path: Path) -> None:
    assert len(read(file(tmp_path / "a.md", b"x" * 1000))[0].content) == 1000
    error = refused(file(tmp_path / "b.md", b"x" * 1001))
    assert "1,001 bytes" in error.message
    assert "1,000" in error.message
    assert "SESSION_TASKS_MAX_DOCUMENT_BYTES" in error.next_step


def test_a_huge_file_is_refused_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    with path.open("wb") as sparse:
        sparse.truncate(100 * 2**30)
    refused(path, max_bytes=50 * 2**20)


def test_a_file_that_grew_after_the_check_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="too big"):
        intake._read(file(tmp_path / "a.md", b"x" * 5000), 1000)


def test_no_more_of_a_file_is_read_than_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    with path.open("wb") as sparse:
        sparse.truncate(50 * 2**20)
    tracemalloc.start()
    try:
        with pytest.raises(DocumentError, match="too big"):
            intake._read(path, 1000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * 2**20


def test_every_file_is_checked_before_any_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "_read", lambda *_: pytest.fail("read in vain"))
    refused(file(tmp_path / "a.md"), tmp_path / "missing.md")


def test_no_files_and_too_many_files(tmp_path: Path) -> None:
    assert "No documents" in refused().message
    files = [file(tmp_path / f"{number}.md") for number in range(3)]
    error = refused(*files, max_documents=2)
    assert "SESSION_TASKS_MAX_DOCUMENTS" in error.next_step
    assert len(read(*files, max_documents=3)) == 3


def test_files_of_one_name_keep_as_much_of_their_paths_as_tells_them_apart(tmp_path: Path) -> None:
    files = [
        file(tmp_path / "x/api/README.md"),
        file(tmp_path / "x/web/README.md"),
        file(tmp_path / "y/api/README.md"),
        file(tmp_path / "x/api/one.md"),
    ]
    assert [document.name for document in read(*files)] == [
        "x/api/README.md",
        "x/web/README.md",
        "y/api/README.md",
        "one.md",
    ]


def test_relative_paths_tell_apart_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file(tmp_path / "here/README.md")
    file(tmp_path / "here/docs/README.md")
    monkeypatch.chdir(tmp_path / "here")
    names = [document.name for document in read(Path("README.md"), Path("docs/README.md"))]
    assert names == ["here/README.md", "docs/README.md"]


def test_the_same_file_twice_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = file(tmp_path / "a.md")
    (tmp_path / "link.md").symlink_to(path)
    monkeypatch.chdir(tmp_path)
    assert "twice" in refused(path, path).message
    assert "are the same file" in refused(path, Path("a.md")).message
    assert "are the same file" in refused(path, tmp_path / "link.md").message


def test_names_are_made_fit_to_be_stored_and_stay_apart(tmp_path: Path) -> None:
    files = [
        file(tmp_path / os.fsdecode(b"caf\xe9.md")),
        file(tmp_path / os.fsdecode(b"caf\xe8.md")),
        file(tmp_path / "line\nend.md"),
    ]
    names = [document.name for document in read(*files)]
    assert names == ["caf\ufffd.md", "caf\ufffd (2).md", "line\ufffdend.md"]
