"""An engine that a test watches."""

from collections.abc import Awaitable, Callable

from systems.translation.engines import EngineName


class Capitals:
    """An engine that shows its work, and does something before each call."""

    name: EngineName = "none"
    note: str | None = "in capitals"

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.before: Callable[[int], Awaitable[None]] | None = None

    async def check_pair(self, source: str, target: str) -> None:
        """Every pair will do."""

    async def translate(self, text: str, source: str, target: str) -> str:
        """The text in capitals."""
        if self.before is not None:
            await self.before(len(self.asked) + 1)
        self.asked.append(text)
        return text.upper()
