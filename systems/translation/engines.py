"""What an engine is, the engine `none`, and the choice between engines by configuration.

An engine says before a job is made whether it can translate a pair (`check_pair`), and then
translates one chunk at a time. It keeps nothing between two chunks.
"""

from typing import Literal, Protocol

EngineName = Literal["none", "apertium", "libretranslate", "glossary"]


class EngineError(Exception):
    """An engine did not translate; trying again may help."""


class PairUnavailableError(EngineError):
    """The engine has no such language pair; trying again does not help."""

    def __init__(self, engine: str, source: str, target: str, available: list[str]) -> None:
        known = ", ".join(available) or "none"
        super().__init__(
            f"engine {engine!r} cannot translate {source} to {target}; installed pairs: {known}"
        )
        self.source = source
        self.target = target


class EngineDeniedError(EngineError):
    """The engine's server refuses our key, or wants one; a person must do something."""


class EngineMissingError(EngineError):
    """The engine's program is not installed on this machine."""


class Engine(Protocol):
    """One way to translate."""

    @property
    def name(self) -> EngineName:
        """What the configuration calls it; the translation's state says it too."""

    @property
    def note(self) -> str | None:
        """What a reader must know about its results, if anything."""

    async def check_pair(self, source: str, target: str) -> None:
        """Raises `PairUnavailableError` or `EngineMissingError`."""

    async def translate(self, text: str, source: str, target: str) -> str:
        """The text in `target`. Raises `EngineError`; nothing is kept of a failed call."""


class NoEngine:
    """Leaves every text as it is, and says so: nothing pretends to translate."""

    name: EngineName = "none"
    note: str | None = "No translation engine is configured: the text is unchanged."

    async def check_pair(self, source: str, target: str) -> None:
        """Every pair will do."""

    async def translate(self, text: str, source: str, target: str) -> str:  # noqa: ARG002 - Engine
        """The text itself."""
        return text
