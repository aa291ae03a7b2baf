"""What librilabs reads from the environment beside the layer's variables.

The layer's `Settings` (database, Redis, secret key) are read by the layer; `LIBRILABS_DATABASE_URL`
wins over `DATABASE_URL` there. Both take the process' environment, then a `.env` sought upward.
"""

from datetime import timedelta
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from bedplate.environment import read_environment
from bedplate.errors import SettingsError
from bedplate.setting_types import LOOPBACK
from systems.translation.engines import EngineName
from systems.translation.libretranslate import REQUEST_CHARACTERS, LibreTranslateServer

PREFIX = "LIBRILABS_"


class LibriLabsSettings(BaseSettings):
    """The engine, and what is said about it."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        extra="ignore",
        frozen=True,
        env_ignore_empty=True,
        hide_input_in_errors=True,
    )

    engine: EngineName = Field(
        "none", description="What translates: none, apertium or libretranslate."
    )
    engine_timeout_seconds: float = Field(
        60, gt=0, le=3600, description="How long an engine may take for one chunk of 8 kB."
    )
    engine_log: Path | None = Field(
        None, description="A file to which each call of an engine is appended as a line of JSON."
    )

    libretranslate_url: str | None = Field(
        None, description="The server of the engine libretranslate: scheme, host, port, path."
    )
    libretranslate_api_key: SecretStr | None = Field(
        None, description="Its API key, where it wants one."
    )
    libretranslate_characters: int = Field(
        REQUEST_CHARACTERS, ge=100, le=1_000_000, description="What one request to it may carry."
    )

    @field_validator("libretranslate_url")
    @classmethod
    def _check_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must begin with https:// or http:// and name a host")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("must carry no user, query or fragment; the key has a variable")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _check_server(self) -> Self:
        if self.engine == "libretranslate" and self.libretranslate_url is None:
            raise ValueError("LIBRILABS_ENGINE=libretranslate needs LIBRILABS_LIBRETRANSLATE_URL")
        if self.libretranslate_api_key and not _is_private(self.libretranslate_url or "https://a"):
            raise ValueError(
                "LIBRILABS_LIBRETRANSLATE_API_KEY would go in the clear: use https://, or a server "
                "on this machine or in this network of containers"
            )
        return self

    @property
    def libretranslate(self) -> LibreTranslateServer | None:
        """The server, where one is named."""
        if self.libretranslate_url is None:
            return None
        return LibreTranslateServer(
            self.libretranslate_url, self.libretranslate_api_key, self.libretranslate_characters
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
            # A rule about several variables names them itself.
            variable = PREFIX + str(first["loc"][0]).upper() if first["loc"] else PREFIX + "ENGINE"
            why = first["msg"].removeprefix("Value error, ")
            raise SettingsError(
                f"{variable}: {why}" if first["loc"] else why,
                hint="See systems/librilabs/.env.example.",
                variable=variable,
            ) from None

    @property
    def engine_timeout(self) -> timedelta:
        """The same, as a duration."""
        return timedelta(seconds=self.engine_timeout_seconds)


def _is_private(url: str) -> bool:
    """Whether a secret may be sent there: encrypted, or to a name that only this network has."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return parts.scheme == "https" or host in LOOPBACK or not set(host) & set(".:")
