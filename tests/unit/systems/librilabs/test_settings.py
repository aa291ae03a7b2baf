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


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"ENGINE": "libretranslate"}, "needs LIBRILABS_LIBRETRANSLATE_URL"),
        ({"LIBRETRANSLATE_URL": "ftp://h"}, "LIBRETRANSLATE_URL: must begin with https://"),
        ({"LIBRETRANSLATE_URL": "https://k:canary@h"}, "must carry no user"),
        (
            {"LIBRETRANSLATE_URL": "http://libre.example", "LIBRETRANSLATE_API_KEY": "canary"},
            "would go in the clear",
        ),
    ],
)
def test_a_wrong_server_of_the_engine_is_one_line_without_the_key(
    given: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Said at the start, not by the first job."""
    monkeypatch.chdir(tmp_path)
    for name, value in given.items():
        monkeypatch.setenv(f"LIBRILABS_{name}", value)
    with pytest.raises(SettingsError, match=words) as caught:
        LibriLabsSettings.load()
    assert "canary" not in str(caught.value)


def test_the_engine_gets_its_server_from_the_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A key goes by https, or to a container's name; no repr shows it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LIBRILABS_ENGINE", "libretranslate")
    monkeypatch.setenv("LIBRILABS_LIBRETRANSLATE_API_KEY", "canary")
    for url in ("https://libre.example/base/", "http://libretranslate:5000", "http://localhost:5"):
        monkeypatch.setenv("LIBRILABS_LIBRETRANSLATE_URL", url)
        settings = LibriLabsSettings.load()
        assert settings.libretranslate is not None
        assert settings.libretranslate.url == url.rstrip("/")
        assert "canary" not in repr(settings) + repr(settings.libretranslate)
