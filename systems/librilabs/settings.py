"""What librilabs reads from the environment beside the layer's variables.

The layer's `Settings` (database, Redis, secret key) are read by the layer; `LIBRILABS_DATABASE_URL`
wins over `DATABASE_URL` there. Both take the process' environment, then a `.env` sought upward.
"""

from datetime import timedelta
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from bedplate.environment import read_environment
from bedplate.errors import SettingsError
from systems.translation.engines import EngineName

PREFIX = "LIBRILABS_"


class LibriLabsSettings(BaseSettings):
    """The engine, and what is said about it."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="ignore", frozen=True, env_ignore_empty=True
    )

    engine: EngineName = Field("none", description="What translates: none or apertium.")
    engine_timeout_seconds: float = Field(
        60, gt=0, le=3600, description="How long an engine may take for one chunk of 8 kB."
    )
    engine_log: Path | None = Field(
        None, description="A file to which each call of an engine is appended as a line of JSON."
    )

    @classmethod
    def load(cls) -> Self:
        """Read and check the variables. Raises `SettingsError` naming the first that is wrong."""
        found = read_environment()
        given: dict[str, Any] = {
            name: found[variable]
            for name in cls.model_fields
            if (variable := PREFIX + name.upper()) in found
        }
        try:
            return cls(**given)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            variable = PREFIX + str(first["loc"][0]).upper()
            raise SettingsError(
                f"{variable}: {first['msg']}",
                hint="See systems/librilabs/.env.example.",
                variable=variable,
            ) from None

    @property
    def engine_timeout(self) -> timedelta:
        """The same, as a duration."""
        return timedelta(seconds=self.engine_timeout_seconds)
