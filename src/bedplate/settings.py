"""The environment variables: read once, typed, secrets never shown.

Each field is one variable (its alias); `docs/environment.md` lists them and a test compares the
two. `Settings.load` is the only way in: it reads the environment and a `.env` sought upward,
lets a system's own variable win (`LIBRILABS_DATABASE_URL` over `DATABASE_URL`), and turns what
pydantic says of a bad value into one line that names the variable and not the value.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from bedplate.environment import DEVELOPMENT_MARK, prefixed_for, read_environment
from bedplate.errors import ProductionRefusedError, SettingsError
from bedplate.file_settings import FileSettings
from bedplate.redis_address import RedisAddress
from bedplate.setting_types import PostgresUrl, RedisUrl, Seconds, missing
from bedplate.urls import DatabaseUrl

# What one system may have for itself, by its name as a prefix.
PER_SYSTEM = (
    "DATABASE_URL",
    "DATABASE_DIRECT_URL",
    "MIGRATION_DATABASE_URL",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_BUCKET_NAME",
    "S3_ENDPOINT_URL",
)
# Passwords that specifications and documentation name for development; never for production.
DEVELOPMENT_PASSWORDS = frozenset(
    {
        "librilabs_dev",
        "vibecoding123",
        "sme_dev",
        "pdf_translator_dev",
        "live_agent_dev",
        "app",
        "postgres",
        "password",
        "development",
    }
)


class Settings(FileSettings):
    """Everything that bedplate reads from the environment when it serves, works or migrates."""

    env: Literal["development", "test", "production"] = Field(
        "development", alias="BEDPLATE_ENV", description="Which stand this is."
    )
    database_url: PostgresUrl | None = Field(
        None, alias="DATABASE_URL", description="PostgreSQL, as the schema's owner."
    )
    database_direct_url: PostgresUrl | None = Field(
        None, alias="DATABASE_DIRECT_URL", description="The same user, past a transaction pooler."
    )
    migration_database_url: PostgresUrl | None = Field(
        None, alias="MIGRATION_DATABASE_URL", description="The owner, past a transaction pooler."
    )
    redis_url: RedisUrl | None = Field(
        None, alias="REDIS_URL", description="Redis or Valkey: wake-ups for jobs, cache."
    )
    secret_key: SecretStr | None = Field(
        None, alias="BEDPLATE_SECRET_KEY", min_length=32, description="Signs cookies."
    )
    app_role: str | None = Field(
        None, alias="BEDPLATE_APP_ROLE", description="The serving role; default <database>_app."
    )
    is_behind_pooler: bool = Field(
        False,
        alias="BEDPLATE_TRANSACTION_POOLER",
        description="DATABASE_URL leads to a transaction pooler such as PgBouncer.",
    )
    pool_size: int = Field(
        5, alias="BEDPLATE_POOL_SIZE", ge=1, le=1000, description="Connections kept open."
    )
    max_overflow: int = Field(
        5,
        alias="BEDPLATE_MAX_OVERFLOW",
        ge=0,
        le=1000,
        description="Connections beyond it.",
    )
    pool_timeout: Seconds = Field(
        timedelta(seconds=2),
        alias="BEDPLATE_POOL_TIMEOUT",
        description="Seconds to wait for a free connection.",
    )
    pool_recycle: Seconds = Field(
        timedelta(minutes=30),
        alias="BEDPLATE_POOL_RECYCLE",
        description="Seconds after which a connection is replaced.",
    )
    connect_timeout: Seconds = Field(
        timedelta(seconds=5),
        alias="BEDPLATE_CONNECT_TIMEOUT",
        description="Seconds to wait for a new connection.",
    )
    redis_pool_size: int = Field(
        20, alias="BEDPLATE_REDIS_POOL_SIZE", ge=1, le=10000, description="Redis connections."
    )
    near_cache_bytes: int = Field(
        64 << 20,
        alias="BEDPLATE_NEAR_CACHE_BYTES",
        ge=0,
        description="Cached values kept in each process; 0 keeps none.",
    )
    lease: Seconds = Field(
        timedelta(seconds=15),
        alias="BEDPLATE_LEASE",
        description="Seconds after which a silent worker's job is offered again.",
    )
    worker_concurrency: int = Field(
        2, alias="BEDPLATE_WORKER_CONCURRENCY", ge=1, le=256, description="Jobs at once per worker."
    )
    job_retention: Seconds = Field(
        timedelta(days=7),
        alias="BEDPLATE_JOB_RETENTION",
        description="Seconds that a job that succeeded or was cancelled is kept.",
    )
    dead_job_retention: Seconds = Field(
        timedelta(days=90),
        alias="BEDPLATE_DEAD_JOB_RETENTION",
        description="Seconds that a dead job is kept, to be looked at and put back.",
    )
    allowed_hosts: str | None = Field(
        None,
        alias="BEDPLATE_ALLOWED_HOSTS",
        description="Host names that are answered, by commas; `.shop.example` with all below it.",
    )
    guard: Literal["raise", "log", "off"] | None = Field(
        None,
        alias="BEDPLATE_GUARD",
        description="What a call that goes round an open transaction does: `raise`, `log` or "
        "`off`. Without it `log` in production, else `raise`.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", alias="BEDPLATE_LOG_LEVEL", description="Least severe level that is logged."
    )

    @classmethod
    def load(cls, system: str | None = None, variables: Mapping[str, str] | None = None) -> Self:
        """Read and check the variables. Raises `SettingsError` naming the first that is wrong."""
        found = dict(read_environment() if variables is None else variables)
        if system is not None:
            found.update(prefixed_for(system, found, PER_SYSTEM))
        _note_pooler(found)
        try:
            settings = cls.model_validate(
                {
                    field.alias: found[field.alias]
                    for field in cls.model_fields.values()
                    if field.alias in found
                }
            )
        except ValidationError as error:
            raise _as_settings_error(error) from None
        if settings.env == "production":
            _refuse_development(settings)
        return settings

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic's
        init_settings: PydanticBaseSettingsSource,
        *_others: PydanticBaseSettingsSource,
        **_named: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `load` hands over: it has read the environment and `.env` already."""
        return (init_settings,)

    def database(self) -> DatabaseUrl:
        """Where to serve from. Raises `SettingsError` when DATABASE_URL is missing."""
        return self._required(self.database_url)

    def direct_database(self) -> DatabaseUrl:
        """The same user past any pooler: for LISTEN, leases and locks."""
        return self._required(self.database_direct_url or self.database_url)

    def migration_database(self) -> DatabaseUrl:
        """The schema's owner past any pooler."""
        return self._required(
            self.migration_database_url or self.database_direct_url or self.database_url
        )

    def serving_role(self) -> str:
        """The role that requests run as: it owns nothing and cannot bypass row-level security."""
        return self.app_role or f"{self.database().database}_app"

    def redis(self) -> str:
        """The Redis URL, password included. Raises `SettingsError` when REDIS_URL is missing."""
        if self.redis_url is None:
            raise missing("REDIS_URL")
        return self.redis_url.get_secret_value()

    @property
    def has_broker(self) -> bool:
        """Whether Celery can be told of jobs: Redis is set, and no cluster."""
        return self.redis_url is not None and RedisAddress.parse(self.redis()).kind != "cluster"

    @property
    def guard_mode(self) -> Literal["raise", "log", "off"]:
        """What a call that goes round an open transaction does."""
        return self.guard or ("log" if self.env == "production" else "raise")

    @staticmethod
    def _required(url: SecretStr | None) -> DatabaseUrl:
        if url is None:
            raise missing("DATABASE_URL")
        return DatabaseUrl.parse(url.get_secret_value())


