"""The broker: tells Celery's workers, over Redis, that a job is ready. The only user of kombu.

A message carries a system's name and a job's id, nothing else: losing one costs time, a duplicate
finds nothing to claim, a forged one names no job. Called by the relay, after its commit. kombu
finds the server (one Redis, or Sentinel's master) and keeps the connection; what it would make of
each message is made here, in a tenth of the time. It blocks, so one thread of the broker's own
owns it; a batch is one pipeline.
"""

import asyncio
import base64
import json
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import UUID, uuid4

from kombu.connection import Connection
from kombu.exceptions import KombuError
from kombu.transport.redis import Channel

from bedplate.errors import RedisUnreachableError, SettingsError
from bedplate.guard import BROKER_HINT, check
from bedplate.redis_address import RedisAddress
from bedplate.urls import redact

T = TypeVar("T")

# The one Celery task there is; the ledger says which of ours it stands for.
RUN_JOB = "bedplate.run_job"
# Seconds until a silent Redis counts as down: the relay keeps the jobs and comes back.
SOCKET_TIMEOUT_SECONDS = 2.0
# No unacknowledged set in Redis: the ledger knows what was not run, and three round trips a
# message are saved at the worker.
TRANSPORT_OPTIONS = {"ack_emulation": False, "health_check_interval": 10}


@dataclass(frozen=True)
class WakeUp:
    """One message: this job of this system is ready, for whoever consumes this queue."""

    system: str
    queue: str
    job_id: UUID


def queue_name(system: str, queue: str) -> str:
    """The broker's name of a system's queue, which is also the key of its list in Redis."""
    return f"{system}.{queue}"


