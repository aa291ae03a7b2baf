"""Passwords as bcrypt hashes: whole or refused, bounded, and as slow for who is unknown."""

import asyncio
import threading
import time
from statistics import median
from typing import Any

import bcrypt
import pytest

from bedplate.accounts.passwords import Passwords
from bedplate.errors import PasswordError

ROUNDS = 4


@pytest.fixture
def passwords() -> Passwords:
    """Cheap ones."""
    return Passwords(rounds=ROUNDS)


async def test_a_hash_is_salted_and_matches_its_password_alone(passwords: Passwords) -> None:
    """Two users of one password have two hashes, and bcrypt itself knows both."""
    first, second = [await passwords.hash("correct horse") for _ in range(2)]
    assert first != second
    assert first.startswith("$2b$04$")
    assert len(first) == 60
    assert bcrypt.checkpw(b"correct horse", first.encode())
    assert await passwords.matches("correct horse", second)
    assert not await passwords.matches("correct horsf", second)


@pytest.mark.parametrize("password", ["x" * 73, "ä" * 37, "a\0b", "\0"])
async def test_what_bcrypt_would_cut_is_refused(passwords: Passwords, password: str) -> None:
    """Two passwords that differ in byte 73, or behind a NUL, would be one."""
    hashed = await passwords.hash("x" * 72)
    for refused in (
        passwords.hash(password),
        passwords.matches(password, hashed),
        passwords.matches(password, None),
    ):
        with pytest.raises(PasswordError) as caught:
            await refused
        assert password not in f"{caught.value} {caught.value.hint}"


async def test_a_password_may_be_any_72_bytes(passwords: Passwords) -> None:
    """Letters of any script, counted in UTF-8."""
    for password in ("x" * 72, "ä" * 36, "密码" * 12, "\ud800 lone"):
        assert await passwords.matches(password, await passwords.hash(password))


async def test_who_is_unknown_never_matches(passwords: Passwords) -> None:
    """Whatever the password."""
    for password in ("", "correct horse"):
        assert not await passwords.matches(password, None)


async def test_who_is_unknown_takes_as_long_as_who_is_known() -> None:
    """Else a stopwatch tells who has an account: the work is the same, and so is the time."""
    passwords = Passwords(rounds=8, at_once=1)
    hashed = await passwords.hash("correct horse")
    known: list[float] = []
    unknown: list[float] = []
    for _ in range(25):
        for target, times in ((hashed, known), (None, unknown)):
            await passwords.matches("wrong", target)
            times.append(await _cpu_of_worker(passwords))
    # CPU time of the worker's thread: the machine's other work does not count.
    first, second = _steps(known, unknown)
    assert 0.8 < first / second < 1.25


async def test_the_event_loop_stays_free_and_the_threads_are_bounded() -> None:
    """A storm of logins must hold up neither other requests nor every core."""
    passwords = Passwords(rounds=8, at_once=2)
    before = threading.active_count()
    storm = asyncio.gather(*(passwords.hash("correct horse") for _ in range(12)))
    ticks = 0
    while not storm.done():
        ticks += 1
        assert threading.active_count() <= before + 2
        await asyncio.sleep(0)
    assert len(set(await storm)) == 12
    assert ticks > 12


async def _cpu_of_worker(passwords: Passwords) -> float:
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(passwords._threads, time.thread_time)


def _steps(*series: list[float]) -> list[float]:
    """The median step of each of two alternating series of readings."""
    merged = [each for pair in zip(*series, strict=True) for each in pair]
    steps: list[list[Any]] = [[], []]
    for index in range(1, len(merged)):
        steps[index % 2].append(merged[index] - merged[index - 1])
    return [median(each) for each in steps]
