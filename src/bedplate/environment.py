"""Where variables come from: the process' environment, then a `.env` sought upward.

Light on purpose (no pydantic, no SQLAlchemy): every command line that must answer at once reads
through here; `settings.py` types the same mapping. An empty variable counts as unset. A URL of a
server may name another variable, `postgresql://sme:${DB_PASSWORD}@localhost/sme`, whose value it
takes percent-encoded.
"""

import os
import re
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from urllib.parse import quote

from bedplate.errors import SettingsError

# Keys and passwords that the embedded stack makes begin with this, so that production can tell
# and refuse them.
DEVELOPMENT_MARK = "dev-only-"

# The variables whose value may name others, a system's own prefix before them.
URL_NAMES = ("DATABASE_URL", "DATABASE_DIRECT_URL", "REDIS_URL")
REFERENCE = re.compile(r"\$\{(\w+)\}")


def find_upward(name: str, start: Path | None = None) -> Path | None:
    """The nearest file called `name` in `start` (default: the current folder) or above it."""
    folder = (start or Path.cwd()).resolve()
    for candidate in (folder, *folder.parents):
        if (candidate / name).is_file():
            return candidate / name
    return None


def read_environment(start: Path | None = None) -> dict[str, str]:
    """Every variable that is set to something; the process' environment wins over `.env`.

    Raises `SettingsError` for a `.env` that cannot be read, and for a URL that names a variable
    which is not set.
    """
    file = _read_dotenv(find_upward(".env", start))
    found = {**_only_set(file), **_only_set(os.environ)}
    return {
        name: _expanded(name, value, found) if name.endswith(URL_NAMES) else value
        for name, value in found.items()
    }


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


def _expanded(name: str, url: str, variables: Mapping[str, str]) -> str:
    """The URL with the values of the variables that it names, percent-encoded."""

    def value_of(reference: re.Match[str]) -> str:
        named = reference.group(1)
        if named not in variables:
            raise SettingsError(
                f"{name} takes ${{{named}}}, and {named} is not set",
                hint=f"Set {named} in the environment or in .env.",
                variable=named,
            )
        return quote(variables[named], safe="")

    return REFERENCE.sub(value_of, url)


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
    # The library puts values in as they are, and nothing for what is not set: not into URLs.
    written = dotenv_values(stream=StringIO(text), interpolate=False)
    return {
        name: written[name] if name.endswith(URL_NAMES) else value
        for name, value in dotenv_values(stream=StringIO(text)).items()
    }
