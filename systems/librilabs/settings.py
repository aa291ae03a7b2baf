"""What librilabs reads from the environment beside the layer's variables.

The layer's `Settings` (database, Redis, secret key) are read by the layer; `LIBRILABS_DATABASE_URL`
wins over `DATABASE_URL` there. Both take the process' environment, then a `.env` sought upward.
"""

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from bedplate.system_settings import settings_config
from systems.translation.settings import EngineSettings


class LibriLabsSettings(EngineSettings):
    """The engine, and what is said about it."""

    model_config = settings_config("LIBRILABS_")
    hint: ClassVar[str] = "See systems/librilabs/.env.example."

    engine: Literal["none", "apertium", "libretranslate"] = Field(
        "none", description="What translates: none, apertium or libretranslate."
    )
    engine_log: Path | None = Field(
        None, description="A file to which each call of an engine is appended as a line of JSON."
    )
