"""Where variables come from: the process' environment, then a `.env` sought upward.

Light on purpose (no pydantic, no SQLAlchemy): every command line that must answer at once reads
through here; `settings.py` types the same mapping. An empty variable counts as unset.
"""

import os
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

from bedplate.errors import SettingsError

# Keys and passwords that the embedded stack makes begin with this, so that production can tell
# and refuse them.
DEVELOPMENT_MARK = "dev-only-"


def find_upward(name: str, start: Path | None = None) -> Path | None:
    """The nearest file called `name` in `start` (default: the current folder) or above it."""
    folder = (start or Path.cwd()).resolve()
    for candidate in (folder, *folder.parents):
        if (candidate / name).is_file():
            return candidate / name
    return None


def read_environment(start: Path | None = None) -> dict[str, str]:
    """Every variable that is set to something; the process' environment wins over `.env`."""
    file = _read_dotenv(find_upward(".env", start))
    return {**_only_set(file), **_only_set(os.environ)}


def prefixed_for(
    system: str, variables: Mapping[str, str], names: tuple[str, ...]
) -> dict[str, str]:
    """The values of `names` for one system: LIBRILABS_DATABASE_URL wins over DATABASE_URL."""
    prefix = system.upper().replace("-", "_")
    chosen = {}
    for name in names:
        value = variables.get(f"{prefix}_{name}") or variables.get(name)
        if value:
            chosen[name] = value
    return chosen


def _only_set(variables: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if value and value.strip()}


def _read_dotenv(path: Path | None) -> Mapping[str, str | None]:
    if path is None:
        return {}
    # 20 ms that most commands in a fresh clone need not pay.
    from dotenv import dotenv_values
    from dotenv.parser import parse_stream

    try:
        # Not utf-8: Windows' editors put a mark before the first name.
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{path} cannot be read: {error.__class__.__name__}",
            hint="Make it a readable UTF-8 text file of NAME=value lines, or remove it.",
        ) from error
    for statement in parse_stream(StringIO(text)):
        if statement.error:
            # The library warns and goes on without it. Not the line itself: it may hold a password.
            raise SettingsError(
                f"{path}, line {statement.original.line} is no NAME=value",
                hint="Quote a value that has spaces or #; begin a comment with #.",
            )
    return dotenv_values(stream=StringIO(text))
