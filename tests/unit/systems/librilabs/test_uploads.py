"""What is refused of an upload, and how its name is cleaned."""

import pytest

from systems.librilabs.uploads import FileEncodingError, clean_file_name, read_text


def test_utf8_is_taken_without_its_mark() -> None:
    """A byte order mark is no character of the text, and would stand before its first word."""
    assert read_text("\ufeffÉtude".encode()) == "Étude"


@pytest.mark.parametrize(
    ("data", "where"),
    [
        (b"caf" + b"\xe9 noir", "byte 3 is 0xe9"),
        ("\ufeffabc".encode("utf-16-le"), "byte 0 is 0xff"),
        (b"abc\x00def", "byte 3 is the character NUL"),
        (b"\xed\xa0\x80", "byte 0 is 0xed"),
    ],
    ids=["latin-1", "utf-16", "nul", "surrogate"],
)
def test_what_is_no_utf8_is_refused_naming_the_byte(data: bytes, where: str) -> None:
    """A reader can look at a byte; `decoding failed` leaves them alone."""
    with pytest.raises(FileEncodingError, match=where):
        read_text(data)


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("novel.txt", "novel.txt"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\a  text.txt", "a text.txt"),
        ("evil\u202etxt.exe", "eviltxt.exe"),
        ("line\nbreak\x00.txt", "linebreak.txt"),
        ("..", "untitled.txt"),
        ("", "untitled.txt"),
        (None, "untitled.txt"),
        ("x" * 300 + ".txt", "x" * 251 + ".txt"),
        ("E\u0301tude.txt", "Étude.txt"),
    ],
)
def test_a_file_name_is_cleaned(raw: str | None, clean: str) -> None:
    """Names come from anywhere and are shown to people and file systems."""
    assert clean_file_name(raw) == clean
