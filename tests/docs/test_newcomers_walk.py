"""A newcomer types what the tutorial says: an empty folder, a fresh environment, no tools of ours.

Run by `make walk`; it installs bedplate from this folder as `pip` does, which takes pip's cache or
the network.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, Page
from tests.docs.session import Session

TUTORIAL = ROOT / "docs" / "tutorial.md"
# What a clone has that an installation needs.
CLONED = ("src", "pyproject.toml", "README.md", "LICENSE", "constraints.txt")
IGNORED = shutil.ignore_patterns("*.egg-info", "__pycache__")


@pytest.mark.timeout(900)
@pytest.mark.skipif(not os.environ.get("WALK"), reason="`make walk` runs it")
def test_a_newcomer_gets_through_the_tutorial(tmp_path: Path) -> None:
    """Whoever follows it has nothing but what it says."""
    clone = tmp_path / "walk" / "bedplate"
    clone.mkdir(parents=True)
    for name in CLONED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, clone / name, ignore=IGNORED)
        else:
            shutil.copy(source, clone / name)
    Session(Page(TUTORIAL), clone.parent, _none, _refuse, tools=None).run()


def _none(_has_files: bool) -> Mapping[str, str]:
    return {}


def _refuse(sql: str) -> None:
    pytest.fail(f"the tutorial executes {sql}")
