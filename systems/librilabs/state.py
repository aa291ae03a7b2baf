"""What a translation's job says of itself: the form of `translations.translation_state`."""

import uuid
from typing import Any, Self

from pydantic import BaseModel, ConfigDict


class TranslationState(BaseModel):
    """Which engine works, how far it has come, which job it is, and what went wrong last."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    job_id: uuid.UUID | None = None
    engine: str | None = None
    note: str | None = None
    chunks_done: int = 0
    characters_done: int = 0
    characters_total: int = 0
    error: str | None = None

    @classmethod
    def of(cls, stored: dict[str, Any] | None) -> Self:
        """From the column; a translation without a state has an empty one."""
        return cls.model_validate(stored or {})

    def with_(self, **changes: Any) -> dict[str, Any]:
        """The same with changes, as the column keeps it."""
        return self.model_copy(update=changes).model_dump(mode="json")

    @property
    def progress_percentage(self) -> int:
        """Whole percents of the source; 100 only when nothing is left to translate."""
        if self.characters_total == 0:
            return 0
        return self.characters_done * 100 // self.characters_total
