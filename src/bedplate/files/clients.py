"""The clients of S3: boto3's for control and what blocks, obstore's for the asynchronous path.

The only file that makes them. Both are imported when the first is made: boto3 takes half a second
that a process without files, and one that only streams, need not pay. Making a client asks nobody.
"""

import os
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from bedplate.files.bucket import Bucket
from bedplate.guard import S3_HINT, check

if TYPE_CHECKING:
    from obstore.store import S3Store

CONNECT_TIMEOUT = timedelta(seconds=5)
# After these an error is answered: a request that waits must learn within seconds that S3 is down.
MAX_RETRIES = 3
RETRY_TIMEOUT = timedelta(seconds=10)
FIRST_BACKOFF = timedelta(milliseconds=100)
LONGEST_BACKOFF = timedelta(seconds=2)
# One request with its body. The timeout for silence is the bucket's own, and much shorter.
REQUEST_TIMEOUT = timedelta(minutes=15)


def client_of(bucket: Bucket) -> Any:
    """boto3's client, one per bucket and process; any thread may use it. The first takes 0.5 s."""
    # By process: a forked child would share its parent's connections.
    return _make_client(bucket, os.getpid())


def make_store(bucket: Bucket) -> "S3Store":
    """obstore's client: each PUT is signed over the SHA-256 of its bytes, which S3 checks."""
    from obstore.store import S3Store

    return S3Store(
        bucket.name,
        region=bucket.region,
        virtual_hosted_style_request=not bucket.is_path_style,
        checksum_algorithm="SHA256",
        client_options={
            "allow_http": bucket.is_loopback,
            "connect_timeout": CONNECT_TIMEOUT,
            "read_timeout": bucket.timeout,
            "timeout": REQUEST_TIMEOUT,
            "pool_max_idle_per_host": str(bucket.pool_size),
        },
        retry_config={
            "max_retries": MAX_RETRIES,
            "retry_timeout": RETRY_TIMEOUT,
            "backoff": {
                "init_backoff": FIRST_BACKOFF,
                "max_backoff": LONGEST_BACKOFF,
                "base": 2,
            },
        },
        **_only_given(bucket),
    )


@lru_cache(maxsize=8)
def _make_client(bucket: Bucket, _process: int) -> Any:
    from boto3.session import Session
    from botocore.config import Config

    credentials = bucket.credentials
    config = Config(
        # Without it boto3 presigns V2 here, which honours neither length nor type.
        signature_version="s3v4",
        s3={"addressing_style": "path" if bucket.is_path_style else "virtual"},
        connect_timeout=CONNECT_TIMEOUT.total_seconds(),
        read_timeout=bucket.timeout.total_seconds(),
        retries={"mode": "standard", "total_max_attempts": MAX_RETRIES + 1},
        max_pool_connections=bucket.pool_size,
        # Ours are given by name; the default would add a CRC to what a browser must repeat.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_supported",
    )
    client = Session().client(
        "s3",
        region_name=bucket.region,
        endpoint_url=bucket.endpoint,
        aws_access_key_id=credentials and credentials.key_id,
        aws_secret_access_key=credentials and credentials.secret,
        aws_session_token=credentials and credentials.token,
        config=config,
    )
    client.meta.events.register("before-call.s3", _ask_guard)
    return client


def _ask_guard(model: Any, **_: object) -> None:
    if model.http.get("method") not in ("GET", "HEAD"):
        check(f"S3 {model.name}", S3_HINT)


def _only_given(bucket: Bucket) -> dict[str, Any]:
    given: dict[str, Any] = {}
    if bucket.endpoint is not None:
        given["endpoint"] = _endpoint_with_bucket(bucket)
    if bucket.credentials is not None:
        given["access_key_id"] = bucket.credentials.key_id
        given["secret_access_key"] = bucket.credentials.secret
        if bucket.credentials.token is not None:
            given["session_token"] = bucket.credentials.token
    return given


def _endpoint_with_bucket(bucket: Bucket) -> str:
    """obstore wants the bucket in the host already where it is not in the path."""
    assert bucket.endpoint is not None  # noqa: S101 - told to the type checker
    if bucket.is_path_style:
        return bucket.endpoint
    scheme, _, host = bucket.endpoint.partition("://")
    return f"{scheme}://{bucket.name}.{host}"
