"""Run by `python program.py FILE`: the Python blocks of one page, in order, in one namespace.

FILE is JSON: a list of [page, line, text]. A block may be a whole program or a part of one with
`await` in it; an error names page and line. After each block a line with the mark is printed.
"""

import ast
import asyncio
import inspect
import json
import linecache
import sys
import types
from pathlib import Path

MARK = "\x1e"


def main(path: str) -> None:
    """Run every block."""
    module = types.ModuleType("__main__")
    # What a block defines must be found by its module's name, as by get_type_hints.
    sys.modules["__main__"] = module
    with asyncio.Runner() as runner:
        for page, line, text in json.loads(Path(path).read_text()):
            _run(page, line, text, module.__dict__, runner)
            sys.stdout.write(f"{MARK}\n")
            sys.stdout.flush()


def _run(
    page: str, line: int, text: str, names: dict[str, object], runner: "asyncio.Runner"
) -> None:
    source = "\n" * (line - 1) + text
    linecache.cache[page] = (len(source), None, source.splitlines(keepends=True), page)
    code = compile(source, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    function = types.FunctionType(code, names)
    if code.co_flags & inspect.CO_COROUTINE:
        runner.run(function())
    else:
        function()


if __name__ == "__main__":
    main(sys.argv[1])
