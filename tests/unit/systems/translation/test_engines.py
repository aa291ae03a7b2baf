"""Engines that need no installation, and how Apertium's program is treated."""

import os
import stat
from datetime import timedelta
from pathlib import Path

import pytest

from systems.translation.apertium import Apertium
from systems.translation.choice import create_engine
from systems.translation.engines import EngineError, EngineMissingError, PairUnavailableError

# Stands in for the program: lists one pair, and with it turns text into capitals.
PROGRAM = """#!/bin/sh
if [ "$1" = "-l" ]; then echo "  eng-spa"; exit 0; fi
echo "$@" >> "$0.calls"
tr a-z A-Z
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return _write(tmp_path / "apertium", PROGRAM)


async def test_none_leaves_the_text_and_says_so() -> None:
    """Nothing pretends to translate."""
    engine = create_engine("none", timedelta(seconds=1))

    await engine.check_pair("en", "es")
    assert await engine.translate("A text.", "en", "es") == "A text."
    assert engine.name == "none"
    assert engine.note is not None
    assert "unchanged" in engine.note


def test_the_configuration_chooses_the_engine() -> None:
    """An engine is exchanged by a setting, not by code."""
    engine = create_engine("apertium", timedelta(seconds=7))

    assert isinstance(engine, Apertium)
    assert engine.timeout == timedelta(seconds=7)


async def test_the_program_is_started_once_for_a_chunk(program: Path) -> None:
    """Its start takes 0.2 s, and `-u` keeps asterisks out of the text."""
    engine = Apertium(str(program))
    await engine.check_pair("en", "es")

    assert await engine.translate("\n  one\ntwo \n\n", "en", "es") == "\n  ONE\nTWO \n\n"
    calls = program.with_name("apertium.calls").read_text().splitlines()
    assert calls == ["-f txt -u eng-spa"]


async def test_an_empty_answer_is_no_translation(tmp_path: Path) -> None:
    """A chunk that became nothing would be stored as done."""
    silent = _write(
        tmp_path / "apertium", """#!/bin/sh\n[ "$1" = "-l" ] && echo eng-spa; exit 0\n"""
    )
    with pytest.raises(EngineError, match="nothing"):
        await Apertium(str(silent)).translate("one", "en", "es")


async def test_white_space_alone_starts_no_program(program: Path) -> None:
    """There is nothing to translate in it."""
    assert await Apertium(str(program)).translate(" \n\n", "en", "es") == " \n\n"
    assert not program.with_name("apertium.calls").exists()


async def test_a_missing_pair_is_named_with_those_that_are_there(program: Path) -> None:
    """The reader learns before a job is made, and what could be asked for instead."""
    with pytest.raises(PairUnavailableError, match="en to de; installed pairs: eng-spa"):
        await Apertium(str(program)).check_pair("en", "de")


async def test_a_missing_program_says_how_to_install_it(tmp_path: Path) -> None:
    """A machine without Apertium must not look like a broken one."""
    with pytest.raises(EngineMissingError, match="apt-get install apertium"):
        await Apertium(str(tmp_path / "absent")).check_pair("en", "es")


async def test_a_program_that_fails_says_why(tmp_path: Path) -> None:
    """The reason stands in the program's own words."""
    failing = _write(tmp_path / "apertium", PROGRAM.replace("tr a-z A-Z", "echo bad >&2; exit 3"))

    with pytest.raises(EngineError, match="ended with 3: bad"):
        await Apertium(str(failing)).translate("text", "en", "es")


async def test_a_program_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    """Apertium is a shell over a pipeline: killing the shell alone leaves the pipeline behind."""
    hanging = _write(
        tmp_path / "apertium",
        PROGRAM.replace("tr a-z A-Z", 'sleep 600 & echo $! > "$0.child"; wait'),
    )
    engine = Apertium(str(hanging), timeout=timedelta(seconds=0.5))

    with pytest.raises(EngineError, match=r"did not end within 0\.5 s"):
        await engine.translate("text", "en", "es")
    child = int((tmp_path / "apertium.child").read_text())
    assert _is_gone(child)


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(stat.S_IRWXU)
    return path


def _is_gone(pid: int) -> bool:
    """Gone, or a zombie that nobody has collected yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True
    except OSError:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        return False
