"""Settings of librilabs."""

from pathlib import Path

import pytest

from bedplate.errors import SettingsError
from systems.librilabs.settings import LibriLabsSettings

FOLDER = Path(__file__).parents[4] / "systems" / "librilabs"


def test_L7_the_environment_decides_and_a_wrong_value_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nothing is hard-coded, and a typing error is one clear line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LIBRILABS_ENGINE", raising=False)
    assert LibriLabsSettings.load().engine == "none"

    (tmp_path / ".env").write_text("LIBRILABS_ENGINE=apertium\n")
    assert LibriLabsSettings.load().engine == "apertium"

    monkeypatch.setenv("LIBRILABS_ENGINE", "none")
    assert LibriLabsSettings.load().engine == "none"

    monkeypatch.setenv("LIBRILABS_ENGINE", "babelfish")
    with pytest.raises(SettingsError, match="LIBRILABS_ENGINE"):
        LibriLabsSettings.load()
