"""Health tells S3 up, denied and down; readiness does not depend on it."""

from bedplate import health
from bedplate.layer import DataLayer
from bedplate.testing.clones import ScratchDatabase
from tests.integration.files.conftest import Outside
from tests.integration.files.weed import S3, Weed


async def test_s3_is_probed_by_what_the_application_may_do(
    committed: ScratchDatabase, weed: Weed, system: str
) -> None:
    """An identity without a right to the bucket is up; the probe leaves nothing behind."""
    settings = committed.settings(**weed.s3_of(system).variables())
    async with DataLayer(settings, name=system) as layer:
        report = await health.check(layer)
    assert report.services["s3"].is_up, report.services["s3"].reason


async def test_a_probe_leaves_nothing(files_layer: DataLayer, outside: Outside) -> None:
    """Neither an object nor a row."""
    await health.check(files_layer)
    assert await outside.keys() == set()
    assert await outside.states() == []


async def test_wrong_credentials_are_told_from_a_server_that_is_down(
    committed: ScratchDatabase, s3: S3, system: str
) -> None:
    """A person does another thing about each; requests without files are served all the same."""
    down = s3.variables(endpoint="http://127.0.0.1:9")
    denied = {**s3.variables(), "AWS_SECRET_ACCESS_KEY": "wrong"}
    reasons = []
    for variables in (down, denied):
        async with DataLayer(committed.settings(**variables), name=system) as layer:
            report = await health.check(layer)
        assert report.is_ready
        assert not report.services["s3"].is_up
        reasons.append(report.services["s3"].reason)
    assert reasons[1] == "denied"
    assert reasons[0] != "denied"


async def test_without_a_bucket_there_is_no_probe(layer: DataLayer) -> None:
    """What is not used cannot be down."""
    assert "s3" not in (await health.check(layer)).services
