"""Keys are ours, names are the user's, and whatever is in a name stays a name (attack 12)."""

from datetime import UTC, datetime

import pytest

from bedplate.files.keys import (
    ANY_TYPE,
    LONGEST_NAME,
    attachment,
    is_key,
    new_key,
    prefix_for,
    safe_name,
    safe_type,
)

NOW = datetime(2026, 11, 22, tzinfo=UTC)
HOSTILE = [
    "../../etc/passwd",
    "..\\..\\boot.ini",
    "a\0b.txt",
    "a\r\nSet-Cookie: x=y",
    'a"; filename="b.exe',
    "\u202egpj.exe",
    "x" * 4096 + ".pdf",
    "é" * 4096,
    "",
    " . ",
    "\ud800",
    "名前.pdf",
    "%2e%2e%2f",
    "😀" * 300,
]


def test_a_key_holds_the_system_and_the_month_and_is_never_the_same() -> None:
    """Nothing that a user typed is in it."""
    keys = {new_key("librilabs", NOW) for _ in range(1000)}
    assert len(keys) == 1000
    assert all(key.startswith("librilabs/2026/11/") and is_key(key) for key in keys)


def test_a_file_with_an_end_is_below_its_own_prefix() -> None:
    """A lifecycle rule covers that prefix, and no other file may be in it."""
    key = new_key("librilabs", NOW, is_expiring=True)
    assert key.startswith("expiring/librilabs/2026/11/")
    assert is_key(key)


@pytest.mark.parametrize(
    "foreign",
    ["librilabs/a.txt", "bedplate-owner", "librilabs/2026/11/", "../2026/11/" + "a" * 32, "a" * 32],
)
def test_what_has_another_shape_is_no_key_of_ours(foreign: str) -> None:
    """The sweeper judges nothing else in a bucket."""
    assert not is_key(foreign)


def test_a_systems_name_becomes_a_prefix() -> None:
    """Of letters that need no escaping in a URL or a policy."""
    assert prefix_for("PDF Translator/2") == "pdf-translator-2"


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_one_short_line_without_a_path(name: str) -> None:
    """It is shown to people and put in headers."""
    found = safe_name(name)
    assert 1 <= len(found) <= LONGEST_NAME
    assert not set(found) & set('/\\\0\r\n"\u202e')
    assert found.isprintable() or " " in found
    found.encode()


def test_a_long_name_keeps_its_suffix() -> None:
    """Programs go by it."""
    assert safe_name("x" * 4096 + ".pdf").endswith("x.pdf")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_header_holds_no_second_header(name: str) -> None:
    """RFC 6266: a plain name for the old, the true one percent-encoded."""
    header = attachment(safe_name(name))
    assert header.isascii()
    assert header.isprintable()
    assert header.count('"') == 2
    assert header.count(";") == 2


def test_a_name_beyond_ascii_is_encoded() -> None:
    """As RFC 8187 says."""
    assert (
        attachment("Über.pdf")
        == "attachment; filename=\"Uber.pdf\"; filename*=UTF-8''%C3%9Cber.pdf"
    )


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("text/plain; charset=utf-8", "text/plain"),
        ("IMAGE/PNG", "image/png"),
        ("text", ANY_TYPE),
        ("text/plain\r\nx: y", ANY_TYPE),
        (None, ANY_TYPE),
        ("", ANY_TYPE),
    ],
)
def test_a_type_is_a_type_or_plain_bytes(given: str | None, found: str) -> None:
    """It comes from a browser, and goes into a header."""
    assert safe_type(given) == found
