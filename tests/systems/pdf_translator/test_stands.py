"""The compose file, the variables, and that nothing of either is in the code."""

import logging
import subprocess
import sys
from collections.abc import Mapping

import pytest
from httpx import AsyncClient

from bedplate.errors import SettingsError
from bedplate.files.bucket import Bucket
from bedplate.settings import Settings
from bedplate.system import System
from systems.pdf_translator.settings import GoogleSettings, PdfTranslatorSettings
from tests.deploy.compose import LIBRILABS, ComposeFile, findings
from tests.systems.example_file import assert_embedded, assert_every_variable, example_lines
from tests.texts import ROOT

FOLDER = ROOT / "systems" / "pdf_translator"
COMPOSE = FOLDER / "docker-compose.yml"
SPECIFIED = {
    "DATABASE_URL",
    "REDIS_URL",
    "AWS_REGION",
    "AWS_BUCKET_NAME",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "S3_ENDPOINT_URL",
    "GOOGLE_CLIENT_ID",
    "GOOGLE_CLIENT_SECRET",
}


def test_P17_the_example_holds_every_variable_with_a_comment() -> None:
    """What is not in `.env.example` does not exist for whoever deploys it."""
    own = PdfTranslatorSettings.variables() | GoogleSettings.variables()
    assert_every_variable("pdf_translator", own | SPECIFIED)


def test_P17_the_example_copied_unchanged_keeps_the_embedded_stand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Copying it must not point a first run at a server that is not there."""
    _, variables = assert_embedded("pdf_translator")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert GoogleSettings.load().provider is None
    assert PdfTranslatorSettings.load().engine_timeout_seconds == 60


def test_P17_every_variable_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The specification's names, as they are given."""
    given = {
        "DATABASE_URL": "postgresql://u:p@db.example:5432/d",
        "REDIS_URL": "rediss://cache.example:6379/0",
        "AWS_REGION": "eu-central-1",
        "AWS_BUCKET_NAME": "the-bucket",
        "AWS_ACCESS_KEY_ID": "AKIA",
        "AWS_SECRET_ACCESS_KEY": "canary",
        "S3_ENDPOINT_URL": "https://s3.example",
    }
    settings = Settings.load("pdf_translator", given)
    bucket = Bucket.from_settings(settings)
    assert (bucket.name, bucket.region) == ("the-bucket", "eu-central-1")
    assert bucket.endpoint == "https://s3.example"
    assert settings.database().host == "db.example"
    assert "cache.example" in settings.redis()
    own = {**given, "PDF_TRANSLATOR_DATABASE_URL": "postgresql://u:p@own.example:5432/d"}
    assert Settings.load("pdf_translator", own).database().host == "own.example"

    monkeypatch.setenv("GOOGLE_CLIENT_ID", "the id")
    with pytest.raises(SettingsError, match="GOOGLE_CLIENT_SECRET"):
        GoogleSettings.load()
    monkeypatch.setenv("GOOGLE_CLIENT_SECRET", "canary")
    provider = GoogleSettings.load().provider
    assert provider is not None
    assert (provider.client_id, provider.client_secret) == ("the id", "canary")
    assert "canary" not in repr(settings) + repr(GoogleSettings.load()) + repr(provider)


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("GOOGLE_REDIRECT_URI", "http://pdf.example/x", "must begin with https://"),
        ("GOOGLE_ISSUER", "accounts", "must begin with https://"),
        ("PDF_TRANSLATOR_ENGINE", "babelfish", "PDF_TRANSLATOR_ENGINE"),
        ("PDF_TRANSLATOR_ENGINE", "libretranslate", "PDF_TRANSLATOR_LIBRETRANSLATE_URL"),
    ],
)
def test_a_wrong_variable_is_one_line_that_names_it(
    variable: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the start, not in a request."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=words):
        PdfTranslatorSettings.load()
        GoogleSettings.load()


def test_P17_the_file_with_secrets_is_ignored_by_git() -> None:
    """`.env` in the system's folder and in the root."""
    for path in (".env", "systems/pdf_translator/.env"):
        ran = subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT, check=False)
        assert ran.returncode == 0, path


def test_P17_no_secret_is_committed() -> None:
    """No address, no password and no key in the code; development's stand where they are shown."""
    for path in FOLDER.rglob("*.py"):
        source = path.read_text()
        for found in ("postgresql://", "redis://", "pdf_translator_dev", "AKIA", "GOCSPX"):
            assert found not in source, f"{found} in {path}"
    example = example_lines("pdf_translator")
    for name in ("GOOGLE_CLIENT_SECRET", "AWS_SECRET_ACCESS_KEY", "BEDPLATE_SECRET_KEY"):
        (line,) = [line for line in example if line.lstrip("# ").startswith(f"{name}=")]
        assert line == f"# {name}="


