"""Which services are embedded and which are managed, for every way the variables can be set."""

from pathlib import Path

import pytest

from bedplate.cli.stand import Stand
from bedplate.errors import ProductionRefusedError, SettingsError
from bedplate.project import Project, SystemEntry

SHOP = SystemEntry("shop", "shop.app:system", "shop_db", "shop", "shop_dev")
BLOG = SystemEntry("blog", "blog.app:system", "blog", "blog", "blog_dev")
MANAGED = "postgresql://u:s3cret@db.example.com:5432/shop"
STACK = "postgresql://shop:dev-only-abc@127.0.0.1:41234/shop_db"


def _stand(*systems: SystemEntry, **variables: str) -> Stand:
    project = Project(root=Path("/p"), systems=systems or (SHOP,), state=Path("/p/.bedplate"))
    return Stand.find(project, variables)


def test_without_variables_everything_is_embedded() -> None:
    """The first five minutes: nothing is set."""
    stand = _stand()
    assert stand.embeds_database
    assert stand.embeds_redis
    assert stand.managed_addresses() == {}


def test_a_database_url_makes_the_database_managed_and_leaves_redis() -> None:
    """Each service is decided by its own variable."""
    stand = _stand(DATABASE_URL=MANAGED)
    assert not stand.embeds_database
    assert stand.embeds_redis
    assert stand.databases["shop"].host == "db.example.com"


def test_a_systems_own_variable_makes_only_that_system_managed() -> None:
    """Four systems may stand on four servers."""
    stand = _stand(SHOP, BLOG, SHOP_DATABASE_URL=MANAGED)
    assert set(stand.databases) == {"shop"}
    assert stand.embeds_database


def test_when_both_are_managed_nothing_is_embedded() -> None:
    """Then no supervisor is started at all."""
    assert not _stand(DATABASE_URL=MANAGED, REDIS_URL="redis://cache.example.com:6379").embeds


@pytest.mark.parametrize("name", ["DATABASE_URL", "SHOP_DATABASE_URL", "MIGRATION_DATABASE_URL"])
def test_a_url_that_a_stack_made_counts_as_not_set(name: str) -> None:
    """It stands in shells that ran `eval "$(bedplate env)"`, perhaps of a stack that is gone."""
    stand = _stand(**{name: STACK})
    assert stand.embeds_database
    assert name not in stand.variables


def test_the_stacks_redis_and_key_count_as_not_set() -> None:
    """The running stack knows the present ones."""
    stand = _stand(REDIS_URL="redis://:dev-only-x@127.0.0.1:1/0", BEDPLATE_SECRET_KEY="dev-only-k")
    assert stand.embeds_redis
    assert dict(stand.variables) == {}


def test_a_stacks_password_on_another_machine_is_managed() -> None:
    """The mark alone does not make somebody else's server ours."""
    stand = _stand(DATABASE_URL="postgresql://shop:dev-only-abc@db.example.com/shop_db")
    assert not stand.embeds_database


@pytest.mark.parametrize(
    ("pinned", "url", "is_embedded"),
    [
        ("1", "postgresql://shop:shop_dev@localhost:5432/shop_db", True),
        ("0", "postgresql://shop:shop_dev@localhost:5432/shop_db", False),
        ("1", "postgresql://shop:other@localhost:5432/shop_db", False),
        ("1", "postgresql://shop:shop_dev@localhost:5433/shop_db", False),
    ],
)
def test_pinned_development_credentials_are_the_stacks_only_when_pinned(
    pinned: str, url: str, is_embedded: bool
) -> None:
    """Without pinning the same URL is somebody's own server, such as a compose file's."""
    assert _stand(BEDPLATE_PINNED=pinned, DATABASE_URL=url).embeds_database is is_embedded


def test_managed_addresses_show_no_password() -> None:
    """They are printed by `up` and stand in its JSON."""
    stand = _stand(DATABASE_URL=MANAGED, REDIS_URL="redis://:s3cret@cache.example.com:6379/0")
    shown = str(stand.managed_addresses())
    assert "db.example.com" in shown
    assert "cache.example.com" in shown
    assert "s3cret" not in shown


def test_a_wrong_url_is_named_by_its_own_variable() -> None:
    """With two variables that may be meant, the message must say which."""
    with pytest.raises(SettingsError, match="SHOP_DATABASE_URL"):
        _stand(SHOP_DATABASE_URL="mysql://x/y")


def test_a_child_gets_its_own_variables_and_the_stacks_for_what_is_embedded() -> None:
    """A managed service must never be shadowed by an embedded one."""
    stand = _stand(DATABASE_URL=MANAGED, MINE="1")
    embedded = {"SHOP_DATABASE_URL": STACK, "DATABASE_URL": STACK, "REDIS_URL": "redis://x"}
    assert stand.environment(embedded) == {
        "DATABASE_URL": MANAGED,
        "MINE": "1",
        "REDIS_URL": "redis://x",
    }


