"""Bytes become text, or an error that says what they are instead."""

from __future__ import annotations

import bz2
import gzip
import io
import random
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import DocumentError, ErrorCategory
from app.tasks.documents.decoding import DocumentKind, decode, kind_of


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("README.md", DocumentKind.MARKDOWN),
        ("docs/guide.Markdown", DocumentKind.MARKDOWN),
        ("ISSUES.CSV", DocumentKind.CSV),
        ("a.b.tsv", DocumentKind.CSV),
    ],
)
def test_the_suffix_tells_the_kind(name: str, kind: DocumentKind) -> None:
    assert kind_of(name) is kind


@pytest.mark.parametrize("name", ["notes.pdf", "issues.xlsm", "README", ".md", "a.md.zip", ""])
def test_an_unknown_type_is_refused_and_told_what_is_accepted(name: str) -> None:
    with pytest.raises(DocumentError) as caught:
        kind_of(name)
    for suffix in (".md", ".markdown", ".csv", ".tsv"):
        assert suffix in caught.value.message
    assert caught.value.name == name
    assert caught.value.category is ErrorCategory.USER_FIXABLE
    assert caught.value.next_step


@pytest.mark.parametrize(
    ("name", "next_step"),
    [
        ("a.rst", "Convert it to Markdown, for example by pandoc: `pandoc -t gfm -o a.md a.rst`."),
        ("a.odt", "Save it as .docx."),
        ("a.Numbers", "Save it as .xlsx."),
        ("a.{0}", "Save it as .md if it is text, or as .csv if it is a table."),
    ],
)
def test_a_refusal_says_what_to_do_with_such_a_document(name: str, next_step: str) -> None:
    with pytest.raises(DocumentError) as caught:
        kind_of(name)
    assert caught.value.next_step == next_step


@pytest.mark.parametrize(
    ("python_name", "usual_name"),
    [
        ("utf-8-sig", "utf-8"),
        ("utf-16", "utf-16-le"),
        ("utf-32", "utf-32-le"),
    ],
)
def test_a_byte_order_mark_says_the_encoding(python_name: str, usual_name: str) -> None:
    decoded = decode("a.md", "Größe 📏".encode(python_name))
    assert decoded.text == "Größe 📏"
    assert decoded.encoding == usual_name
    assert not decoded.guessed


@pytest.mark.parametrize(("mark", "encoding"), [("utf-16-be", "utf-16-be"), ("utf-32-be",) * 2])
def test_big_endian_marks_too(mark: str, encoding: str) -> None:
    assert decode("a.md", "\ufeffÄ".encode(mark)).encoding == encoding


def test_a_mark_that_the_bytes_contradict_is_an_error_that_says_where() -> None:
    with pytest.raises(DocumentError, match=r"UTF-8.* at 5 "):
        decode("a.md", b"\xef\xbb\xbfok\xff")
    with pytest.raises(DocumentError, match="UTF-16-LE"):
        decode("a.md", "half a character".encode("utf-16")[:-1])


def test_a_second_mark_is_no_part_of_the_text() -> None:
    assert decode("a.csv", b"\xef\xbb\xbf\xef\xbb\xbfTitle\n1").text == "Title\n1"


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark_is_read_and_called_a_guess(encoding: str) -> None:
    decoded = decode("a.csv", "Title,Größe\nDoor,5 €\n".encode(encoding))
    assert decoded.text == "Title,Größe\nDoor,5 €\n"
    assert (decoded.encoding, decoded.guessed) == (encoding, True)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Summary;Montant\nCafé crème à côté;12,5\nÉté très chaud;3\n", "cp1252"),
        ("name,x\nJosé,1\n", "cp1252"),
        ("Título,Descripción\nContraseña olvidada,El señor Núñez no puede entrar\n", "cp1252"),
        ("Titel,Beskrivning\nFörsta åtgärden,Användaren når inte sidan på måndagar\n", "cp1252"),
        ("a,b,c\n1,2,3\n4,5,©", "cp1252"),
        ("Titel;Beschreibung;Priorität;Fällig\nÄ;Text;Hoch;31.12.2026\n", "cp1252"),
        ("标题,描述\n无法登录,用户输入密码后无法登录系统\n", "gb18030"),
        ("Τίτλος,Περιγραφή\nΔεν μπορώ να συνδεθώ,Ο χρήστης δεν μπορεί\n", "cp1253"),  # noqa: RUF001
        ("Résumé,Détail\nCafé crème à côté,très bien depuis février\n", "mac_roman"),
        ("title,price\nBook,5 €\nQuote “x”,3\n", "cp1252"),
        ("Tytuł;Opis\nZażółć gęślą jaźń;Wejście nie działa\n", "cp1250"),
        ("Название;Описание\nИсправить ошибку;Пользователь не может войти\n", "cp1251"),  # noqa: RUF001
        ("タイトル,説明\nログインできない,パスワードを入力してもログインできません\n", "shift_jis"),
    ],
)
def test_old_encodings_are_guessed_and_said_to_be(text: str, encoding: str) -> None:
    decoded = decode("a.csv", text.encode(encoding))
    assert decoded.text == text
    assert decoded.guessed


