"""What is done with an uploaded file before anything of it is stored.

The door stops reading a body that is longer than `MAX_BODY_BYTES`; here the file itself is
measured, and taken only if it is UTF-8. A refusal says what was found, and where.
"""

import re
import unicodedata
from dataclasses import dataclass
from pathlib import PurePosixPath

from starlette.datastructures import UploadFile

from bedplate.errors import BedplateError
from systems.librilabs.models.document import MAX_FILE_BYTES

MAX_FILE_NAME = 255
# Room for boundaries, part headers and the language field beside the largest file.
MAX_BODY_BYTES = MAX_FILE_BYTES + 64 * 1024
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


class UploadError(BedplateError, ValueError):
    """A file that is not taken. `status` is the HTTP status that says so."""

    code = "upload_refused"
    status = 422


class FileTooLargeError(UploadError):
    """More than a file may have."""

    code = "file_too_large"
    status = 413


class FileEncodingError(UploadError):
    """Not UTF-8, or with the character NUL, which no text has and PostgreSQL refuses."""

    code = "file_encoding"
    status = 415


@dataclass(frozen=True)
class Upload:
    """A text as it came: `size_bytes` counts the file, byte order mark included."""

    file_name: str
    size_bytes: int
    text: str


async def read_upload(file: UploadFile) -> Upload:
    """The text of an uploaded file. Raises `UploadError`."""
    data = await file.read()
    if len(data) > MAX_FILE_BYTES:
        raise _too_large()
    return Upload(clean_file_name(file.filename), len(data), read_text(data))


def read_text(data: bytes) -> str:
    """UTF-8 text, without a byte order mark. Raises `FileEncodingError` naming the byte."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FileEncodingError(
            f"the file is not UTF-8: byte {error.start} is 0x{data[error.start]:02x}",
            hint="Convert it, for example: iconv -f ISO-8859-1 -t UTF-8 FILE",
            byte=error.start,
        ) from None
    nul = data.find(0)
    if nul >= 0:
        raise FileEncodingError(
            f"the file is no text: byte {nul} is the character NUL",
            hint="Upload plain text in UTF-8.",
            byte=nul,
        )
    return text.removeprefix("\ufeff")


def clean_file_name(raw: str | None) -> str:
    """The name alone, without folders and unseen characters, at most 255 characters long."""
    name = unicodedata.normalize("NFC", (raw or "").encode(errors="ignore").decode())
    name = re.split(r"[/\\]", name)[-1]
    name = " ".join(_UNSEEN.sub("", name).split())
    if name.strip(". ") == "":
        return "untitled.txt"
    suffix = PurePosixPath(name).suffix[:20]
    return name if len(name) <= MAX_FILE_NAME else name[: MAX_FILE_NAME - len(suffix)] + suffix


def _too_large() -> FileTooLargeError:
    return FileTooLargeError(
        f"the file is larger than {MAX_FILE_BYTES} bytes",
        hint="Upload it in parts.",
        most_bytes=MAX_FILE_BYTES,
    )