class Broker:
    """A producer on one Redis. Opens nothing until the first publish; a failed one reconnects."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: Connection | None = None
        self._channel: Channel | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="bedplate-broker")
        self._origin = f"bedplate-relay@{socket.gethostname()}:{os.getpid()}"

    def __repr__(self) -> str:
        return f"Broker({redact(self._url)!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def publish(self, messages: Sequence[WakeUp]) -> None:
        """Send all in one round trip.

        Raises `RedisUnreachableError`: then some may have been sent and some not, which the
        caller may answer by sending all of them again.
        """
        if messages:
            check("publishing a wake-up", BROKER_HINT)
            await self._call(lambda: self._publish(messages))

    async def waiting(self, system: str, queue: str) -> int:
        """How many messages of a queue no worker has taken yet. Raises as `publish` does."""
        return await self._call(lambda: self._waiting(queue_name(system, queue)))

    async def close(self) -> None:
        """Close the connection and end the thread."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._disconnect)
        self._thread.shutdown(wait=False)

    async def _call(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, lambda: self._translated(work)
        )

    # Below: only in the broker's thread.

    def _translated(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except _failures(self._connection) as error:
            self._disconnect()
            raise RedisUnreachableError(
                f"the broker at {redact(self._url)} does not answer: {type(error).__name__}",
                hint="Jobs wait in PostgreSQL and are sent when it is back. Check REDIS_URL.",
            ) from error

    def _publish(self, messages: Sequence[WakeUp]) -> None:
        by_queue: dict[str, list[str]] = {}
        for message in messages:
            name = queue_name(message.system, message.queue)
            by_queue.setdefault(name, []).append(json.dumps(envelope_of(message, self._origin)))
        with self._connect().conn_or_acquire() as client:
            pipeline = client.pipeline(transaction=False)
            for name, envelopes in by_queue.items():
                pipeline.lpush(name, *envelopes)
            pipeline.execute()

    def _waiting(self, name: str) -> int:
        with self._connect().conn_or_acquire() as client:
            return int(client.llen(name))

    def _connect(self) -> Channel:
        if self._channel is None:
            self._connection = Connection(
                kombu_url(self._url),
                ssl=tls_options(self._url) or False,
                connect_timeout=SOCKET_TIMEOUT_SECONDS,
                transport_options={
                    **transport_options(self._url),
                    "socket_timeout": SOCKET_TIMEOUT_SECONDS,
                    "socket_connect_timeout": SOCKET_TIMEOUT_SECONDS,
                },
            )
            self._channel = self._connection.channel()
        return self._channel

    def _disconnect(self) -> None:
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            connection.collect()


def envelope_of(message: WakeUp, origin: str) -> dict[str, Any]:
    """The item of the queue's list in Redis, as kombu's transport writes and reads it."""
    return {
        "body": base64.b64encode(body_of(message).encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": headers_of(message, origin),
        "properties": {
            "body_encoding": "base64",
            "correlation_id": str(message.job_id),
            "delivery_info": {
                "exchange": "",
                "routing_key": queue_name(message.system, message.queue),
            },
            "delivery_mode": 2,
            "delivery_tag": str(uuid4()),
            "priority": 0,
        },
    }


def headers_of(message: WakeUp, origin: str) -> dict[str, Any]:
    """What Celery's protocol 2 asks for; nothing of the job but its id."""
    job_id = str(message.job_id)
    return {
        "lang": "py",
        "task": RUN_JOB,
        "id": job_id,
        "root_id": job_id,
        "parent_id": None,
        "group": None,
        "retries": 0,
        "eta": None,
        "expires": None,
        "timelimit": [None, None],
        "argsrepr": f"({message.system}, {job_id})",
        "kwargsrepr": "{}",
        "origin": origin,
        "ignore_result": True,
    }


def body_of(message: WakeUp) -> str:
    """The Celery task's arguments, as its protocol 2 has them."""
    embedded = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    return json.dumps([[message.system, str(message.job_id)], {}, embedded])


def kombu_url(url: str) -> str:
    """A Redis URL as kombu writes it: it has forms of its own for sockets and for Sentinel.

    What it says of certificates is left to `tls_options`. Raises `SettingsError` for a cluster,
    which kombu does not know.
    """
    address = RedisAddress.parse(url)
    if address.kind == "cluster":
        raise SettingsError(
            "REDIS_URL is a cluster, and Celery knows none",
            hint="Run `bedplate worker --direct`, which takes jobs from PostgreSQL itself.",
            variable="REDIS_URL",
        )
    if address.kind == "sentinel":
        urls = [address.url_of(*host, scheme="sentinel") for host in address.hosts]
        return ";".join(each.partition("?")[0] for each in urls)
    if url.startswith("rediss://"):
        parts = urlsplit(url)
        kept = [each for each in parse_qsl(parts.query) if not each[0].startswith("ssl_")]
        return parts._replace(query=urlencode(kept)).geturl()
    if not url.startswith("unix://"):
        return url
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    query["virtual_host"] = query.pop("db", "0")
    return f"redis+socket://{parts.netloc}{parts.path}?{urlencode(query)}"


def transport_options(url: str) -> dict[str, Any]:
    """What kombu's transport is told, besides the URL."""
    address = RedisAddress.parse(url)
    if address.kind != "sentinel":
        return dict(TRANSPORT_OPTIONS)
    user, password = address.sentinel_credentials
    return {
        **TRANSPORT_OPTIONS,
        "master_name": address.master,
        "sentinel_kwargs": {
            "username": user,
            "password": password,
            "ssl": address.is_tls,
            "socket_timeout": SOCKET_TIMEOUT_SECONDS,
            "socket_connect_timeout": SOCKET_TIMEOUT_SECONDS,
        },
    }


def tls_options(url: str) -> dict[str, Any] | None:
    """For rediss:// the server's certificate is checked; left alone, kombu checks none.

    Unless the URL says otherwise, as for redis-py: `ssl_cert_reqs=none`, `ssl_ca_certs=FILE`.
    """
    if not url.startswith("rediss"):
        return None
    given = dict(parse_qsl(urlsplit(url).query))
    options: dict[str, Any] = {"ssl_cert_reqs": _CHECKS[given.get("ssl_cert_reqs", "required")]}
    for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
        if name in given:
            options[name] = given[name]
    if given.get("ssl_check_hostname", "true").lower() in ("false", "0", "no"):
        options["ssl_check_hostname"] = False
    return options


_CHECKS = {
    "required": ssl.CERT_REQUIRED,
    "optional": ssl.CERT_OPTIONAL,
    "none": ssl.CERT_NONE,
}


def _failures(connection: Connection | None) -> tuple[type[BaseException], ...]:
    """What counts as the broker being away: kombu's own errors, the system's, redis-py's."""
    transport = () if connection is None else tuple(connection.connection_errors)
    return (KombuError, OSError, *transport)