def _note_pooler(found: dict[str, str]) -> None:
    """A URL that says it leads to a pooler (`?pgbouncer=true`) need not be told of twice."""
    with suppress(SettingsError):
        if DatabaseUrl.parse(found.get("DATABASE_URL", "")).is_marked_pooler:
            found.setdefault("BEDPLATE_TRANSACTION_POOLER", "true")


def _as_settings_error(error: ValidationError) -> SettingsError:
    first = error.errors(include_input=False, include_context=True, include_url=False)[0]
    variable = str(first["loc"][0])
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, SettingsError):
        why, hint = cause.message.removeprefix("DATABASE_URL "), cause.hint
    else:
        why, hint = first["msg"].removeprefix("Value error, "), "See docs/environment.md"
    return SettingsError(f"{variable} {why}", hint=hint, variable=variable)


def _refuse_development(settings: Settings) -> None:
    if settings.database_url is None:
        raise ProductionRefusedError(
            "DATABASE_URL is not set, and production embeds no server",
            hint="Set DATABASE_URL to the managed database.",
        )
    if settings.secret_key is None or settings.secret_key.get_secret_value().startswith(
        DEVELOPMENT_MARK
    ):
        raise ProductionRefusedError(
            "BEDPLATE_SECRET_KEY is missing or was made for development",
            hint="Set it to random bytes: python -c 'import secrets; print(secrets.token_hex())'",
        )
    for variable, password in _passwords(settings):
        if password in DEVELOPMENT_PASSWORDS or password.startswith(DEVELOPMENT_MARK):
            raise ProductionRefusedError(
                f"{variable} carries a development password",
                hint="Give the production server a password of its own.",
                variable=variable,
            )


def _passwords(settings: Settings) -> Iterator[tuple[str, str]]:
    for variable, url in (
        ("DATABASE_URL", settings.database_url),
        ("DATABASE_DIRECT_URL", settings.database_direct_url),
        ("MIGRATION_DATABASE_URL", settings.migration_database_url),
        ("REDIS_URL", settings.redis_url),
    ):
        if url is not None:
            yield variable, unquote(urlsplit(url.get_secret_value()).password or "")
    for variable, secret in (
        ("AWS_ACCESS_KEY_ID", settings.aws_access_key_id),
        ("AWS_SECRET_ACCESS_KEY", settings.aws_secret_access_key),
    ):
        if secret is not None:
            yield variable, secret.get_secret_value()
