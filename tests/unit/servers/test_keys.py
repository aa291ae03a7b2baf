"""Passwords and ports: made once, remembered, replaced only when they must be."""

import socket
from pathlib import Path

import pytest

from bedplate.environment import DEVELOPMENT_MARK
from bedplate.errors import PortTakenError
from bedplate.project import SystemEntry
from bedplate.servers import keys
from bedplate.servers.folder import StateFolder
from bedplate.servers.keys import FIRST_PORT, LAST_PORT, Ports, Secrets

SHOP = SystemEntry("shop", None, "shop", "shop", "shop_dev")
BLOG = SystemEntry("blog", None, "blog", "blog", "blog_dev")


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    """A state folder, made."""
    found = StateFolder(tmp_path)
    found.create()
    return found


def test_secrets_are_kept_and_added_to(folder: StateFolder) -> None:
    """A new system must not change the passwords of the others."""
    first = Secrets(folder, is_pinned=False)
    first.load([SHOP])
    second = Secrets(folder, is_pinned=False)
    second.load([SHOP, BLOG])
    assert second.owner(SHOP) == first.owner(SHOP)
    assert second.postgres == first.postgres
    assert second.secret_key == first.secret_key
    made = {second.owner(SHOP), second.owner(BLOG), second.postgres, second.secret_key}
    assert len(made) == 4
    assert all(value.startswith(DEVELOPMENT_MARK) and len(value) >= 32 for value in made)
    assert folder.secrets_file.stat().st_mode & 0o777 == 0o600


def test_each_system_has_keys_of_s3_of_its_own(folder: StateFolder) -> None:
    """Who reads one's files must not read the other's."""
    made = Secrets(folder, is_pinned=False)
    made.load([SHOP, BLOG])
    ids = {keys.key_id for keys in (made.files(SHOP), made.files(BLOG), made.files_admin)}
    assert len(ids) == 3
    assert made.files(SHOP).secret.startswith(DEVELOPMENT_MARK)
    assert made.files(SHOP).secret not in repr(made.files(SHOP))


def test_the_pinned_stand_has_the_specifications_credentials(folder: StateFolder) -> None:
    """Their documents name them."""
    pinned = Secrets(folder, is_pinned=True)
    pinned.load([SHOP])
    assert pinned.owner(SHOP) == "shop_dev"
    assert pinned.valkey is None


def test_a_port_is_remembered(folder: StateFolder) -> None:
    """Clients that were configured by hand still find the server tomorrow."""
    first = Ports(folder, is_pinned=False).choose("postgres")
    assert FIRST_PORT <= first.number <= LAST_PORT
    assert Ports(folder, is_pinned=False).choose("postgres") == first


def test_a_port_in_use_is_replaced_and_said(folder: StateFolder) -> None:
    """Silently another number would look like a server that is down."""
    ports = Ports(folder, is_pinned=False)
    first = ports.choose("valkey").number
    with socket.create_server(("127.0.0.1", first)):
        second = ports.choose("valkey")
    assert second.number != first
    assert second.note == f"port {first} is in use"


def test_a_pinned_port_in_use_is_an_error(
    folder: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The specification's number or nothing."""
    with socket.create_server(("127.0.0.1", 0)) as blocker:
        number = blocker.getsockname()[1]
        monkeypatch.setitem(keys.PINNED_PORTS, "postgres", number)
        with pytest.raises(PortTakenError, match=str(number)) as caught:
            Ports(folder, is_pinned=True).choose("postgres")
    assert caught.value.data == {"port": number}


def test_a_port_is_free_together_with_the_one_far_above_it(folder: StateFolder) -> None:
    """SeaweedFS takes both, and looks for the second nowhere else."""
    ports = Ports(folder, is_pinned=False)
    first = ports.choose("seaweedfs admin", beside=10_000).number
    with socket.create_server(("127.0.0.1", first + 10_000)):
        second = ports.choose("seaweedfs admin", beside=10_000).number
    assert second != first
    assert ports.choose("seaweedfs admin", beside=10_000).number == second


def test_a_port_that_no_specification_names_is_not_pinned(folder: StateFolder) -> None:
    """They say 5432 and 6379 and nothing of S3."""
    ports = Ports(folder, is_pinned=True)
    assert ports.is_pinned("postgres")
    assert not ports.is_pinned("seaweedfs")
    assert ports.choose("seaweedfs").number >= FIRST_PORT
