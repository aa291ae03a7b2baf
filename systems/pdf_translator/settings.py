"""What pdf_translator reads from the environment beside the layer's variables.

The layer's `Settings` (database, Redis, S3) are read by the layer; PDF_TRANSLATOR_DATABASE_URL wins
over DATABASE_URL there. Both take the process' environment, then a `.env` sought upward.
"""

from typing import ClassVar, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from bedplate.accounts.openid import GOOGLE, Provider
from bedplate.errors import SettingsError
from bedplate.setting_types import LOOPBACK
from bedplate.system_settings import SystemSettings, settings_config
from systems.translation.settings import EngineSettings

EXAMPLE = "See systems/pdf_translator/.env.example."
CALLBACK = "http://localhost:8000/pdf_translator/auth/google/callback"


class PdfTranslatorSettings(EngineSettings):
    """The engine. Unset, it is Apertium where that is installed, else the user's glossary alone."""

    model_config = settings_config("PDF_TRANSLATOR_")
    hint: ClassVar[str] = EXAMPLE


class GoogleSettings(SystemSettings):
    """The sign-in: as what this application is registered with Google."""

    model_config = settings_config("GOOGLE_")
    hint: ClassVar[str] = EXAMPLE

    client_id: str | None = Field(None, description="The client's id; unset, nobody can sign in.")
    client_secret: SecretStr | None = Field(None, description="The client's secret.")
    redirect_uri: str = Field(
        CALLBACK, description="Where Google sends the browser back to, exactly as registered there."
    )
    issuer: str = Field(
        GOOGLE, description="Who signs people in; in production Google and nobody else."
    )

    @field_validator("redirect_uri", "issuer")
    @classmethod
    def _check_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must begin with https:// and name a host")
        if parts.scheme == "http" and parts.hostname not in LOOPBACK:
            raise ValueError("must begin with https://; http:// is for this machine alone")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("must carry no user, query or fragment")
        return value

    @model_validator(mode="after")
    def _check_both(self) -> Self:
        if (self.client_id is None) != (self.client_secret is None):
            raise ValueError("GOOGLE_CLIENT_ID and GOOGLE_CLIENT_SECRET belong together: set both")
        return self

    @property
    def provider(self) -> Provider | None:
        """Google, as this application is known there; None when it is not."""
        if self.client_id is None or self.client_secret is None:
            return None
        secret = self.client_secret.get_secret_value()
        return Provider(self.issuer, self.client_id, secret, self.redirect_uri)

    def check_production(self) -> None:
        """Raise `SettingsError` for what is fit for development alone."""
        if self.issuer != GOOGLE:
            raise SettingsError(
                f"GOOGLE_ISSUER is {self.issuer}, and in production Google alone signs people in",
                hint=f"Remove GOOGLE_ISSUER, or set it to {GOOGLE}.",
                variable="GOOGLE_ISSUER",
            )
        if self.client_id is not None and not self.redirect_uri.startswith("https://"):
            raise SettingsError(
                f"GOOGLE_REDIRECT_URI is {self.redirect_uri}, and production is not this machine",
                hint="Name the public address: https://…/pdf_translator/auth/google/callback",
                variable="GOOGLE_REDIRECT_URI",
            )