class TestSecretsInLogs:
    """A layer whose secrets are canaries."""

    @pytest.fixture
    def bedplate_variables(self, bedplate_s3: dict[str, str]) -> Mapping[str, str]:
        return {**bedplate_s3, "BEDPLATE_SECRET_KEY": "dev-only-canary-of-the-test-1234567890"}

    async def test_P17_no_secret_is_logged(
        self,
        client: AsyncClient,
        bedplate_settings: Settings,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
        sample: bytes,
    ) -> None:
        """Neither by what works nor by what fails, at DEBUG."""
        caplog.set_level(logging.DEBUG)
        monkeypatch.setenv("GOOGLE_CLIENT_ID", "id")
        monkeypatch.setenv("GOOGLE_CLIENT_SECRET", "canary-of-google")
        monkeypatch.setenv("GOOGLE_ISSUER", "http://127.0.0.1:1")
        assert (await client.get("/auth/google/login")).status_code == 503
        await client.get("/auth/google/callback", params={"state": "x", "code": "canary-code"})
        assert (await client.get("/health")).status_code in {200, 503}
        assert (await client.get("/translations")).status_code == 200
        token = client.cookies["pdf_translator_session"]
        database, files = bedplate_settings.database(), bedplate_settings.aws_secret_access_key
        assert files is not None
        secrets = ["canary-of-google", "canary-of-the-test", token, files.get_secret_value()]
        for secret in [*secrets, database.password or "no password"]:
            assert secret not in caplog.text


def test_P19_the_compose_file_fits_the_schema() -> None:
    """A misspelt key is refused by the engine, or worse, taken for nothing."""
    ran = subprocess.run(
        [
            sys.executable,
            "-m",
            "check_jsonschema",
            "--builtin-schema",
            "vendor.compose-spec",
            str(COMPOSE),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_P19_all_services_start_in_order_with_health_checks() -> None:
    """postgres, redis, S3, migration, backend, worker, relay; ours after those they need."""
    file = ComposeFile.read(COMPOSE)
    assert findings(file) == []
    services = file.services
    assert {*services} == {"postgres", "redis", "s3", "migrate", "api", "relay", "worker"}
    for name in ("postgres", "redis", "s3", "api", "relay", "worker"):
        assert services[name]["healthcheck"]["test"], name
    assert services["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for name in ("api", "relay", "worker"):
        assert services[name]["depends_on"] == {
            "postgres": {"condition": "service_healthy"},
            "redis": {"condition": "service_healthy"},
            "s3": {"condition": "service_healthy"},
            "migrate": {"condition": "service_completed_successfully"},
        }


def test_P19_what_is_shown_of_librilabs_compose_file_holds_here() -> None:
    """Its commands were run by tests; the same images, commands and checks are here."""
    shown = ComposeFile.read(LIBRILABS).services
    for name, service in ComposeFile.read(COMPOSE).services.items():
        for key in ("command", "image", "user", "depends_on", "ports"):
            assert service.get(key) == shown[name].get(key), f"{name}: {key}"
        if name != "postgres":
            assert service.get("healthcheck") == shown[name].get("healthcheck"), name


def test_P7_P11_redis_and_an_S3_are_services_of_compose() -> None:
    """Valkey speaks Redis' protocol; SeaweedFS stands where MinIO was named (README: why)."""
    services = ComposeFile.read(COMPOSE).services
    assert services["redis"]["image"].startswith("valkey/valkey:")
    assert services["s3"]["image"].startswith("chrislusf/seaweedfs:")
    for name in ("api", "relay", "worker"):
        environment = services[name]["environment"]
        assert environment["REDIS_URL"] == "redis://redis:6379/0"
        assert environment["S3_ENDPOINT_URL"] == "http://s3:8333"
        assert environment["AWS_BUCKET_NAME"] == "pdf-translator-files"


def test_P19_the_compose_file_gives_only_variables_that_are_read(bedplate_system: System) -> None:
    """A misspelt variable would leave the default in force without a word."""
    known = {str(field.alias) for field in Settings.model_fields.values()} | {"BEDPLATE_SYSTEMS"}
    known |= PdfTranslatorSettings.variables() | GoogleSettings.variables()
    for name, service in ComposeFile.read(COMPOSE).built().items():
        assert {*service["environment"]} <= known, name
        assert service["environment"]["BEDPLATE_SYSTEMS"] == bedplate_system.name
