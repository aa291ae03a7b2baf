"""A system's `.env.example`: names every variable, explains each, sets nothing that bites."""

from bedplate.settings import Settings
from tests.texts import ROOT


def example_lines(system: str) -> list[str]:
    """The file's lines."""
    return (ROOT / "systems" / system / ".env.example").read_text().splitlines()


def assert_every_variable(system: str, own: frozenset[str]) -> None:
    """The layer's and the system's own, and whatever is set has a comment above."""
    lines = example_lines(system)
    named = {line.lstrip("# ").split("=")[0] for line in lines if "=" in line}
    layers = {str(field.alias) for field in Settings.model_fields.values()}
    assert layers | own | {f"{system.upper()}_DATABASE_URL"} <= named
    for number, line in enumerate(lines):
        if line and not line.startswith("#"):
            above = lines[number - 1]
            assert above.startswith("# ") or "=" in above, f"{line} has no comment"


def assert_embedded(system: str) -> tuple[Settings, dict[str, str]]:
    """Copied unchanged it names no server: the settings that it gives, and what it sets."""
    lines = example_lines(system)
    variables = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    settings = Settings.load(system, variables)
    assert settings.database_url is None
    assert settings.redis_url is None
    assert not settings.has_files
    return settings, variables
