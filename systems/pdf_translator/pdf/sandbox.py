"""Starts the child process that writes a PDF. Called by the tasks."""

import json
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path

from systems.documents.limits import PdfLimits
from systems.documents.sandbox import running

WRITER = "systems.pdf_translator.pdf.child"


async def write_pages(
    source: Path,
    target: Path,
    translations: Mapping[int, Mapping[int, str]],
    limits: PdfLimits | None = None,
) -> AsyncGenerator[int]:
    """Write the PDF with these texts, by page and block; gives each page's number when done.

    `target` is complete only when this has ended without an exception. Raises `PdfRefusedError`.
    """
    async with running(WRITER, limits or PdfLimits(), source, target) as child:
        await child.tell(json.dumps(translations).encode())
        async for said in child.lines():
            yield said["page"]
