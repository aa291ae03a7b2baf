"""The child process that writes one PDF, and nothing else: `python -m … child`.

    child LIMITS SOURCE TARGET   {"page": {"block": "text"}} on standard input

A line of JSON for each page that is written. Started by `sandbox.py`, bounded and answered as
`systems/documents/child.py` does.
"""

import json
import sys
from pathlib import Path

from systems.documents.child import run, say
from systems.documents.limits import PdfLimits


def write(limits: PdfLimits, source: Path, target: Path) -> None:
    """Say each page's number when it is written."""
    # Imported under the limits: these libraries are what the limits are for.
    from systems.pdf_translator.pdf.writing import write_translated

    given: dict[str, dict[str, str]] = json.load(sys.stdin)
    translations = {
        int(page): {int(block): text for block, text in texts.items()}
        for page, texts in given.items()
    }
    write_translated(source, target, translations, limits, lambda number: say({"page": number}))


if __name__ == "__main__":
    sys.exit(run(write, sys.argv[1:]))
