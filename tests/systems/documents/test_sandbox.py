"""Files that were made to hurt, and files that merely are broken: a clear word, and no more."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from systems.documents.limits import PdfLimits, PdfRefusedError, Reason
from systems.documents.sandbox import READER, read_pages
from tests.systems.documents import samples
from tests.systems.documents.bad_files import BAD, LIMITS
from tests.texts import ROOT


def readers() -> list[psutil.Process]:
    """The processes that read a PDF now, of this test alone."""
    return [each for each in psutil.Process().children() if READER in each.cmdline()]


@pytest.mark.parametrize(
    ("make", "reason"), BAD, ids=lambda value: getattr(value, "__name__", value)
)
async def test_a_bad_file_is_refused_with_its_reason(
    tmp_path: Path, make: Callable[[Path], object], reason: Reason
) -> None:
    """The reader gets a sentence, the worker lives, and no process is left."""
    make(tmp_path / "bad.pdf")
    with pytest.raises(PdfRefusedError) as refused:
        async for _ in read_pages(tmp_path / "bad.pdf", LIMITS):
            pass
    assert refused.value.reason is reason
    assert not readers()


async def test_a_file_of_too_many_bytes_is_not_even_opened(tmp_path: Path) -> None:
    """Size is asked of the file system."""
    path = samples.drawn(tmp_path / "table.pdf", samples.table)
    with pytest.raises(PdfRefusedError) as refused:
        async for _ in read_pages(path, PdfLimits(size_bytes=100)):
            pass
    assert refused.value.reason is Reason.TOO_LARGE


async def test_pages_come_one_by_one(tmp_path: Path) -> None:
    """Each with its number, how many there are, and its blocks."""
    source = samples.drawn(tmp_path / "table.pdf", samples.table)
    pages = [page async for page in read_pages(source)]
    assert [(page.number, page.of) for page in pages] == [(0, 1)]
    assert pages[0].blocks[5].text == "programs"
    assert not pages[0].blocks[5].is_wordless


async def test_a_caller_who_goes_away_leaves_no_process(tmp_path: Path, data_folder: Path) -> None:
    """A cancelled job must not leave its child reading."""
    pages = read_pages(data_folder / "fhs-3.0.pdf")
    await anext(pages)
    assert readers()
    await pages.aclose()
    assert not readers()


async def test_a_child_that_is_killed_ends_in_a_refusal(data_folder: Path) -> None:
    """By the kernel when memory runs out, for instance."""
    pages = read_pages(data_folder / "fhs-3.0.pdf")
    await anext(pages)
    (child,) = readers()
    child.send_signal(signal.SIGKILL)
    with pytest.raises(PdfRefusedError) as refused:
        async for _ in pages:
            pass
    assert refused.value.reason is Reason.TOO_SLOW


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path

import psutil

from systems.documents.sandbox import read_pages

async def main():
    async for _ in read_pages(Path(sys.argv[1])):
        (child,) = psutil.Process().children()
        print(child.pid, flush=True)
        child.suspend()
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels tell no child of its parent")
def test_a_worker_that_is_killed_takes_its_child_along(data_folder: Path) -> None:
    """Else a file that was made to hurt would go on hurting, up to its limits."""
    worker = subprocess.run(
        [sys.executable, "-c", KILLED, str(data_folder / "fhs-3.0.pdf")],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert worker.returncode == -signal.SIGKILL
    left = [psutil.Process(pid) for pid in psutil.pids() if pid == int(worker.stdout)]
    _, alive = psutil.wait_procs(left, timeout=20)
    for each in alive:
        each.kill()
    assert alive == []


async def test_the_child_knows_no_variable_of_ours(
    tmp_path: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever takes it over by a hostile file finds no secret, and may not grow or write much."""
    monkeypatch.setenv("BEDPLATE_SECRET_KEY", "canary")
    pages = read_pages(data_folder / "fhs-3.0.pdf")
    await anext(pages)
    (child,) = readers()
    assert "canary" not in "".join(child.environ().values())
    if hasattr(child, "rlimit"):
        assert child.rlimit(resource.RLIMIT_CORE) == (0, 0)
        assert child.rlimit(resource.RLIMIT_AS)[1] == PdfLimits().memory_bytes
    await pages.aclose()