def test_production_embeds_nothing_and_names_all_that_is_missing() -> None:
    """One look must do: not one variable per attempt."""
    stand = _stand(SHOP, BLOG, BEDPLATE_ENV="production", SHOP_DATABASE_URL=MANAGED)
    assert not stand.embeds
    with pytest.raises(ProductionRefusedError) as raised:
        stand.refuse_gaps_in_production()
    assert raised.value.data["missing"] == [
        "BLOG_DATABASE_URL",
        "REDIS_URL",
        "BEDPLATE_SECRET_KEY",
    ]


def test_production_refuses_what_a_stack_made() -> None:
    """A development credential is as good as none."""
    stand = _stand(
        BEDPLATE_ENV="production",
        DATABASE_URL=STACK,
        REDIS_URL="redis://cache.example.com",
        BEDPLATE_SECRET_KEY="k" * 40,
    )
    with pytest.raises(ProductionRefusedError, match="DATABASE_URL is not set"):
        stand.refuse_gaps_in_production()


def test_complete_production_is_let_through() -> None:
    """The refusal is about gaps, not about production."""
    _stand(
        BEDPLATE_ENV="production",
        DATABASE_URL=MANAGED,
        REDIS_URL="redis://cache.example.com",
        BEDPLATE_SECRET_KEY="k" * 40,
    ).refuse_gaps_in_production()


def test_without_redis_none_is_embedded_and_none_is_needed() -> None:
    """The direct worker takes jobs from PostgreSQL; to forget REDIS_URL is another thing."""
    assert not _stand(BEDPLATE_REDIS="0").embeds_redis
    assert _stand(BEDPLATE_REDIS="0").embeds_database
    _stand(
        BEDPLATE_ENV="production",
        DATABASE_URL=MANAGED,
        BEDPLATE_REDIS="0",
        BEDPLATE_SECRET_KEY="k" * 40,
    ).refuse_gaps_in_production()


def test_endpoints_name_hosts_and_sockets() -> None:
    """`status` and `wait` connect to them."""
    stand = _stand(
        DATABASE_URL="postgresql://u@/shop?host=/run/pg&port=5433",
        REDIS_URL="unix:///run/redis.sock",
    )
    assert {name: str(where) for name, where in stand.endpoints().items()} == {
        "shop": "/run/pg/.s.PGSQL.5433",
        "redis": "/run/redis.sock",
    }


def test_files_are_embedded_where_all_rows_are() -> None:
    """A row of a managed database must not name an object in a folder on a laptop."""
    assert _stand().embeds_files
    assert not _stand(DATABASE_URL=MANAGED).embeds_files
    assert not _stand(SHOP, BLOG, BLOG_DATABASE_URL=MANAGED).embeds_files
    assert not _stand(BEDPLATE_FILES="0").embeds_files
    assert not _stand(BEDPLATE_ENV="production").embeds_files


@pytest.mark.parametrize("name", ["S3_ENDPOINT_URL", "AWS_BUCKET_NAME", "SHOP_AWS_BUCKET_NAME"])
def test_an_s3_of_ones_own_is_used_as_it_is(name: str) -> None:
    """MinIO by its address, AWS by a bucket alone."""
    stand = _stand(**{name: "https://minio.example.com"})
    assert not stand.embeds_files
    assert stand.embeds_database
    assert stand.managed_addresses() == {name: "https://minio.example.com"}


def test_keys_for_another_s3_do_not_reach_a_child_of_ours() -> None:
    """A shell may hold AWS's keys for other programs; a session token would break every request."""
    theirs = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SESSION_TOKEN": "t", "AWS_REGION": "eu-west-1"}
    ours = {
        "S3_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ACCESS_KEY_ID": "dev-only-i",
        "AWS_REGION": "us-east-1",
    }
    assert _stand(**theirs).environment(ours) == ours
    managed = _stand(S3_ENDPOINT_URL="https://minio.example.com", **theirs)
    assert managed.environment(ours) == {"S3_ENDPOINT_URL": "https://minio.example.com", **theirs}


def test_the_stacks_s3_counts_as_not_set() -> None:
    """After `eval "$(bedplate env)"` the shell names a stack that may be gone."""
    stand = _stand(
        S3_ENDPOINT_URL="http://127.0.0.1:1",
        AWS_BUCKET_NAME="bedplate",
        AWS_REGION="us-east-1",
        AWS_ACCESS_KEY_ID="dev-only-i",
        SHOP_AWS_ACCESS_KEY_ID="dev-only-i",
        AWS_SECRET_ACCESS_KEY="dev-only-s",
    )
    assert stand.embeds_files
    assert dict(stand.variables) == {}
    somebody = _stand(S3_ENDPOINT_URL="http://127.0.0.1:9000", AWS_ACCESS_KEY_ID="minioadmin")
    assert not somebody.embeds_files
