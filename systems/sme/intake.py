"""What a request adds: JSON with a text, or a form with a file. Read, checked and hashed.

Nothing is stored here. What is no text and no PDF is refused, with what was found and where.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData, UploadFile

from bedplate.fastapi import Problem
from bedplate.files.source import Source
from systems.documents.limits import FIRST_BYTES, MAGIC, PdfLimits
from systems.sme.cutting import PDF, TEXT
from systems.sme.models import MAX_TITLE
from systems.sme.schemas import EvidenceDescription, FileEvidence, TextEvidence

MAX_TEXT_BYTES = 10 * 1024 * 1024
MAX_PDF_BYTES = PdfLimits().size_bytes
# The largest PDF with its form's fields; a text of JSON, whose characters may be escaped.
MAX_BODY_BYTES = MAX_PDF_BYTES + 256 * 1024
MAX_FIELDS = 60

T = TypeVar("T", bound=BaseModel)


@dataclass(frozen=True)
class Addition:
    """Evidence that is to be stored; `content` is read once more for that."""

    title: str
    description: EvidenceDescription
    content: Source
    content_type: str
    file_name: str
    size_bytes: int
    sha256: bytes


async def read_addition(request: Request) -> AsyncIterator[Addition]:
    """What the body holds, whichever of the two it is; a form's file is open meanwhile."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type == "application/json":
        yield _of_text(_checked(TextEvidence, await request.body()))
    elif content_type == "multipart/form-data":
        async with request.form(max_files=1, max_fields=MAX_FIELDS) as form:
            yield await _of_form(form)
    else:
        raise Problem(
            415,
            "Evidence is added as application/json, or as multipart/form-data with a file.",
            code="media_type_unsupported",
        )


DepAddition = Annotated[Addition, Depends(read_addition, scope="function")]


def of_text(title: str, text: str, description: EvidenceDescription) -> Addition:
    """A text that is evidence."""
    content = text.encode()
    return Addition(
        title=title,
        description=description,
        content=content,
        content_type=TEXT,
        file_name=f"{title}.txt",
        size_bytes=len(content),
        sha256=hashlib.sha256(content).digest(),
    )


def _of_text(found: TextEvidence) -> Addition:
    if not any(map(str.isalnum, found.text)):
        raise _invalid("text", "There are no words in it.")
    return of_text(found.title, found.text, found)


async def _of_form(form: FormData) -> Addition:
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise _invalid("file", "Field required")
    fields: dict[str, Any] = {
        name: form.getlist(name) if name == "tags" else value
        for name, value in form.items()
        if name != "file"
    }
    found = _checked(FileEvidence, fields)
    content_type = await _content_type(file)
    sha256, size_bytes = await asyncio.to_thread(_measure, file)
    await file.seek(0)
    file_name = file.filename or "evidence"
    return Addition(
        title=found.title or _title_of(file_name),
        description=found,
        content=file,
        content_type=content_type,
        file_name=file_name,
        size_bytes=size_bytes,
        sha256=sha256,
    )


async def _content_type(file: UploadFile) -> str:
    """A PDF by its beginning, else a text in UTF-8."""
    beginning = await file.read(FIRST_BYTES)
    await file.seek(0)
    is_pdf = MAGIC in beginning
    limit_bytes = MAX_PDF_BYTES if is_pdf else MAX_TEXT_BYTES
    if file.size is not None and file.size > limit_bytes:
        raise Problem(413, f"The file has more than {limit_bytes} bytes.", code="file_too_large")
    if is_pdf:
        return PDF
    data = await file.read()
    await file.seek(0)
    await asyncio.to_thread(_check_text, data)
    return TEXT


def _check_text(data: bytes) -> None:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _no_text(f"it is no PDF, and byte {error.start} is no UTF-8") from None
    if "\0" in text:
        raise _no_text(f"byte {data.index(0)} is the character NUL")
    if not any(map(str.isalnum, text)):
        raise _invalid("file", "There are no words in it.")


def _measure(file: UploadFile) -> tuple[bytes, int]:
    digest, size = hashlib.sha256(), 0
    file.file.seek(0)
    while piece := file.file.read(1 << 20):
        digest.update(piece)
        size += len(piece)
    return digest.digest(), size


def _title_of(file_name: str) -> str:
    line = " ".join("".join(filter(str.isprintable, file_name)).split())
    return line[:MAX_TITLE] or "evidence"


def _checked(kind: type[T], given: bytes | dict[str, Any]) -> T:
    try:
        if isinstance(given, bytes):
            return kind.model_validate_json(given)
        return kind.model_validate(given)
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_context=False)) from None


def _no_text(why: str) -> Problem:
    return Problem(415, f"The file is neither a PDF nor a text: {why}.", code="file_encoding")


def _invalid(field: str, why: str) -> RequestValidationError:
    return RequestValidationError([{"type": "value_error", "loc": ("body", field), "msg": why}])
