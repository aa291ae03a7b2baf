"""The page of jobs shows the states as the table's own file says them.

Write it anew with: python -m tests.docs.test_jobs
"""

from pathlib import Path
from textwrap import dedent

from bedplate.jobs import table
from bedplate.jobs.table import JobState

PAGE = Path(__file__).parents[2] / "docs" / "jobs.md"
MARK = "<!-- made by `python -m tests.docs.test_jobs` from the table's own words -->\n"


def states() -> str:
    """The drawing of the states, which stands where the CHECKs are."""
    words = str(table.__doc__)
    begin, end = words.index("    state      lease"), words.index("\n\nThe ledger")
    return dedent(words[begin:end]).strip()


def render(page: str) -> str:
    """The page with its made part."""
    return f"{page.split(MARK)[0]}{MARK}\n```text\n{states()}\n```\n"


def test_the_page_shows_every_state_as_the_table_says_it() -> None:
    """A state that the page does not know is looked for in vain."""
    page = PAGE.read_text(encoding="utf-8")
    assert page == render(page)
    assert {line.split()[0] for line in states().splitlines()[1:7]} == {*map(str, JobState)}


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
