"""Whether what is seen is what a page shows: line by line, loosely where no two runs are alike.

A line `…` on the page stands for any number of lines, `…` within a line for any text. Durations,
sizes, ports, times, identifiers and the number of blanks may differ; everything else may not.
"""

import re

# What a page shows once and no second run repeats, and what stands for it.
VARYING = (
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", r"[0-9a-f-]{36}"),
    (
        r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?)?",
        r"[\dTZ:. +-]+",
    ),
    (r"(?<=127\.0\.0\.1:)\d+", r"\d+"),
    (r"\d+(?:\.\d+)?(?= ?(?:ms|s|MB|kB|KB|GB|%)\b)", r"\d+(?:\.\d+)?"),
    (r"(?<=\d )(?:ms|s)\b", r"(?:ms|s)"),
    (r"\b(?:pid )\d+", r"pid \d+"),
    (r"…|\.\.\.", r".*"),
)
ANY = {"…", "..."}
TOKENS = re.compile("|".join(f"({pattern})" for pattern, _ in VARYING))
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def differences(shown: str, seen: str) -> str | None:
    """Why what is seen is not what is shown; None when it is."""
    wanted, lines = _lines(shown), _lines(seen)
    patterns = [None if line in ANY else re.compile(_pattern(line)) for line in wanted]
    if _matches(patterns, lines):
        return None
    return "\n".join(["the page shows:", *wanted, "", "seen was:", *lines])


def _matches(patterns: list[re.Pattern[str] | None], lines: list[str]) -> bool:
    """Whether all lines are spoken for; `None` takes any number of them."""
    reached = {0}
    for pattern in patterns:
        if pattern is None:
            reached = set(range(min(reached), len(lines) + 1))
        else:
            reached = {at + 1 for at in reached if at < len(lines) and pattern.fullmatch(lines[at])}
        if not reached:
            return False
    return len(lines) in reached


def _lines(text: str) -> list[str]:
    plain = (ESCAPES.sub("", line).rstrip() for line in text.splitlines())
    return [line for line in plain if line]


def _pattern(line: str) -> str:
    parts, at = [], 0
    for found in TOKENS.finditer(line):
        parts += [_escape(line[at : found.start()]), VARYING[(found.lastindex or 1) - 1][1]]
        at = found.end()
    return "".join([*parts, _escape(line[at:])])


def _escape(text: str) -> str:
    return re.sub(r"(?:\\ )+", r"\\s+", re.escape(text))
