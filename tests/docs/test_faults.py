"""The page of faults names tests that exist, and every fault that a test names."""

import ast
import re
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "faults.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`([a-z_/]+\.py)::(test_\w+)`")
ROW = re.compile(r"^\| (\d+) \|", re.MULTILINE)
CLAIMED = re.compile(r"\b(fault|attack)s? (\d+(?:(?:, | and | to )\d+)*)")
FAULTS = 52


def rows(title: str) -> set[int]:
    """The numbers of a table."""
    section = PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]
    return {int(number) for number in ROW.findall(section)}


@cache
def docstrings(path: Path) -> dict[str, str]:
    """A file's tests, and what each says of itself."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [
        each for each in tree.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return {each.name: ast.get_docstring(each) or "" for each in functions}


def test_every_named_test_exists() -> None:
    """A promise whose test was renamed or removed is none."""
    named = NAMED.findall(PAGE)
    assert len(named) > 50
    missing = [
        f"{file}::{name}"
        for file, name in named
        if not (TESTS / file).is_file() or name not in docstrings(TESTS / file)
    ]
    assert missing == []


def test_every_row_names_a_test() -> None:
    """Without one a row would be a hope."""
    lines = [line for line in PAGE.splitlines() if ROW.match(line)]
    assert [line for line in lines if not NAMED.search(line)] == []


def test_what_a_test_claims_is_on_the_page() -> None:
    """The other direction: the page lists all that is proved."""
    claimed: dict[str, set[int]] = {"fault": set(), "attack": set()}
    for path in TESTS.rglob("test_*.py"):
        for text in docstrings(path).values():
            for kind, numbers in CLAIMED.findall(text):
                claimed[kind] |= {int(number) for number in re.findall(r"\d+", numbers)}
    assert claimed["fault"]
    assert claimed["fault"] <= rows("Faults")
    assert claimed["attack"] <= rows("Attacks on files")


def test_faults_without_a_test_are_named() -> None:
    """What is not tested is said, and nothing is said twice."""
    (listed,) = re.findall(r"^Not injected by a test yet: ([\d, ]+)\.$", PAGE, re.MULTILINE)
    untested = {int(number) for number in listed.split(", ")}
    assert untested.isdisjoint(rows("Faults"))
    assert untested | rows("Faults") == set(range(1, FAULTS + 1))
