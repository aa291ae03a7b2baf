"""How many lines are the layer's, and how many are left over to each system: `make lines`.

Of Python alone, without tests. Code is a line that has more on it than a comment, a blank or a
docstring; migrations, which are written once and frozen, have a column of their own.
"""

import ast
import io
import sys
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LAYER = ROOT / "src" / "bedplate"
SYSTEMS = ROOT / "systems"
WITHOUT = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)


@dataclass(frozen=True)
class Count:
    """One row of the table."""

    name: str
    files: int
    lines: int
    code: int
    migrations: int


def count(name: str, paths: Sequence[Path]) -> Count:
    """All of these files as one row."""
    own = [path.read_text() for path in paths if "versions" not in path.parts]
    frozen = [path.read_text() for path in paths if "versions" in path.parts]
    return Count(
        name,
        len(own),
        sum(len(text.splitlines()) for text in own),
        sum(map(code_lines, own)),
        sum(map(code_lines, frozen)),
    )


def code_lines(text: str) -> int:
    """Lines with code on them."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    found = {
        line
        for token in tokens
        if token.type not in WITHOUT and token.string
        for line in range(token.start[0], token.end[0] + 1)
    }
    return len(found - set(_docstring_lines(ast.parse(text))))


def _docstring_lines(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        if isinstance(node, kinds) and ast.get_docstring(node) is not None:
            yield from range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)


def counts() -> list[Count]:
    """The layer, then what stands on it."""
    folders = sorted(path.parent for path in SYSTEMS.glob("*/__init__.py"))
    rows = [count("bedplate", sorted(LAYER.rglob("*.py")))]
    return rows + [count(f"systems/{each.name}", sorted(each.rglob("*.py"))) for each in folders]


def main() -> int:
    """Print the table."""
    say = sys.stdout.write
    say(f"{'':24}{'files':>8}{'lines':>8}{'code':>8}{'migrations':>12}\n")
    for row in counts():
        say(f"{row.name:24}{row.files:8}{row.lines:8}{row.code:8}{row.migrations:12}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
