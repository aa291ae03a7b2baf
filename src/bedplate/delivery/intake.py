"""The intake: what a worker takes from Redis, namely wake-ups and nothing else.

Anyone who reaches Redis can write into a queue, and kombu trusts what it reads there: an item that
is no JSON ends the whole worker, a hand-made one may carry callbacks, delays and limits. So every
item is read here as a system's name and a job's id; all else is dropped and counted, and Celery
gets a message that was made anew. Installed by `celery.py`, in worker processes only.
"""

import base64
import binascii
import json
import logging
import uuid
from collections import Counter
from typing import Any

from kombu.transport import TRANSPORT_ALIASES
from kombu.transport.redis import Channel, Transport

from bedplate.delivery.broker import RUN_JOB, WakeUp, envelope_of

log = logging.getLogger("bedplate.delivery.intake")

# A wake-up has some 600 characters; what is longer need not be looked into.
LONGEST_BODY = 4096
SCHEMES = ("redis", "rediss")
ORIGIN = "bedplate-intake"

dropped: Counter[str] = Counter()


class IntakeChannel(Channel):
    """kombu's channel, which outlives an item that cannot be read."""

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]  # kombu's
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            drop(type(error).__name__)
            return True


class Intake(Transport):
    """kombu's transport, which delivers wake-ups only."""

    Channel = IntakeChannel

    def _deliver(self, message: Any, queue: str) -> None:
        wake_up = read(message, queue)
        if wake_up is None:
            drop("no wake-up")
        else:
            super()._deliver(envelope_of(wake_up, ORIGIN), queue)  # type: ignore[no-untyped-call]  # kombu's


def install() -> None:
    """Have every kombu connection to Redis of this process use it."""
    for scheme in SCHEMES:
        TRANSPORT_ALIASES[scheme] = f"{Intake.__module__}:{Intake.__qualname__}"


def drop(reason: str) -> None:
    """Count and log an item that is dropped; never its content, which a stranger wrote."""
    dropped[reason] += 1
    log.warning(
        "A message is no wake-up and was dropped",
        extra={"reason": reason, "dropped": dropped.total()},
    )


def read(message: Any, queue: str) -> WakeUp | None:
    """The wake-up in an item of Redis; None when it holds anything else."""
    match message:
        case {"content-type": "application/json", "headers": {"task": task}, "body": str(body)}:
            if task != RUN_JOB or len(body) > LONGEST_BODY:
                return None
            return _read_body(body, queue)
        case _:
            return None


def _read_body(body: str, queue: str) -> WakeUp | None:
    try:
        decoded = json.loads(base64.b64decode(body, validate=True))
        match decoded:
            case [[str(system), str(job_id)], _, _]:
                prefix, _, name = queue.partition(".")
                return WakeUp(system, name, uuid.UUID(job_id)) if prefix == system else None
            case _:
                return None
    except (binascii.Error, ValueError, RecursionError):
        return None
