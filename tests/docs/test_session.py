"""The tests' own reader of pages: what is right passes, and each kind of mistake is found."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.docs.compare import differences
from tests.docs.pages import Page
from tests.docs.session import Session, commands

GOOD = """\
# A page

`greeting.py`:

```python
def greet(name: str) -> str:
    return f"Hello {name}"
```

Add to `greeting.py`:

```python
if __name__ == "__main__":
    print(greet("you"))
```

```console
$ python greeting.py
Hello you
$ cd /
$ pwd
/
```

```python
import asyncio
from greeting import greet
await asyncio.sleep(0)
print(greet("all"))
```

It prints:

```text
Hello …
```

```json
{"a": 1}
```

<!-- exit status: 1 -->
```sh
false
```

<!-- not run: it would take everything away -->
```sh
rm -rf /
```
"""


def follow(text: str, folder: Path) -> None:
    """Follow a page with this text."""
    path = folder / "page.md"
    path.write_text(text)
    work = folder / "work"
    work.mkdir()
    Session(Page(path), work, no_variables, no_sql).run()


def no_variables(_has_files: bool) -> Mapping[str, str]:
    """No server: these pages need none."""
    return {}


def no_sql(sql: str) -> None:
    """No database either."""
    raise AssertionError(f"executed {sql}")


def test_a_page_that_is_right_passes(tmp_path: Path) -> None:
    """Files, commands, output, programs in parts, what fails as it is said to."""
    follow(GOOD, tmp_path)


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("Hello you\n$", "Hello me\n$", "the page shows"),
        ('print(greet("you"))', 'print(greet("you"), 1)', "the page shows"),
        ("```sh\nfalse", "```sh\ntrue", "ended with 0, not 1"),
        ("await asyncio.sleep(0)", "await asyncio.sleep()", "page.md"),
        ('print(greet("all"))', 'print("Bye")', "the page shows"),
        ('{"a": 1}', "{'a': 1}", "JSONDecodeError"),
        ("```json", "```xml", "no test runs 'xml'"),
        ("```json", "```", "no test runs"),
        ("```json", "```mermaid", "no diagram"),
        ("```json", "```env", "sets nothing"),
        ("```json\n", "```env\nBEDPLATE_POOL_SIZE=none\n", "BEDPLATE_POOL_SIZE"),
        ("```json\n", "```sql\nSELECT 1;\n", "executed SELECT 1"),
        ("$ pwd", "pwd", "the page shows"),
    ],
)
def test_a_page_that_is_wrong_is_found(tmp_path: Path, right: str, wrong: str, said: str) -> None:
    """A check that accepts anything proves nothing."""
    assert right in GOOD
    with pytest.raises(Exception, match=said.replace(" ", r"\s")):
        follow(GOOD.replace(right, wrong), tmp_path)


@pytest.mark.parametrize(
    ("shown", "seen"),
    [
        (
            "✓ postgres 18.6 ready (1.2 s) 127.0.0.1:5432",
            "✓ postgres 18.6 ready (83 ms) 127.0.0.1:9",
        ),
        ("id 0199c1f0-7c1f-7a3e-8e07-8d4b0f6f2a11", "id 0199ffff-0000-7a3e-8e07-8d4b0f6f2a11"),
        ("a\n…\nz", "a\nb\nc\nz"),
        ("a\n…\nz", "a\nz"),
        ("next   bedplate run", "next bedplate run"),
        ("at 2026-01-01T10:00:00Z", "at 2027-12-31T23:59:59.123Z"),
        ("wrote … first", "wrote /tmp/x; read it first"),
    ],
)
def test_what_differs_from_run_to_run_may(shown: str, seen: str) -> None:
    """Durations, ports, identifiers, times, blanks, and what the page leaves out."""
    assert differences(shown, seen) is None


@pytest.mark.parametrize(
    ("shown", "seen"),
    [
        ("applied 2 revisions", "applied 3 revisions"),
        ("a\nz", "a\nb\nz"),
        ("a\n…\nz", "a\nb"),
        ("a", ""),
        ("", "a"),
        ("postgres 18.6", "postgres 16.4"),
    ],
)
def test_what_does_not_may_not(shown: str, seen: str) -> None:
    """Else a page would go on showing what the last version but one printed."""
    assert differences(shown, seen) is not None


def test_commands_go_on_over_lines(tmp_path: Path) -> None:
    """A long command is cut with a backslash, in both ways of writing."""
    path = tmp_path / "page.md"
    path.write_text("```sh\n# why\na \\\n  b\n```\n\n```console\n$ c \\\nd\ne\n```\n")
    first, second = Page(path).blocks
    assert list(commands(first)) == [("a   b", None)]
    assert list(commands(second)) == [("c d", "e\n")]
