"""Run by `crashes.py` as `python -m bedplate.testing.crash_child`: dies where it is told to.

It imports the user's function once, and forks for each run of it: a fork takes milliseconds, an
import of everything a second. It has no thread, no loop and no connection when it forks. Requests
and answers are lines of JSON on its standard input and output; it ends with its input.
"""

import asyncio
import importlib
import importlib.util
import json
import os
import sys
import traceback
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import IO, Any

from bedplate.failpoints import VARIABLE
from bedplate.layer import DataLayer
from bedplate.settings import Settings

Scenario = Callable[[DataLayer], Awaitable[object]]


def main() -> None:
    """Answer every request: one to find the function, then one for each run."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    # What the function prints is no answer.
    os.dup2(2, 1)
    found = json.loads(sys.stdin.readline())
    scenario = _find(found)
    _say(answers, {"is_ready": True})
    for line in sys.stdin:
        request = json.loads(line)
        _say(answers, {"status": _run_in_child(scenario, found, request)})


def _find(found: Mapping[str, Any]) -> Scenario:
    sys.path[:] = found["path"]
    os.environ.update(found["variables"])
    module = _import(found["module"], Path(found["file"]))
    return getattr(module, found["function"])  # type: ignore[no-any-return]  # checked before


def _import(name: str, file: Path) -> object:
    try:
        module = importlib.import_module(name)
    except ImportError:
        module = None
    if module is not None and Path(str(module.__file__)).resolve() == file.resolve():
        return module
    # pytest gives a test file a name of its own where its folder is no package.
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _run_in_child(scenario: Scenario, found: Mapping[str, Any], request: Mapping[str, str]) -> int:
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        os.environ[VARIABLE] = request["failpoints"]
        asyncio.run(_run(scenario, found["name"], found["variables"]))
        status = 0
    except BaseException:  # noqa: BLE001 - whatever it is, the parent raises it
        Path(request["error"]).write_text(traceback.format_exc(), encoding="utf-8")
    finally:
        sys.stderr.flush()
        os._exit(status)


async def _run(scenario: Scenario, name: str, variables: Mapping[str, str]) -> None:
    async with DataLayer(Settings.load(variables=variables), name=name) as layer:
        await scenario(layer)


def _say(answers: IO[str], answer: Mapping[str, object]) -> None:
    answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
