"""The page of bad days says what the tests do: its table is made from their markers.

`python -m tests.docs.test_bad_days` writes it into docs/bad-days.md.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "bad-days.md"
COMMAND = "python -m tests.docs.test_bad_days"
MARKER = "bad_day"
HEAD = f"""\
# Bad input and bad days

What is done to bedplate and librilabs by accident, and what the person sees. In every case nothing
is stored, nothing is lost, and no message shows a password, a key or a text. Deliberate faults,
with processes killed and networks cut, are in [faults.md](faults.md). Paths are below `tests/`.

<!-- made by `{COMMAND}` from the markers of the tests -->

| what happens | what is seen | test |
|---|---|---|
"""
# What the issue asks for, by a word of each row.
ASKED = (
    "Over 10 MB", "Binary", "another encoding", "unknown language", "foreign document",
    "expired", "is down at the start", "goes away", "wrong password", "unknown database",
    "TLS asked", "unknown authority", "Too many connections", "pending migration",
    "half-migrated", "port in use", "full disk", "read-only", "`.env`", "half-installed",
    "another architecture", "not executable", "second `bedplate up`", "spaces",
)  # fmt: skip


@dataclass(frozen=True)
class BadDay:
    """A marked test."""

    what: str
    sees: str
    test: str


def bad_days() -> list[BadDay]:
    """Every test that carries the marker, read and not imported; in the order of the alphabet."""
    found = [each for path in sorted(TESTS.rglob("test_*.py")) for each in _marked(path)]
    return sorted(found, key=lambda each: each.what.replace("`", "").lower())


def render() -> str:
    """The whole page."""
    rows = [f"| {each.what} | {each.sees} | `{each.test}` |" for each in bad_days()]
    return HEAD + "\n".join(rows) + "\n"


def test_the_page_is_what_the_markers_say() -> None:
    """A table that is kept by hand is wrong within a week."""
    assert PAGE.read_text(encoding="utf-8") == render(), f"write it anew: {COMMAND}"


def test_all_that_was_asked_for_is_on_the_page() -> None:
    """A marker that is deleted with its test must not take its row along unnoticed."""
    rows = " ".join(each.what for each in bad_days())
    assert [word for word in ASKED if word not in rows] == []


def test_every_bad_day_says_what_is_seen_once() -> None:
    """Two rows of one name would be two answers to one question."""
    names = [each.what for each in bad_days()]
    assert len(names) == len(set(names))
    assert all(each.sees for each in bad_days())


def _marked(path: Path) -> Iterator[BadDay]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for mark in node.decorator_list:
            if isinstance(mark, ast.Call) and ast.unparse(mark.func) == f"pytest.mark.{MARKER}":
                named = {each.arg: ast.literal_eval(each.value) for each in mark.keywords}
                what = ast.literal_eval(mark.args[0])
                test = f"{path.relative_to(TESTS).as_posix()}::{node.name}"
                yield BadDay(what, named["sees"], test)


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
