"""The variables of files: which S3, as whom, how long what is kept. A part of `Settings`."""

from datetime import timedelta
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from bedplate.setting_types import S3Endpoint, Seconds, missing


class FileSettings(BaseSettings):
    """What the layer reads from the environment to store files."""

    model_config = SettingsConfigDict(
        extra="ignore", frozen=True, env_ignore_empty=True, hide_input_in_errors=True
    )

    aws_access_key_id: SecretStr | None = Field(
        None,
        alias="AWS_ACCESS_KEY_ID",
        description="S3 credentials; without them those of the machine's role.",
    )
    aws_secret_access_key: SecretStr | None = Field(
        None, alias="AWS_SECRET_ACCESS_KEY", description="The secret that belongs to it."
    )
    aws_session_token: SecretStr | None = Field(
        None, alias="AWS_SESSION_TOKEN", description="The token of temporary credentials."
    )
    aws_region: str = Field("us-east-1", alias="AWS_REGION", description="The bucket's region.")
    aws_bucket_name: str | None = Field(
        None,
        alias="AWS_BUCKET_NAME",
        pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$",
        description="The bucket that files are stored in; without it there are no files.",
    )
    s3_endpoint_url: S3Endpoint | None = Field(
        None,
        alias="S3_ENDPOINT_URL",
        description="Another S3 than AWS: SeaweedFS, MinIO. http on loopback or to a container.",
    )
    s3_addressing: Literal["auto", "path", "virtual"] = Field(
        "auto",
        alias="BEDPLATE_S3_ADDRESSING",
        description="Bucket in the path or in the host; auto: in the path with an endpoint.",
    )
    s3_pool_size: int = Field(
        16, alias="BEDPLATE_S3_POOL_SIZE", ge=1, le=1000, description="S3 connections kept open."
    )
    s3_timeout: Seconds = Field(
        timedelta(seconds=30),
        alias="BEDPLATE_S3_TIMEOUT",
        description="Seconds without a byte after which S3 is taken to be down.",
    )
    file_grace: Seconds = Field(
        timedelta(hours=1),
        alias="BEDPLATE_FILE_GRACE",
        description="Seconds that an upload may take before it is swept.",
    )
    file_retention: Seconds = Field(
        timedelta(days=7),
        alias="BEDPLATE_FILE_RETENTION",
        description="Seconds that a deleted file's object is kept, for backups that name it.",
    )
    file_quarantine: Seconds = Field(
        timedelta(days=7),
        alias="BEDPLATE_FILE_QUARANTINE",
        description="Seconds that an object without a row is kept after it was noticed.",
    )

    @property
    def has_files(self) -> bool:
        """Whether a bucket is configured, so that files can be stored."""
        return self.aws_bucket_name is not None

    def bucket_name(self) -> str:
        """The bucket. Raises `SettingsError` when AWS_BUCKET_NAME is missing."""
        if self.aws_bucket_name is None:
            raise missing("AWS_BUCKET_NAME")
        return self.aws_bucket_name
