"""The page that says where things are names what is there; links between pages lead somewhere."""

import re
from pathlib import Path

from tests.docs.pages import ROOT, Page, find_pages

PAGE = Page(ROOT / "docs" / "where-is-it.md")
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#([\w-]+))?\)")
# Written by hand elsewhere, or by others at their time.
ROOMS = {"__pycache__"}


def developers_part() -> str:
    """From the second table on; the first is about a reader's own project."""
    return PAGE.text.split("## For developers of bedplate")[1]


def test_every_path_exists() -> None:
    """A map to what was moved is worse than none."""
    _, _, specified = developers_part().partition("## What the specifications name")
    rooms = developers_part().partition("## What the specifications name")[0]
    named_by = [row.split("|")[1:3] for row in specified.splitlines() if row.startswith("| ")]
    here = [where for what, where in named_by if ":" in what]
    assert {what.partition(":")[0].strip() for what, _ in named_by if ":" in what} == {
        "librilabs",
        "pdf_translator",
        "live_agent",
        "sme",
    }
    named = [each for part in (rooms, *here) for each in re.findall(r"`([^`\s]+)`", part)]
    paths = [each for each in named if "/" in each or each.endswith((".py", ".toml"))]
    assert len(paths) > 60
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_room_is_named() -> None:
    """A new room that nobody finds is a room that is built again."""
    source = ROOT / "src" / "bedplate"
    rooms = {each.name for each in source.iterdir() if each.is_dir()} - ROOMS
    missing = [room for room in rooms if f"`src/bedplate/{room}/`" not in PAGE.text]
    assert missing == []


def test_every_link_leads_somewhere() -> None:
    """Pages move; their readers do not know where to."""
    broken = [
        f"{page.path.relative_to(ROOT)}: {target}"
        for page in find_pages()
        for target, anchor in LINK.findall(page.text)
        if not _leads(page.path, target, anchor)
    ]
    assert broken == []


def test_every_page_is_in_the_index() -> None:
    """What is not listed is not read."""
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    names = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert [name for name in sorted(names) if f"]({name})" not in index] == []


def _leads(page: Path, target: str, anchor: str) -> bool:
    path = page.parent / target
    if not path.exists():
        return False
    if not anchor:
        return True
    titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return anchor in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
