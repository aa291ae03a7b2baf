"""The cache's names in Redis: system, tenant and format in front, the server's incarnation behind.

A name is bounded and printable whatever key a caller makes out of user text, and two keys never
have one name. What stands in braces is the hash tag: an entry's two keys lie in one slot of a
cluster. The incarnation (see `link.py`) differs after every restart and failover, so that what a
server brings back from an old disk is never read.
"""

import hashlib
import re
from dataclasses import dataclass
from urllib.parse import quote

# Counts up when entries are written in another form.
FORMAT = 1
LONGEST = 200
PLAIN = re.compile(r"[A-Za-z0-9_./:@=,+-]{1,200}")


@dataclass(frozen=True, slots=True)
class Keyspace:
    """Names for one system."""

    system: str

    def entry(self, tenant: str | None, bounded_key: str) -> str:
        """The name of an entry, without the incarnation."""
        return f"bp{FORMAT}:{self.system}:k:{{{_part(tenant)}:{bounded_key}}}"

    def tag(self, tenant: str | None, bounded_tag: str) -> str:
        """The name of a tag, without the incarnation."""
        return f"bp{FORMAT}:{self.system}:t:{{{_part(tenant)}:{bounded_tag}}}"


def bounded(key: str) -> str:
    """A key or tag in 200 printable ASCII characters at most. Raises `ValueError` when empty."""
    if PLAIN.fullmatch(key):
        return key
    if not key:
        raise ValueError("a cache key must not be empty")
    # Surrogates come from broken user text; they have no UTF-8 of their own.
    raw = key.encode("utf-8", "surrogatepass")
    quoted = quote(raw, safe="/:@=,+")
    if len(quoted) <= LONGEST:
        return quoted
    # quote() leaves no "#", so no key can be written that equals another's digest.
    return f"{quoted[:64]}#{hashlib.sha256(raw).hexdigest()}"


def value_key(name: str, incarnation: str) -> str:
    """Where an entry's value is, or a tag's version."""
    return f"{name}:{incarnation}"


def state_key(name: str, incarnation: str) -> str:
    """Where an entry's lease and floor are."""
    return f"{name}:{incarnation}:s"


def name_of(redis_key: str) -> str:
    """Back from `value_key`."""
    return redis_key.rpartition(":")[0]


def _part(tenant: str | None) -> str:
    return "" if tenant is None else quote(tenant, safe="")
