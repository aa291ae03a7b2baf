"""Files that were made to hurt, and files that merely are broken, each with what is said of it."""

from collections.abc import Callable
from pathlib import Path

import pikepdf
from PIL import Image

from systems.documents.limits import PdfLimits, Reason
from tests.systems.documents import samples

LIMITS = PdfLimits(memory_bytes=512 * 1024 * 1024)


def encrypted(path: Path) -> None:
    pdf = pikepdf.open(samples.drawn(path.with_suffix(".plain"), samples.table))
    pdf.save(path, encryption=pikepdf.Encryption(owner="owner", user="user"))


def truncated(path: Path) -> None:
    whole = samples.drawn(path.with_suffix(".plain"), samples.table).read_bytes()
    path.write_bytes(whole[: len(whole) // 3])


def without_pages(path: Path) -> None:
    pikepdf.new().save(path)


def two_thousand_pages(path: Path) -> None:
    pdf = pikepdf.new()
    for _ in range(2000):
        pdf.add_blank_page()
    pdf.save(path)


def scanned(path: Path) -> None:
    Image.new("RGB", (200, 300), (240, 240, 240)).save(path, "PDF")


def million_objects(path: Path) -> None:
    """A million drawn lines in 30 kB."""
    samples.with_operators(path, b"0 0 m 1 1 l S\n" * 1_000_000)


def bomb(path: Path) -> None:
    """More spaces than there is memory, in a small file."""
    samples.with_operators(path, b" " * LIMITS.memory_bytes)


def many_letters(path: Path) -> None:
    samples.with_operators(path, b"BT /F1 1 Tf " + b"9 0 Td (abcdefgh) Tj " * 20_000 + b"ET")


BAD: list[tuple[Callable[[Path], object], Reason]] = [
    (lambda path: path.write_bytes(b"plain words"), Reason.NO_PDF),
    (lambda path: path.write_bytes(b""), Reason.NO_PDF),
    (lambda path: path.write_bytes(b"%PDF-1.7\n" + bytes(range(256)) * 99), Reason.DAMAGED),
    (truncated, Reason.DAMAGED),
    (encrypted, Reason.ENCRYPTED),
    (without_pages, Reason.NO_PAGES),
    (two_thousand_pages, Reason.TOO_MANY_PAGES),
    (scanned, Reason.NO_TEXT),
    (million_objects, Reason.TOO_COMPLEX),
    (bomb, Reason.TOO_COMPLEX),
    (many_letters, Reason.TOO_COMPLEX),
]
