"""The README's program and commands are run as they stand there, in an empty folder."""

import os
import re
import shlex
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import httpx
import pytest

from tests.integration.delivery.ledger_view import until
from tests.texts import ROOT

README = (ROOT / "README.md").read_text()
SUCCEEDED = "SELECT true FROM bedplate.jobs WHERE task = 'shop.ship' AND state = 'succeeded'"


def block(language: str, after: str) -> str:
    """The first block of a language after a heading."""
    found = re.search(rf"```{language}\n(.*?)```", README.split(after)[1], re.DOTALL)
    assert found is not None
    return found.group(1)


def commands() -> list[list[str]]:
    """The commands of the last block, without their comments."""
    lines = block("sh", "\nThen:").splitlines()
    return [shlex.split(line, comments=True) for line in lines]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The README's two files in an empty folder; the environment to run its commands there."""
    (tmp_path / "shop.py").write_text(block("python", "## A backend in 25 lines"))
    (tmp_path / "pyproject.toml").write_text(block("toml", "`pyproject.toml`:"))
    named = ("DATABASE_URL", "REDIS_URL", "BEDPLATE_STATE_DIR")
    kept = {name: value for name, value in os.environ.items() if not name.endswith(named)}
    variables = kept | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    yield variables | {"PWD": str(tmp_path)}
    subprocess.run(["bedplate", "down"], cwd=tmp_path, env=variables, check=True)


def test_program_is_as_short_as_promised() -> None:
    """25 lines, blank ones aside."""
    program = block("python", "## A backend in 25 lines")
    assert len([line for line in program.splitlines() if line.strip()]) <= 25


async def test_program_and_commands_work_in_an_empty_folder(
    shop: dict[str, str], tmp_path: Path
) -> None:
    """What a newcomer copies must run: an order is placed, and its job ships it."""
    up, new, run = commands()
    for command in (up, new):
        subprocess.run(command, cwd=tmp_path, env=shop, check=True)  # noqa: ASYNC221 - nothing else runs
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    process = subprocess.Popen(  # noqa: ASYNC220 - as above
        [*run, "--port", str(port)], cwd=tmp_path, env=shop, stdout=subprocess.PIPE, text=True
    )
    with process:
        try:
            assert process.stdout is not None
            assert any(line.startswith("everything") for line in process.stdout)
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}/shop") as client:
                answer = await client.post("/orders", params={"item": "tea"})
                assert answer.status_code == 201
            await _assert_shipped(answer.json(), tmp_path, shop)
        finally:
            process.terminate()


async def _assert_shipped(order: str, folder: Path, variables: dict[str, str]) -> None:
    told = subprocess.run(  # noqa: ASYNC221 - nothing else runs
        ["bedplate", "env", "-o", "env"],
        cwd=folder,
        env=variables,
        check=True,
        capture_output=True,
        text=True,
    )
    urls = dict(line.split("=", 1) for line in told.stdout.splitlines())
    connection = await asyncpg.connect(urls["SHOP_DATABASE_URL"].strip("'\""))
    try:

        async def look() -> bool | None:
            return await connection.fetchval(SUCCEEDED) or None

        await until(look, "the job succeeds")
        assert await connection.fetchval("SELECT is_shipped FROM orders WHERE id = $1", order)
    finally:
        await connection.close()


def test_readme_names_targets_that_exist() -> None:
    """The two commands are the Makefile's."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"^make ([a-z-]+)", block("sh", "## Two commands"), re.MULTILINE))
    assert named == {"run", "test"}
    assert named <= targets
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["license"] in README
