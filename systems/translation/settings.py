"""Which engine translates, and how it is reached: the variables that the systems have in common.

Each system has them under a prefix of its own, and says which engine is its default.
"""

from datetime import timedelta
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from bedplate.setting_types import LOOPBACK
from bedplate.system_settings import SystemSettings
from systems.translation.choice import create_engine, usual_engine
from systems.translation.engines import Engine, EngineName
from systems.translation.libretranslate import REQUEST_CHARACTERS, LibreTranslateServer


class EngineSettings(SystemSettings):
    """The engine of one system. To be subclassed with a prefix."""

    engine: EngineName | None = Field(
        None, description="What translates: apertium, libretranslate or glossary."
    )
    engine_timeout_seconds: float = Field(
        60, gt=0, le=3600, description="How long an engine may take for one chunk of 8 kB."
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
            raise ValueError(
                f"{self.variable('engine')}=libretranslate needs "
                f"{self.variable('libretranslate_url')}"
            )
        if self.libretranslate_api_key and not _is_private(self.libretranslate_url or "https://a"):
            raise ValueError(
                f"{self.variable('libretranslate_api_key')} would go in the clear: use https://, "
                "or a server on this machine or in this network of containers"
            )
        return self

    @property
    def engine_timeout(self) -> timedelta:
        """The same, as a duration."""
        return timedelta(seconds=self.engine_timeout_seconds)

    @property
    def libretranslate(self) -> LibreTranslateServer | None:
        """The server, where one is named."""
        if self.libretranslate_url is None:
            return None
        return LibreTranslateServer(
            self.libretranslate_url, self.libretranslate_api_key, self.libretranslate_characters
        )

    def create_engine(self) -> Engine:
        """The engine that is named; where none is, the one that this machine has."""
        name = self.engine or usual_engine()
        return create_engine(name, self.engine_timeout, self.libretranslate)


def _is_private(url: str) -> bool:
    """Whether a secret may be sent there: encrypted, or to a name that only this network has."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return parts.scheme == "https" or host in LOOPBACK or not set(host) & set(".:")
