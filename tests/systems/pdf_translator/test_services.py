"""PostgreSQL, Redis, S3 and Celery as pdf_translator uses them: real servers, real processes."""

import asyncio
import io
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from httpx import AsyncClient
from moto.server import ThreadedMotoServer
from redis.asyncio import ConnectionPool, Redis
from sqlalchemy import text

from bedplate import delete_file, download_file, upload_file
from bedplate.delivery.broker import kombu_url
from bedplate.errors import ObjectNotFoundError
from bedplate.files.bucket import Bucket
from bedplate.files.clients import client_of
from bedplate.layer import DataLayer
from bedplate.migrations.upgrade import downgrade, upgrade
from bedplate.settings import Settings
from bedplate.system import System
from bedplate.testing.clones import ScratchDatabase
from tests.systems.conftest import Catalogue, asker
from tests.systems.pdf_translator.conftest import upload
from tests.systems.schema import tables_of
from tests.texts import ROOT

FOLDER = ROOT / "systems" / "pdf_translator"
# A bound for failure only.
# `bedplate worker`, without its refusal of URLs that an embedded stack has made.
WORK = """
from bedplate.celery import run_worker
from systems.pdf_translator.app import system
raise SystemExit(run_worker([system]))
"""
PATIENCE_SECONDS = 90.0
KEY = "pdf_translator/probe-of-the-tests"


async def test_P7_redis_is_set_and_got_through_a_pool_from_the_settings(
    bedplate_settings: Settings,
) -> None:
    """redis-py's asyncio client, on the real server."""
    settings = bedplate_settings.model_copy(update={"redis_pool_size": 3})
    async with DataLayer(settings, name="pdf_translator") as layer:
        redis = layer.redis.client()
        assert isinstance(redis, Redis)
        pool: Any = redis.connection_pool
        assert isinstance(pool, ConnectionPool)
        assert pool.max_connections == 3
        await redis.set(KEY, "¡Hola!", ex=60)
        assert await redis.get(KEY) == "¡Hola!"
        await redis.delete(KEY)


async def test_P9_a_job_of_the_api_is_run_by_a_worker_process(
    client: AsyncClient,
    committed: ScratchDatabase,
    bedplate_variables: Mapping[str, str],
    bedplate_settings: Settings,
    catalogue: Catalogue,
    sample: bytes,
) -> None:
    """Celery's, whose broker is Redis; the job says which process had it, and health sees it."""
    assert kombu_url(bedplate_settings.redis()).startswith(("redis://", "rediss://"))
    made = (await upload(client, sample)).json()["id"]
    with worker_process({**bedplate_variables, **committed.variables()}):
        shown = await _until_final(client, made)
        await _until_up(client, "worker")
    assert (shown["status"], shown["progress"]) == ("completed", 100)
    ((worker,),) = await catalogue(
        "SELECT worker FROM bedplate.jobs WHERE task = 'pdf_translator.translate_pdf'"
    )
    assert str(os.getpid()) not in worker


async def test_P11_the_local_S3_has_its_bucket(layer: DataLayer) -> None:
    """Made when the embedded server started: nobody has to ask, and this identity may not."""
    bucket = Bucket.from_settings(layer.settings)
    assert bucket.endpoint is not None
    assert client_of(bucket).list_buckets()["Buckets"] == []
    await layer.files.objects.probe(layer.files.system)
    with pytest.raises(ObjectNotFoundError, match="no object"):
        await layer.files.objects.head(KEY)


def test_P11_another_S3_serves_by_its_endpoint_alone(another_s3: dict[str, str]) -> None:
    """MinIO and the like: the same code, four variables, no other change."""
    settings = Settings.load("pdf_translator", another_s3)
    found = io.BytesIO()
    upload_file(io.BytesIO(b"%PDF"), KEY, settings=settings)
    download_file(KEY, found, settings=settings)
    assert found.getvalue() == b"%PDF"
    delete_file(KEY, settings=settings)
    with pytest.raises(ObjectNotFoundError):
        download_file(KEY, found, settings=settings)


