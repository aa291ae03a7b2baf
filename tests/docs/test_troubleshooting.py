"""The page of symptoms says the words that the code says; tests of each bad day provoke them."""

import ast
import re
from functools import cache

import pytest

from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
SYMPTOM = re.compile(r"^\| `([^`]+)`", re.MULTILINE)
# What a page leaves out, and what the code fills in at run time.
OPEN = "…"


@cache
def texts() -> str:
    """Every text in the code, each on a line of its own; what is filled in is `…`."""
    found = []
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                parts = (
                    each.value if isinstance(each, ast.Constant) else OPEN for each in node.values
                )
                found.append("".join(map(str, parts)))
    return "\n".join(text.replace("\n", " ") for text in found)


def is_said(symptom: str) -> bool:
    """Whether the code says these words in one text; `…` on either side stands for any."""
    parts = [re.escape(part.strip()) for part in symptom.split(OPEN)]
    return re.search(".*".join(parts), texts()) is not None


@pytest.mark.parametrize("symptom", SYMPTOM.findall(PAGE))
def test_every_symptom_is_what_the_code_says(symptom: str) -> None:
    """Who searches for the words must find them."""
    assert is_said(symptom)


def test_words_that_nothing_says_are_found() -> None:
    """A check that accepts anything proves nothing."""
    assert len(SYMPTOM.findall(PAGE)) > 30
    assert not is_said("the moon is in the way")
