"""Codes of languages."""

import pytest

from systems.translation.languages import (
    LANGUAGES,
    UnknownLanguageError,
    normalize_language,
    three_letters,
)


def test_a_code_is_taken_as_people_type_it() -> None:
    """`EN` and ` en ` mean English, and must not make a second translation."""
    assert normalize_language(" EN ") == "en"
    assert three_letters("en") == "eng"


@pytest.mark.parametrize("code", ["", "xx", "eng", "english", "en-", "e", "ЕN"])
def test_an_unknown_code_is_refused_and_named(code: str) -> None:
    """A typing error must not become a language that no engine has."""
    with pytest.raises(UnknownLanguageError, match="ISO 639-1"):
        normalize_language(code)


def test_every_code_has_two_letters_and_another_three() -> None:
    """A slip in the table would name a pair that no engine knows."""
    assert len(LANGUAGES) == 183
    assert all(len(two) == 2 and len(three) == 3 for two, three in LANGUAGES.items())
    assert len(set(LANGUAGES.values())) == len(LANGUAGES)
