"""The page of environment variables is held against the code."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

from bedplate.settings import Settings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "environment.md").read_text()
ROW = re.compile(r"^\| `([A-Z0-9_]+)` \| (?:`([^`]*)`)? ?\| (.+) \|$", re.MULTILINE)


def documented(title: str) -> dict[str, tuple[str, str]]:
    """Variable to its default and meaning, from the table under a title."""
    section = PAGE.split(f"## {title}\n")[1].split("\n## ")[0]
    return {name: (default, meaning) for name, default, meaning in ROW.findall(section)}


def as_written(default: Any) -> str:
    if default is None:
        return ""
    if isinstance(default, timedelta):
        return f"{default.total_seconds():.9g}"
    return str(default).lower() if isinstance(default, bool) else str(default)


def test_every_setting_is_documented_with_its_default_and_meaning() -> None:
    """A variable that is missing on the page does not exist for its users."""
    fields = Settings.model_fields.values()
    assert documented("The layer") == {
        field.alias: (as_written(field.default), field.description) for field in fields
    }


def test_every_other_documented_variable_is_read_somewhere() -> None:
    """A page that names variables which nothing reads misleads."""
    sources = [*(ROOT / "src").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
    code = "\n".join(path.read_text() for path in sources if path != Path(__file__))
    others = documented("The commands and the embedded servers") | documented("The tests")
    assert len(others) >= 10
    assert [name for name in others if f'"{name}"' not in code] == []


def test_every_variable_of_ours_that_is_read_is_documented() -> None:
    """The other direction: no hidden switch."""
    hidden = {"BEDPLATE_TEST_STATE_DIR", "BEDPLATE_FAILPOINTS", "BEDPLATE_LIFELINE"}
    code = "\n".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    read = set(re.findall(r'"(BEDPLATE_[A-Z0-9_]+)"', code))
    assert read - hidden == read & {row[0] for row in ROW.findall(PAGE)}
