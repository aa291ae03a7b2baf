"""The child process that reads or writes one PDF, and nothing else: `python -m … child`.

    child LIMITS read SOURCE           a line of JSON for each page, on standard output
    child LIMITS write SOURCE TARGET   {"page": {"block": "text"}} on standard input

It limits itself before it looks at the file, and knows no settings and no secrets. The last line
is {"done": true} or {"refused": reason, "detail": …}. Started by `sandbox.py`.
"""

import ctypes
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

from systems.pdf_translator.pdf.limits import (
    FIRST_BYTES,
    PdfLimits,
    PdfRefusedError,
    Reason,
    check_beginning,
)

# prctl(2): the signal that this process gets when its parent ends.
PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    """Do what the arguments say, within the limits that they name."""
    limits = PdfLimits.from_json(arguments[0])
    limit_this_process(limits)
    action, source, *target = arguments[1:]
    try:
        _check_file(Path(source), limits)
        if action == "read":
            _read(Path(source), limits)
        else:
            _write(Path(source), Path(target[0]), limits)
    except PdfRefusedError as error:
        _say({"refused": error.reason, "detail": error.detail})
    except (MemoryError, RecursionError):
        _say({"refused": Reason.TOO_COMPLEX, "detail": ""})
    else:
        _say({"done": True})
    return 0


def limit_this_process(limits: PdfLimits) -> None:
    """Bound memory, processor time and output for good; a core dump would hold the file."""
    seconds = int(limits.time.total_seconds())
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_CPU, seconds)
    _limit(resource.RLIMIT_FSIZE, limits.output_bytes)
    if sys.platform == "linux":  # elsewhere the address space says nothing about memory
        _limit(resource.RLIMIT_AS, limits.memory_bytes)
        _end_with_parent()
    os.nice(5)


def _end_with_parent() -> None:
    """A worker that is killed takes its child along, which would else go on to its limits."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _limit(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (allowed, allowed))


def _check_file(source: Path, limits: PdfLimits) -> None:
    size = source.stat().st_size
    if size > limits.size_bytes:
        raise PdfRefusedError(Reason.TOO_LARGE, f"{size} bytes, at most {limits.size_bytes}.")
    with source.open("rb") as file:
        check_beginning(file.read(FIRST_BYTES))


def _read(source: Path, limits: PdfLimits) -> None:
    # Imported under the limits: these libraries are what the limits are for.
    from systems.pdf_translator.pdf.layout import blocks_of
    from systems.pdf_translator.pdf.reading import opened, read_page

    characters = words = 0
    with opened(source, limits) as document:
        pages = len(document)
        for number in range(pages):
            text = read_page(document, number, limits)
            blocks = blocks_of(text)
            characters += sum(len(block.text) for block in blocks)
            if characters > limits.characters:
                raise PdfRefusedError(Reason.TOO_COMPLEX, f"Over {limits.characters} characters.")
            words += sum(not block.is_wordless for block in blocks)
            _say(
                {
                    "page": number,
                    "of": pages,
                    "width": round(text.width, 2),
                    "height": round(text.height, 2),
                    "blocks": [
                        {
                            "text": block.text,
                            "is_wordless": block.is_wordless,
                            "coordinates": block.coordinates(),
                        }
                        for block in blocks
                    ],
                }
            )
    if not words:
        raise PdfRefusedError(Reason.NO_TEXT)


def _write(source: Path, target: Path, limits: PdfLimits) -> None:
    from systems.pdf_translator.pdf.writing import write_translated

    given: dict[str, dict[str, str]] = json.load(sys.stdin)
    translations = {
        int(page): {int(block): text for block, text in texts.items()}
        for page, texts in given.items()
    }
    write_translated(source, target, translations, limits, lambda number: _say({"page": number}))


def _say(what: dict[str, Any]) -> None:
    # No JSON holds a number without bounds, and no database takes it.
    sys.stdout.write(json.dumps(what, ensure_ascii=False, allow_nan=False) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
