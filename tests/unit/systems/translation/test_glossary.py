"""A glossary's terms: which words of a text they are, and that no engine gets at them."""

import pytest

from systems.translation.engines import NoEngine
from systems.translation.glossary import Glossary, GlossaryEngine, WithGlossary

TERMS = {
    "shell": "intérprete",
    "shell script": "guion",
    "US": "EE. UU.",
    "C++": "C++",
    "sh": "sh-es",
}
FOUND = {
    "The shell reads.": "The intérprete reads.",
    "Shell scripts and a Shell script.": "Intérprete scripts and a Guion.",
    "A shell\n  script here": "A guion here",
    "SHELL": "INTÉRPRETE",
    "It helps us in the US.": "It helps us in the EE. UU..",
    "seashells, shelling, _shell": "seashells, shelling, _shell",
    "C++ is not C+": "C++ is not C+",
    "sh, shell; (shell)": "sh-es, intérprete; (intérprete)",
    "": "",
}


class Shouting(NoEngine):
    """Turns what it is shown into capitals, and notes it."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    async def translate(self, text: str, source: str, target: str) -> str:
        self.shown.append(text)
        return text.upper()


class Losing(Shouting):
    """Loses every word with a q in it."""

    async def translate(self, text: str, source: str, target: str) -> str:
        words = (await super().translate(text, source, target)).split()
        return " ".join(word for word in words if "Q" not in word)


@pytest.mark.parametrize("text", FOUND)
async def test_terms_are_whole_words_and_the_longest_counts(text: str) -> None:
    """In small letters however they are capitalised, with capitals only as they are written."""
    engine = WithGlossary(GlossaryEngine(), Glossary(TERMS))
    assert await engine.translate(text, "en", "es") == FOUND[text]


async def test_scripts_without_spaces_have_terms_inside_of_them() -> None:
    """Chinese puts no space between two words."""
    engine = WithGlossary(GlossaryEngine(), Glossary({"文件系统": "file system"}))
    assert await engine.translate("这个文件系统很好", "zh", "en") == "这个file system很好"


async def test_an_engine_never_sees_a_term() -> None:
    """It would translate it, or bend it."""
    engine = Shouting()
    translated = await WithGlossary(engine, Glossary(TERMS)).translate(
        "The shell and the shell script.", "en", "es"
    )
    assert translated == "THE intérprete AND THE guion."
    assert len(engine.shown) == 1
    assert "shell" not in engine.shown[0]


async def test_where_an_engine_loses_the_signs_the_parts_are_translated() -> None:
    """A term that disappears is worse than a sentence in two parts."""
    engine = Losing()
    translated = await WithGlossary(engine, Glossary(TERMS)).translate(
        " The shell, and the US: it. ", "en", "es"
    )
    assert translated == " THE intérprete, AND THE EE. UU.: IT. "
    assert len(engine.shown) == 4


async def test_words_that_look_like_signs_are_left_alone() -> None:
    """Also when the text has them already."""
    engine = WithGlossary(Shouting(), Glossary({"shell": "concha"}))
    assert await engine.translate("Qzaq shell qzbq", "en", "es") == "QZAQ concha QZBQ"


async def test_without_a_term_in_the_text_the_engine_sees_it_as_it_is() -> None:
    """Nothing is done for a glossary that does not matter, or is empty."""
    engine = Shouting()
    for glossary in (Glossary(TERMS), Glossary({}), Glossary({"  ": "nothing"})):
        assert await WithGlossary(engine, glossary).translate("No term.", "en", "es") == "NO TERM."
    assert engine.shown == ["No term."] * 3


def test_terms_that_begin_alike_are_no_deep_well() -> None:
    """A glossary is a user's own, and a pattern that cannot be made would fail every job."""
    glossary = Glossary({"a" * length: str(length) for length in range(1, 201)})
    (_, found, _) = glossary.pieces("x " + "a" * 150 + " y")
    assert found.translation == "150"
