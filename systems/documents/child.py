"""The child process that reads one PDF, and nothing else: `python -m … child`.

    child LIMITS SOURCE   a line of JSON for each page, on standard output

It limits itself before it looks at the file, and knows no settings and no secrets. The last line
is {"done": true} or {"refused": reason, "detail": …}. Started by `sandbox.py`. `run` is any such
child: pdf_translator's writes.
"""

import ctypes
import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from systems.documents.limits import (
    FIRST_BYTES,
    PdfLimits,
    PdfRefusedError,
    Reason,
    check_beginning,
)

# prctl(2): the signal that this process gets when its parent ends.
PR_SET_PDEATHSIG = 1


def run(act: Callable[..., None], arguments: list[str]) -> int:
    """Call `act(limits, source, *files)` within the limits that the arguments begin with."""
    limits = PdfLimits.from_json(arguments[0])
    limit_this_process(limits)
    source, *others = map(Path, arguments[1:])
    try:
        _check_file(source, limits)
        act(limits, source, *others)
    except PdfRefusedError as error:
        say({"refused": error.reason, "detail": error.detail})
    except (MemoryError, RecursionError):
        say({"refused": Reason.TOO_COMPLEX, "detail": ""})
    else:
        say({"done": True})
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


def read(limits: PdfLimits, source: Path) -> None:
    """Say each page as it is read."""
    # Imported under the limits: these libraries are what the limits are for.
    from systems.documents.layout import blocks_of
    from systems.documents.reading import opened, read_page

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
            say(
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


def say(what: dict[str, Any]) -> None:
    """A line for who started this."""
    # No JSON holds a number without bounds, and no database takes it.
    sys.stdout.write(json.dumps(what, ensure_ascii=False, allow_nan=False) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(run(read, sys.argv[1:]))
