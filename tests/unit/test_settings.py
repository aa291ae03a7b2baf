"""Settings: what providers give is accepted, what is wrong is one line, and no secret is shown."""

from datetime import timedelta

import pytest

from bedplate.environment import DEVELOPMENT_MARK
from bedplate.errors import ProductionRefusedError, SettingsError
from bedplate.settings import Settings

SECRET = "s3cr3t-canary"
PRODUCTION = {
    "BEDPLATE_ENV": "production",
    "DATABASE_URL": "postgres://u:long-managed-password@db.example/shop?sslmode=require",
    "REDIS_URL": "rediss://:long-managed-password@redis.example",
    "BEDPLATE_SECRET_KEY": "k" * 40,
}


def test_system_variable_wins_over_the_common_one() -> None:
    """Several systems share one environment; each must find its own database."""
    variables = {
        "DATABASE_URL": "postgres://u@h/common",
        "LIBRILABS_DATABASE_URL": "postgres://u@h/own",
    }
    assert Settings.load("librilabs", variables).database().database == "own"
    assert Settings.load("sme", variables).database().database == "common"


def test_empty_and_foreign_variables_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell full of other programs' variables must not stop a start."""
    monkeypatch.setenv("DATABASE_URL", "")
    monkeypatch.setenv("BEDPLATE_POOL_SIZE", " ")
    monkeypatch.setenv("POOL_SIZE", "nonsense")
    settings = Settings.load()
    assert settings.database_url is None
    assert settings.pool_size == 5


def test_plain_numbers_are_seconds() -> None:
    """Times are timedelta in code; in a variable a person writes seconds."""
    settings = Settings.load(None, {"BEDPLATE_POOL_TIMEOUT": "1.5"})
    assert settings.pool_timeout == timedelta(seconds=1.5)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DATABASE_URL", f"mysql://u:{SECRET}@h/d"),
        ("DATABASE_URL", f"postgres://u:{SECRET}@h"),
        ("DATABASE_URL", f"postgres://u:{SECRET}@h/d?sslmode=maybe"),
        ("MIGRATION_DATABASE_URL", f"postgres://u:{SECRET}@h:port/d"),
        ("REDIS_URL", f"http://:{SECRET}@h"),
        ("BEDPLATE_SECRET_KEY", SECRET),
        ("BEDPLATE_POOL_SIZE", SECRET),
        ("BEDPLATE_LEASE", SECRET),
        ("BEDPLATE_LEASE", "-1"),
        ("BEDPLATE_ENV", SECRET),
    ],
)
@pytest.mark.bad_day("A variable with a wrong value", sees="the variable, never its value")
def test_wrong_value_is_one_line_that_names_the_variable_only(variable: str, value: str) -> None:
    """pydantic prints its input by default: a wrong URL would put a password into the log."""
    with pytest.raises(SettingsError) as caught:
        Settings.load(None, {variable: value})
    assert caught.value.message.startswith(f"{variable} ")
    assert "\n" not in caught.value.message
    assert caught.value.hint
    told = f"{caught.value!r} {caught.value} {caught.value.hint} {caught.value.data}"
    assert SECRET not in told
    assert caught.value.__suppress_context__
    assert caught.value.__cause__ is None


def test_no_secret_is_in_a_repr() -> None:
    """Settings end up in tracebacks and debug logs."""
    settings = Settings.load(
        None,
        {
            "DATABASE_URL": f"postgres://u:{SECRET}@h/d",
            "REDIS_URL": f"redis://:{SECRET}@h",
            "BEDPLATE_SECRET_KEY": SECRET * 3,
        },
    )
    shown = f"{settings!r} {settings} {settings.database()!r} {settings.database().redacted()}"
    assert SECRET not in shown
    assert settings.database().password == SECRET


@pytest.mark.bad_day("A variable that is missing", sees="the variable; bedplate up")
def test_missing_variable_says_what_to_do() -> None:
    """The first error that a newcomer meets must lead on."""
    with pytest.raises(SettingsError, match="DATABASE_URL is not set") as caught:
        Settings.load(None, {}).database()
    assert "bedplate up" in caught.value.hint
    with pytest.raises(SettingsError, match="REDIS_URL is not set"):
        Settings.load(None, {}).redis()


def test_direct_and_migration_urls_fall_back_in_order() -> None:
    """Behind a pooler LISTEN and locks need a way past it; without one the plain URL serves."""
    plain = {"DATABASE_URL": "postgres://u@pooler/d"}
    direct = plain | {"DATABASE_DIRECT_URL": "postgres://u@direct/d"}
    migration = direct | {"MIGRATION_DATABASE_URL": "postgres://owner@direct/d"}
    assert Settings.load(None, plain).migration_database().host == "pooler"
    assert Settings.load(None, direct).migration_database().host == "direct"
    assert Settings.load(None, direct).direct_database().host == "direct"
    assert Settings.load(None, migration).migration_database().user == "owner"


def test_serving_role_is_named_after_the_database() -> None:
    """Requests never run as the schema's owner."""
    settings = Settings.load(None, {"DATABASE_URL": "postgres://u@h/shop"})
    assert settings.serving_role() == "shop_app"


def test_production_accepts_managed_services() -> None:
    """The refusals below would be worthless if production refused everything."""
    assert Settings.load(None, PRODUCTION).env == "production"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DATABASE_URL", ""),
        ("DATABASE_URL", "postgres://librilabs:librilabs_dev@db/librilabs_translator"),
        ("DATABASE_URL", f"postgres://u:{DEVELOPMENT_MARK}abc@127.0.0.1/d"),
        ("MIGRATION_DATABASE_URL", "postgres://u:vibecoding123@db/d"),
        ("REDIS_URL", f"redis://:{DEVELOPMENT_MARK}abc@127.0.0.1"),
        ("BEDPLATE_SECRET_KEY", ""),
        ("BEDPLATE_SECRET_KEY", f"{DEVELOPMENT_MARK}{'k' * 40}"),
    ],
)
def test_production_refuses_development_values(variable: str, value: str) -> None:
    """A development credential in production is an open door that nobody sees."""
    variables = {name: v for name, v in {**PRODUCTION, variable: value}.items() if v}
    with pytest.raises(ProductionRefusedError) as caught:
        Settings.load(None, variables)
    assert variable in caught.value.message
    assert caught.value.hint


def test_a_url_that_says_pooler_is_taken_at_its_word() -> None:
    """Supabase's and others' end in ?pgbouncer=true; the variable still has the last word."""
    url = "postgres://u:p@h:6543/d?pgbouncer=true&connection_limit=1"
    assert Settings.load(variables={"DATABASE_URL": url}).is_behind_pooler
    told = {"DATABASE_URL": url, "BEDPLATE_TRANSACTION_POOLER": "false"}
    assert not Settings.load(variables=told).is_behind_pooler


def test_celerys_words_for_certificates_become_redis_pys() -> None:
    """Providers' documentation is written for the one or for the other."""
    url = "rediss://:p@h:6379/0?ssl_cert_reqs=CERT_NONE"
    assert Settings.load(variables={"REDIS_URL": url}).redis().endswith("?ssl_cert_reqs=none")
    with pytest.raises(SettingsError, match="REDIS_URL has an unknown ssl_cert_reqs"):
        Settings.load(variables={"REDIS_URL": url.replace("CERT_NONE", "maybe")})
