"""What a file may cost, and what is said of one that is refused.

A file that a stranger made is read by a child process under these limits: whatever it does, it
ends in one of the refusals below, in bounded time and memory, and the worker lives.
"""

import json
from dataclasses import asdict, dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Self

# Every PDF begins so within its first kilobyte; ISO 32000-1, annex H.
MAGIC = b"%PDF-"
FIRST_BYTES = 1024


@dataclass(frozen=True, slots=True)
class PdfLimits:
    """What one file may be, and what reading or writing it may take."""

    size_bytes: int = 50 * 1024 * 1024
    pages: int = 1000
    objects_a_page: int = 200_000
    characters_a_page: int = 100_000
    characters: int = 5_000_000
    time: timedelta = timedelta(minutes=5)
    memory_bytes: int = 1536 * 1024 * 1024
    output_bytes: int = 256 * 1024 * 1024

    def as_json(self) -> str:
        """For the command line of the child."""
        return json.dumps({**asdict(self), "time": self.time.total_seconds()})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `as_json` gave."""
        values = json.loads(text)
        return cls(**{**values, "time": timedelta(seconds=values["time"])})


class Reason(StrEnum):
    """Why a file is refused. The value is what a program sees, `SAYS` what a person reads."""

    NO_PDF = "no_pdf"
    DAMAGED = "damaged"
    ENCRYPTED = "encrypted"
    NO_PAGES = "no_pages"
    NO_TEXT = "no_text"
    TOO_LARGE = "too_large"
    TOO_MANY_PAGES = "too_many_pages"
    TOO_COMPLEX = "too_complex"
    TOO_SLOW = "too_slow"
    NO_FONT = "no_font"


SAYS = {
    Reason.NO_PDF: "The file is no PDF.",
    Reason.DAMAGED: "The PDF is damaged and cannot be read.",
    Reason.ENCRYPTED: "The PDF is protected by a password. Save it without one first.",
    Reason.NO_PAGES: "The PDF has no pages.",
    Reason.NO_TEXT: "The PDF has no text; its pages are pictures. Have the text recognized first.",
    Reason.TOO_LARGE: "The PDF is too large.",
    Reason.TOO_MANY_PAGES: "The PDF has too many pages.",
    Reason.TOO_COMPLEX: "The PDF holds more than can be read safely.",
    Reason.TOO_SLOW: "Reading the PDF took too long.",
    Reason.NO_FONT: "There is no font for the characters of the translation.",
}


class PdfRefusedError(ValueError):
    """The file cannot be read or written; trying again cannot help."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{SAYS[reason]} {detail}".rstrip())
        self.reason = reason
        self.detail = detail


def check_beginning(first_bytes: bytes) -> None:
    """Raise `PdfRefusedError` for a file that is no PDF, by its first `FIRST_BYTES`."""
    if MAGIC not in first_bytes:
        raise PdfRefusedError(Reason.NO_PDF)