def test_P11_production_is_a_bucket_of_AWS_through_the_same_code() -> None:
    """Without an endpoint the client goes to AWS, with the bucket in the host."""
    variables = {"AWS_BUCKET_NAME": "pdf-files", "AWS_REGION": "eu-central-1"}
    bucket = Bucket.from_settings(Settings.load("pdf_translator", variables))
    client = client_of(bucket)
    assert client.meta.endpoint_url == "https://s3.eu-central-1.amazonaws.com"
    assert client.meta.config.s3["addressing_style"] == "virtual"


def test_P13_the_client_is_configured_in_every_respect() -> None:
    """Region, endpoint, addressing, timeouts, retries with backoff, pool, checksums."""
    settings = Settings.load(
        "pdf_translator",
        {
            "AWS_BUCKET_NAME": "files",
            "AWS_REGION": "eu-west-3",
            "S3_ENDPOINT_URL": "https://s3.example",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "BEDPLATE_S3_POOL_SIZE": "7",
            "BEDPLATE_S3_TIMEOUT": "11",
        },
    )
    client = client_of(Bucket.from_settings(settings))
    config = client.meta.config
    assert client.meta.region_name == "eu-west-3"
    assert client.meta.endpoint_url == "https://s3.example"
    assert config.s3["addressing_style"] == "path"
    assert (config.connect_timeout, config.read_timeout) == (5, 11)
    # botocore's standard mode backs off exponentially, with jitter.
    assert config.retries == {"mode": "standard", "total_max_attempts": 4}
    assert config.max_pool_connections == 7
    assert config.signature_version == "s3v4"
    assert config.request_checksum_calculation == "when_required"
    assert config.response_checksum_validation == "when_supported"


async def test_P13_what_is_stored_carries_its_checksum(
    client: AsyncClient, layer: DataLayer, catalogue: Catalogue, sample: bytes
) -> None:
    """S3 has compared the bytes with their SHA-256, and the row has it, too."""
    await upload(client, sample)
    (row,) = await catalogue("SELECT key, sha256, size_bytes FROM bedplate.stored_files")
    assert len(row["sha256"]) == 32
    assert (await layer.files.objects.head(row["key"])).size_bytes == row["size_bytes"]


async def test_P18_every_service_is_reached_and_the_migration_rolled_back(
    blank_database: ScratchDatabase,
    bedplate_system: System,
    bedplate_settings: Settings,
    layer: DataLayer,
) -> None:
    """Database, schema, Redis, bucket, rollback: each on a real server, none of them pretended."""
    async with layer.reading() as session:
        assert await session.scalar(text("SELECT current_database()"))
    assert await layer.redis.client().ping()
    await layer.files.objects.probe(layer.files.system)

    settings, ask = blank_database.settings(), asker(blank_database)
    assert (await upgrade(bedplate_system, settings)).head is not None
    assert await tables_of(ask) == {"users", "translations", "document_blocks", "glossary"}
    await downgrade(bedplate_system, settings, "base")
    assert await tables_of(ask) == set()


@pytest.fixture
def another_s3() -> Iterator[dict[str, str]]:
    """An S3 that is not ours: another implementation, with a bucket made by hand."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        variables = {
            "AWS_BUCKET_NAME": "minio-like",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret-of-the-tests",
            "S3_ENDPOINT_URL": f"http://{host}:{port}",
        }
        bucket = Bucket.from_settings(Settings.load("pdf_translator", variables))
        client_of(bucket).create_bucket(Bucket=bucket.name)
        yield variables
    finally:
        server.stop()


@contextmanager
def worker_process(variables: Mapping[str, str]) -> Iterator[None]:
    """A worker of Celery's with its pool; where no relay runs, it delivers by itself."""
    environment = {**os.environ, **variables, "BEDPLATE_WORKER_CONCURRENCY": "1"}
    with subprocess.Popen([sys.executable, "-c", WORK], cwd=ROOT, env=environment) as process:
        try:
            yield
        finally:
            process.terminate()


async def _until_final(client: AsyncClient, translation: str) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        shown: dict[str, Any] = (await client.get(f"/translations/{translation}")).json()
        if shown["status"] in {"completed", "failed"}:
            return shown
        assert time.monotonic() < deadline, shown
        await asyncio.sleep(0.1)


async def _until_up(client: AsyncClient, service: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = (await client.get("/health")).json()["systems"]["pdf_translator"][service]
        if found["status"] == "up":
            return
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.1)
