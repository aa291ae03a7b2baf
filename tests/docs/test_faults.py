"""The page of faults says what the tests do: its tables are made from their markers.

`python -m tests.docs.test_faults` writes them into docs/faults.md.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.faults.catalogue import FAULTS, INVARIANTS, UNTESTED

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "faults.md"
STEPS = PAGE.with_name("what-happens-if.md")
NAMED = re.compile(r"`([a-z0-9_/]+\.py)::(test_\w+)`")
ROW = re.compile(r"^\| (\d+) \|", re.MULTILINE)
CLAIMED = re.compile(r"\battacks? (\d+(?:(?:, | and | to )\d+)*)")
COMMAND = "python -m tests.docs.test_faults"
BEGIN = f"<!-- made by `{COMMAND}` from the markers of the tests -->"
END = "<!-- end of what is made -->"


@dataclass(frozen=True)
class FaultTest:
    """A marked test: where it is, which faults it injects, what must hold, in which runs."""

    file: str
    name: str
    faults: tuple[int, ...]
    holds: tuple[int, ...]
    is_every_run: bool
    says: str


def render() -> str:
    """Both tables."""
    by_fault = defaultdict(list)
    for each in fault_tests():
        for number in each.faults:
            by_fault[number].append(each)
    rows = ["| # | fault | holds | test | runs |", "|---|---|---|---|---|"]
    rows += [
        _row(number, each)
        for number in sorted(by_fault)
        for each in sorted(by_fault[number], key=lambda test: (test.file, test.name))
    ]
    often = [each for each in fault_tests() if each.is_every_run]
    rows += [
        "",
        (
            f"{len(by_fault)} of {len(FAULTS)} faults are injected, by {len(fault_tests())} tests;"
            f" {len(often)} of these, of {len(_numbers(often))} faults, run in every `make test`."
            " Not injected:"
        ),
        "",
    ]
    rows += ["| # | fault | why |", "|---|---|---|"]
    rows += [
        f"| {number} | {FAULTS[number]} | {UNTESTED.get(number, '?')} |"
        for number in FAULTS
        if number not in by_fault
    ]
    return "\n".join(rows)


def render_invariants() -> str:
    """What must hold, one line each."""
    return "\n".join(f"- **I{number}** {text}." for number, text in INVARIANTS.items())


def write() -> None:
    """Put both into the page."""
    PAGE.write_text(_with_made(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


@cache
def fault_tests() -> tuple[FaultTest, ...]:
    """Every test that carries the marker, read and not imported."""
    return tuple(
        _fault_test(path, node, mark)
        for path in sorted(TESTS.rglob("test_*.py"))
        for node in _functions(path)
        for mark in _marks(node)
    )


def test_the_page_is_what_the_markers_say() -> None:
    """A table that is kept by hand is wrong within a week."""
    page = PAGE.read_text(encoding="utf-8")
    assert page == _with_made(page), f"write it anew: {COMMAND}"


def test_faults_and_invariants_of_markers_are_in_the_catalogue() -> None:
    """A number that nobody explains proves nothing."""
    for each in fault_tests():
        assert set(each.faults) <= set(FAULTS), each
        assert each.faults, each
        assert set(each.holds) <= set(INVARIANTS), each
        assert each.holds, each
        assert each.says, each


def test_a_test_of_a_fault_has_its_number_in_its_name() -> None:
    """So that a failure in a log says what it is about, and `-k fault_07` runs it."""
    numbers: dict[str, set[int]] = defaultdict(set)
    for each in fault_tests():
        numbers[f"{each.file}::{each.name}"] |= set(each.faults)
    wrong = [
        test
        for test, faults in numbers.items()
        if not any(f"::test_fault_{number:02d}_" in test for number in faults)
    ]
    assert wrong == []


def test_a_test_named_after_a_fault_carries_its_marker() -> None:
    """Without it, it would be on no page, and in every run."""
    marked = {(each.file, each.name) for each in fault_tests()}
    named = {
        (path.relative_to(TESTS).as_posix(), node.name)
        for path in TESTS.rglob("test_*.py")
        for node in _functions(path)
        if node.name.startswith("test_fault_")
    }
    assert named - marked == set()


def test_faults_without_a_test_are_explained() -> None:
    """What is not tested is said, with its reason."""
    tested = {number for each in fault_tests() for number in each.faults}
    assert set(FAULTS) - tested <= set(UNTESTED)


def test_what_runs_every_time_looks_at_every_invariant() -> None:
    """At least fifteen faults in each `make test`, or what breaks one is found days later."""
    often = [each for each in fault_tests() if each.is_every_run]
    assert len(_numbers(often)) >= 15
    assert _invariants(often) == _invariants(fault_tests())


def test_every_named_test_exists() -> None:
    """A promise whose test was renamed or removed is none."""
    named = NAMED.findall(PAGE.read_text(encoding="utf-8") + STEPS.read_text(encoding="utf-8"))
    assert len(named) > 100
    missing = [
        f"{file}::{name}"
        for file, name in named
        if not (TESTS / file).is_file() or name not in docstrings(TESTS / file)
    ]
    assert missing == []


def test_every_step_names_the_test_that_crashes_there() -> None:
    """What a crash leaves is shown, or it is not said."""
    lines = STEPS.read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith("| ") and "shown by" not in line]
    assert len(rows) > 20
    assert [line for line in rows if not NAMED.search(line)] == []


def test_every_attack_names_a_test_and_is_on_the_page() -> None:
    """Without a test a row would be a hope; and the page lists all that is proved."""
    section = PAGE.read_text(encoding="utf-8").split("\n## Attacks on files\n")[1]
    section = section.split("\n## ")[0]
    lines = [line for line in section.splitlines() if ROW.match(line)]
    assert [line for line in lines if not NAMED.search(line)] == []
    claimed: set[int] = set()
    for path in TESTS.rglob("test_*.py"):
        for text in docstrings(path).values():
            for numbers in CLAIMED.findall(text):
                claimed |= {int(number) for number in re.findall(r"\d+", numbers)}
    assert claimed <= {int(number) for number in ROW.findall(section)}


@cache
def docstrings(path: Path) -> dict[str, str]:
    """A file's tests, and what each says of itself."""
    return {each.name: ast.get_docstring(each) or "" for each in _functions(path)}