@pytest.mark.parametrize("text", ["name,x\nJosé,1\n", "Titel;Größe\nÜbung für Anfänger;ß\n"])
def test_a_western_guess_goes_by_the_name_that_other_programs_show(text: str) -> None:
    assert decode("a.csv", text.encode("cp1252")).encoding == "windows-1252"


@pytest.mark.parametrize("padding", range(4))
def test_a_long_document_is_not_cut_within_a_character_for_the_guess(padding: int) -> None:
    text = "x" * padding + ",説明\n" + "タイトルとログインできない説明\n" * 5000
    assert decode("a.csv", text.encode("cp932")).text == text


def test_the_guess_costs_the_same_far_into_a_long_document() -> None:
    text = "plain,line\n" * 300_000 + "Übung für Anfänger,größer\n" * 10
    assert decode("a.csv", text.encode("cp1252")).text == text


@pytest.mark.parametrize("content", [b"", b" \r\n\t ", b"\xef\xbb\xbf", "\n ".encode("utf-16")])
def test_an_empty_document_is_refused(content: bytes) -> None:
    with pytest.raises(DocumentError, match=r"notes\.md is empty"):
        decode("notes.md", content)


def zip_with(member: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(member, "<xml/>")
    return buffer.getvalue()


BINARIES = {
    "Excel": zip_with("xl/workbook.xml"),
    "Word": zip_with("word/document.xml"),
    "ZIP": zip_with("a.txt"),
    "PNG": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "JPEG": b"\xff\xd8\xff\xe0\0\x10JFIF",
    "PDF": b"%PDF-1.7\n%\xe2\xe3",
    r"\.xls": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(64),
    "gzip": gzip.compress(b"title\n1"),
    "bzip2": bz2.compress(b"title\n1"),
    "SQLite": b"SQLite format 3\0\x10\0",
}


@pytest.mark.parametrize("looks_like", BINARIES)
def test_a_binary_is_called_by_its_name(looks_like: str) -> None:
    with pytest.raises(DocumentError, match=looks_like) as caught:
        decode("issues.csv", BINARIES[looks_like])
    assert "issues.csv" in caught.value.message
    assert caught.value.next_step


@pytest.mark.parametrize("content", [bytes(5000), bytes(range(256)) * 50, b"a\0\0\0" * 500])
def test_control_characters_in_bulk_are_no_text(content: bytes) -> None:
    with pytest.raises(DocumentError, match="not text"):
        decode("issues.csv", content)


def test_a_text_that_begins_like_a_binary_is_a_text() -> None:
    assert decode("a.md", b"BZh is how bzip2 files begin").text.startswith("BZh")


def test_stray_nuls_are_left_to_the_reader() -> None:
    assert decode("a.csv", b"a,b,c\n\0,2,3\n").text == "a,b,c\n\0,2,3\n"


def test_bytes_that_fit_no_encoding_are_refused_with_the_way_out() -> None:
    noise = bytes(random.Random(1).choices(range(0x80, 0x100), k=4000))
    with pytest.raises(DocumentError, match="not UTF-8") as caught:
        decode("a.csv", b"title\n" + noise)
    assert "UTF-8" in caught.value.next_step


@given(st.text(min_size=1).filter(lambda text: text.strip("\ufeff").strip() != ""))
def test_utf_8_comes_back_as_it_was_or_is_refused_as_no_text(text: str) -> None:
    try:
        decoded = decode("a.md", text.encode())
    except DocumentError:
        return
    if decoded.encoding == "utf-8":
        assert decoded.text == text.lstrip("\ufeff")


@given(st.binary(max_size=400))
def test_any_bytes_give_storable_text_or_a_clear_error(content: bytes) -> None:
    try:
        decoded = decode("any.csv", content)
    except DocumentError as error:
        assert "any.csv" in error.message  # noqa: PT017 - either outcome is right
        assert error.next_step  # noqa: PT017 - as above
    else:
        decoded.text.encode()  # no lone surrogates
        assert decoded.text.strip()
