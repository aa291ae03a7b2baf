"""Passwords as bcrypt hashes: made and compared in threads, some at once and no more.

    passwords = Passwords()
    user.hashed_password = await passwords.hash(password)
    if await passwords.matches(password, found.hashed_password if found else None): ...

A hash takes a third of a second of a core, on purpose: threads keep the event loop free, and their
number keeps a storm of logins from taking every core. bcrypt knows 72 bytes and ends at a NUL: a
password beyond that is refused (`PasswordError`, HTTP 422), never cut, else two passwords would
be the same. Who is unknown costs as long as who is known.
"""

import asyncio
import os
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import bcrypt

from bedplate.errors import PasswordError

T = TypeVar("T")

MOST_BYTES = 72
# 2^12 rounds of key setup: bcrypt's own default, and OWASP's advice is at least 2^10.
ROUNDS = 12
# What follows the salt in a hash: 23 bytes in 31 of these characters.
_DIGEST_CHARACTERS = 31
_ALPHABET = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


class Passwords:
    """Hashes of one cost. One for the whole process: what it bounds is the process' threads.

    `rounds` is the cost's exponent, 4 to 31; `at_once` by default half of the machine's cores.
    """

    def __init__(self, *, rounds: int = ROUNDS, at_once: int | None = None) -> None:
        self.rounds = rounds
        # Made once: its cost is that of the hashes, and no password is known for it.
        self._nobodys = _hash_of_nothing(rounds)
        self._threads = ThreadPoolExecutor(
            at_once or max(1, (os.cpu_count() or 2) // 2), thread_name_prefix="bedplate passwords"
        )

    async def hash(self, password: str) -> str:
        """A new salted hash, 60 characters. Raises `PasswordError`."""
        encoded = check_password(password)
        return await self._run(lambda: bcrypt.hashpw(encoded, bcrypt.gensalt(self.rounds)).decode())

    async def matches(self, password: str, hashed: str | None) -> bool:
        """Whether the hash is of this password. None, for who is unknown, takes as long, and no.

        Raises `PasswordError`, whether anybody is known or not.
        """
        encoded = check_password(password)
        compared = (self._nobodys if hashed is None else hashed).encode()
        is_same = await self._run(lambda: bcrypt.checkpw(encoded, compared))
        return is_same and hashed is not None

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def check_password(password: str) -> bytes:
    """The bytes that bcrypt hashes, all of them. Raises `PasswordError`."""
    encoded = password.encode(errors="surrogatepass")
    if len(encoded) > MOST_BYTES:
        raise PasswordError(
            f"The password has {len(encoded)} bytes, and {MOST_BYTES} are the most.",
            hint="Choose a shorter one; letters with accents and symbols count for 2 to 4 bytes.",
        )
    if b"\0" in encoded:
        raise PasswordError("The password contains a NUL character.", hint="Leave it out.")
    return encoded


def _hash_of_nothing(rounds: int) -> str:
    """In the form of a hash: comparing computes one of the same cost, which is another."""
    digest = "".join(secrets.choice(_ALPHABET) for _ in range(_DIGEST_CHARACTERS))
    return bcrypt.gensalt(rounds).decode() + digest
