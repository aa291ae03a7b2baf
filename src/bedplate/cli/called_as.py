"""How a reader calls a command again: what is printed to be copied must work where it is."""

import os
import shlex
import shutil
import sys
from pathlib import Path


def called_as() -> str:
    """`bedplate` where that is on PATH; else the path by which this process was called."""
    called = Path(sys.argv[0])
    if called.name != "bedplate" or shutil.which("bedplate"):
        return "bedplate"
    return shlex.quote(os.path.relpath(called))
