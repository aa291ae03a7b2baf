"""The guard: notices a call that goes round the open transaction, and names the line that makes it.

A task sent to Celery, a key deleted in Redis, an object put into S3 or a commit by hand takes
effect at once, whatever becomes of the transaction around it: that is what the unit of work is
for. Within one such a call raises `TransactionBypassedError`; in production it is counted, and
logged once a line. Reading is allowed, and what is meant so:

    with outside_transaction("rate limits count failed requests, too"):
        await redis.incr(key)

BEDPLATE_GUARD says which of raise, log and off. Clients of the layer ask it; `guard_watch.py` has
other clients ask it, too.
"""

import logging
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from bedplate import current
from bedplate.errors import TransactionBypassedError

log = logging.getLogger("bedplate.guard")

Mode = Literal["raise", "log", "off"]

# Lines that are told apart; those of generated code could be without end.
MOST_LINES = 1000

# What changes nothing. All else counts as a change, such as scripts and commands of modules.
_READS = """
ACL AUTH BITCOUNT BITFIELD_RO BITPOS CLIENT CLUSTER COMMAND CONFIG DBSIZE DISCARD DUMP ECHO
EVALSHA_RO EVAL_RO EXEC EXISTS EXPIRETIME FCALL_RO GEODIST GEOHASH GEOPOS GEORADIUS_RO GEOSEARCH
GET GETBIT GETRANGE HELLO HEXISTS HGET HGETALL HKEYS HLEN HMGET HRANDFIELD HSCAN HSTRLEN HVALS
INFO KEYS LASTSAVE LATENCY LCS LINDEX LLEN LOLWUT LPOS LRANGE MEMORY MGET MODULE MONITOR MULTI
OBJECT PEXPIRETIME PFCOUNT PING PSUBSCRIBE PTTL PUBSUB PUNSUBSCRIBE QUIT RANDOMKEY READONLY
READWRITE ROLE SCAN SCARD SCRIPT SDIFF SELECT SENTINEL SINTER SINTERCARD SISMEMBER SLOWLOG
SMEMBERS SMISMEMBER SORT_RO SRANDMEMBER SSCAN SSUBSCRIBE STRLEN SUBSCRIBE SUBSTR SUNION
SUNSUBSCRIBE TIME TTL TYPE UNSUBSCRIBE UNWATCH WAIT WATCH XINFO XLEN XPENDING XRANGE XREAD
XREVRANGE ZCARD ZCOUNT ZDIFF ZINTER ZINTERCARD ZLEXCOUNT ZMSCORE ZRANDMEMBER ZRANGE ZRANGEBYLEX
ZRANGEBYSCORE ZRANK ZREVRANGE ZREVRANGEBYLEX ZREVRANGEBYSCORE ZREVRANK ZSCAN ZSCORE ZUNION
"""
REDIS_READS = frozenset(_READS.split())

REDIS_HINT = "Use uow.invalidate(key), which the cache is told after the commit"
S3_HINT = "Use uow.store_file(…) and uow.delete_file(…), which commit with the rows"
BROKER_HINT = "Use uow.enqueue(task, …), which sends nothing before the commit"
SESSION_HINT = "The end of the block commits; uow.mark_rollback(…) or an exception rolls back"

_is_outside: ContextVar[bool] = ContextVar("bedplate_outside_transaction", default=False)

# How often each line went round a transaction in this process: file, line, call.
bypasses: Counter[tuple[str, int, str]] = Counter()


@contextmanager
def outside_transaction(reason: str) -> Iterator[None]:
    """Calls that are meant to take effect whatever becomes of the transaction around them.

    The reason is for whoever reads the code. Raises `ValueError` when it is empty.
    """
    if not reason.strip():
        raise ValueError("outside_transaction needs a reason")
    token = _is_outside.set(True)
    try:
        yield
    finally:
        _is_outside.reset(token)


def check(call: str, hint: str) -> None:
    """A call takes effect at once. Raises `TransactionBypassedError` inside a transaction."""
    unit_of_work = current.surrounding()
    if unit_of_work is not None:
        report(call, hint, unit_of_work.guard)


def check_redis(command: Sequence[object]) -> None:
    """The same for a command of Redis, if it changes anything."""
    if current.surrounding() is None:
        return
    name = _command_name(command)
    if name.split()[0] not in REDIS_READS:
        check(f"Redis {name}", REDIS_HINT)


def check_redis_pipeline(pipeline: Any) -> None:
    """The same for each command that a pipeline of redis-py is about to send."""
    if current.surrounding() is not None:
        for command, _ in pipeline.command_stack:
            check_redis(command)


def report(call: str, hint: str, mode: Mode) -> None:
    """Raise, or count and log, a call that goes round a transaction, unless it is meant so."""
    if mode == "off" or _is_outside.get():
        return
    file, line = _caller()
    if mode == "raise":
        raise TransactionBypassedError(
            f"{file}:{line}: {call} goes round the open transaction",
            hint=f"{hint}; or write `with outside_transaction(reason):` around what is meant so.",
            call=call,
            file=file,
            line=line,
        )
    where = (file, line, call)
    if where not in bypasses and len(bypasses) >= MOST_LINES:
        where = ("", 0, "others")
    bypasses[where] += 1
    if bypasses[where] == 1:
        log.warning(
            "A call goes round the open transaction",
            extra={"call": call, "file": file, "line": line},
        )


def _command_name(command: Sequence[object]) -> str:
    first = command[0] if command else ""
    name = first.decode("latin-1") if isinstance(first, bytes) else str(first)
    return name.upper() or "?"


def _caller() -> tuple[str, int]:
    """The innermost line that is neither ours nor a library's: of the application."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the only way to the callers
    fallback = ("an unknown line", 0)
    while frame is not None:
        file = frame.f_code.co_filename
        if _is_of_application(file):
            return file, frame.f_lineno
        frame = frame.f_back
    return fallback


@cache
def _is_of_application(file: str) -> bool:
    return not file.startswith("<") and not file.startswith(_foreign_folders())


@cache
def _foreign_folders() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    found = [paths[name] for name in names if name in paths]
    # A virtual environment has its own library, and the interpreter's beside it.
    found += [str(Path(path).resolve()) for path in found]
    found += [str(Path(logging.__file__).parents[1]), str(Path(__file__).parent)]
    return tuple(f"{path}/" for path in dict.fromkeys(found))