def _numbers(tests: Iterable[FaultTest]) -> set[int]:
    return {number for each in tests for number in each.faults}


def _invariants(tests: Iterable[FaultTest]) -> set[int]:
    return {number for each in tests for number in each.holds}


def _functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _marks(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[ast.Call]:
    for each in node.decorator_list:
        if isinstance(each, ast.Call) and ast.unparse(each.func) == "pytest.mark.fault":
            yield each


def _fault_test(
    path: Path, node: ast.FunctionDef | ast.AsyncFunctionDef, mark: ast.Call
) -> FaultTest:
    more = {each.arg: ast.literal_eval(each.value) for each in mark.keywords}
    says = (ast.get_docstring(node) or "").split("\n\n")[0]
    return FaultTest(
        file=path.relative_to(TESTS).as_posix(),
        name=node.name,
        faults=tuple(ast.literal_eval(each) for each in mark.args),
        holds=tuple(int(each.lstrip("I")) for each in more.get("holds", "").split()),
        is_every_run=more.get("every_run", False),
        says=" ".join(says.split()),
    )


def _row(number: int, test: FaultTest) -> str:
    holds = " ".join(f"I{each}" for each in test.holds)
    runs = "every" if test.is_every_run else "`make faults`"
    says = test.says.replace("|", "\\|")
    return f"| {number} | {FAULTS[number]} | {holds} | {says} `{test.file}::{test.name}` | {runs} |"


def _with_made(page: str) -> str:
    for title, made in (("Invariants", render_invariants()), ("Faults", render())):
        before, _, rest = page.partition(f"\n## {title}\n")
        head, _, rest = rest.partition(BEGIN)
        _, _, rest = rest.partition(END)
        page = f"{before}\n## {title}\n{head}{BEGIN}\n\n{made}\n\n{END}{rest}"
    return page


if __name__ == "__main__":
    write()
