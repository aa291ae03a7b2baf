"""Nothing is changed on a server that is not ours without being told to."""

from pathlib import Path

import click
import pytest

from bedplate.cli.consent import require_consent, require_loss_agreed
from bedplate.cli.options import Invocation
from bedplate.cli.stand import Stand
from bedplate.errors import ConsentMissingError
from bedplate.project import Project, SystemEntry

SHOP = SystemEntry("shop", "shop.app:system", "shop_db", "shop", "shop_dev")
MANAGED = "postgresql://owner:s3cret@db.example.com:5432/sales"


def _stand(**variables: str) -> Stand:
    return Stand.find(Project(Path("/p"), (SHOP,), Path("/p/.bedplate")), variables)


def _invocation(*, is_confirmed: bool = False) -> Invocation:
    invocation = Invocation()
    invocation.command = "seed"
    invocation.is_confirmed = is_confirmed
    return invocation


def test_an_embedded_database_needs_no_consent() -> None:
    """The first five minutes have no prompt."""
    require_consent(_invocation(), _stand(), "seed")


def test_a_managed_database_is_named_and_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A DATABASE_URL left in a shell must not seed somebody's real server."""
    with pytest.raises(ConsentMissingError) as raised:
        require_consent(_invocation(), _stand(DATABASE_URL=MANAGED), "seed")
    assert "--yes" in raised.value.hint
    said = capsys.readouterr().err
    assert "sales on db.example.com:5432" in said
    assert "s3cret" not in said


def test_yes_is_consent_and_still_says_where(capsys: pytest.CaptureFixture[str]) -> None:
    """The line in a CI log shows afterwards what was changed."""
    require_consent(_invocation(is_confirmed=True), _stand(DATABASE_URL=MANAGED), "seed")
    assert "sales on db.example.com:5432" in capsys.readouterr().err


@pytest.mark.parametrize("says", [True, False])
def test_at_a_terminal_it_asks(monkeypatch: pytest.MonkeyPatch, says: bool) -> None:
    """A person who reads host and database may decide on the spot."""
    monkeypatch.setattr(Invocation, "is_interactive", property(lambda _: True))
    monkeypatch.setattr(click, "confirm", lambda *_, **__: says)
    if says:
        require_consent(_invocation(), _stand(DATABASE_URL=MANAGED), "seed")
    else:
        with pytest.raises(ConsentMissingError):
            require_consent(_invocation(), _stand(DATABASE_URL=MANAGED), "seed")


def test_nobody_is_asked_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    """A prompt there waits for ever."""
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("CI", "true")
    assert not Invocation().is_interactive


def test_losing_rows_of_the_embedded_database_takes_yes() -> None:
    """It is disposable, but not by accident."""
    with pytest.raises(ConsentMissingError, match="may lose rows"):
        require_loss_agreed(_invocation(), _stand(), "shop", "take shop back", None)
    require_loss_agreed(_invocation(is_confirmed=True), _stand(), "shop", "take shop back", None)


def test_losing_rows_of_a_managed_database_takes_its_name() -> None:
    """--yes stands in scripts that were written for another database."""
    stand = _stand(DATABASE_URL=MANAGED)
    with pytest.raises(ConsentMissingError) as raised:
        require_loss_agreed(_invocation(is_confirmed=True), stand, "shop", "take shop back", None)
    assert "--confirm sales" in raised.value.hint
    require_loss_agreed(_invocation(), stand, "shop", "take shop back", "sales")
