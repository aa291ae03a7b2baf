"""What sme reads from the environment beside the layer's variables.

The layer's `Settings` (database, Redis, S3) are read by the layer; SME_DATABASE_URL wins over
DATABASE_URL there, and `${DB_PASSWORD}` in either stands for that variable's value. All take the
process' environment, then a `.env` sought upward.
"""

from datetime import timedelta
from typing import ClassVar

from pydantic import Field, SecretStr

from bedplate.system_settings import SystemSettings, settings_config
from systems.sme.embedding import EmbedderName

# What DATABASE_URL names; of the database and not of this system, so it has no prefix.
DB_PASSWORD = "DB_PASSWORD"  # noqa: S105 - a variable's name


class SmeSettings(SystemSettings):
    """How evidence is read, embedded and forgotten."""

    model_config = settings_config("SME_")
    hint: ClassVar[str] = "See systems/sme/.env.example."

    db_password: SecretStr | None = Field(
        None, description="The password of the role sme, for URLs that name it."
    )
    embedder: EmbedderName = Field("minilm", description="The model that embeds passages.")
    language: str = Field(
        "en", max_length=20, description="Of what is added: how its words are searched."
    )
    retention_days: int = Field(
        30, ge=0, le=36500, description="Days that deleted evidence can be restored."
    )

    @classmethod
    def variable(cls, field: str) -> str:
        """As they all are, but for the password."""
        return DB_PASSWORD if field == "db_password" else super().variable(field)

    @property
    def retention(self) -> timedelta:
        """The same, as a duration."""
        return timedelta(days=self.retention_days)
