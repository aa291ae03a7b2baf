"""Objects: put and get of 10 kB and 10 MB, 16 at once, by four clients in one run.

    python -m benchmarks.objects [--rounds 3]

On an S3 of its own in a temporary folder, or the one that S3_ENDPOINT_URL names. Ours counts size
and SHA-256 of what it puts and compares what it gets; obstore bare and boto3 in threads do
neither. Raw HTTP is sockets and links that were signed beforehand: the limit. The clients take
turns within a round, the median round counts; the machine is noisy, so read the ratios.
"""

import argparse
import asyncio
import hashlib
import os
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import obstore

from bedplate.files.bucket import Bucket
from bedplate.files.clients import client_of, make_store
from bedplate.files.object_store import ObjectStore
from bedplate.files.source import Measured
from bedplate.project import Project
from bedplate.servers import client
from bedplate.servers.stack import StackOptions
from bedplate.settings import Settings

AT_ONCE = 16
SIZES = {"10 kB": (10_000, 400), "10 MB": (10_000_000, 32)}
TYPE = "application/octet-stream"


@dataclass(frozen=True)
class Contender:
    """One way to put and get a key, and what it must do before, unmeasured."""

    put: Callable[[bytes, str], Awaitable[None]]
    get: Callable[[str], Awaitable[int]]
    prepare: Callable[[list[str]], None] = lambda _keys: None


def main() -> int:
    """Measure, print the table and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    with servers() as bucket:
        for label, (size_bytes, count) in SIZES.items():
            asyncio.run(measure(bucket, label, os.urandom(size_bytes), count, rounds))
    return 0


@contextmanager
def servers() -> Iterator[Bucket]:
    """The bucket that variables name, or one of an embedded S3 for the time of the block."""
    if "S3_ENDPOINT_URL" in os.environ:
        yield Bucket.from_settings(Settings.load())
        return
    with tempfile.TemporaryDirectory(prefix="bedplate-bench-") as folder:
        project = replace(Project.find({}, Path.cwd()), state=Path(folder))
        options = StackOptions(has_postgres=False, has_valkey=False, has_files=True)
        with client.attach(project, options) as stack:
            variables = stack.state.environment(project.systems[:1])
            yield Bucket.from_settings(Settings.load(project.systems[0].name, variables))


async def measure(bucket: Bucket, label: str, data: bytes, count: int, rounds: int) -> None:
    """One size: every contender puts and gets as many objects, `rounds` times."""
    times: dict[tuple[str, str], list[float]] = {}
    async with contenders(bucket, data) as found:
        for turn in range(rounds + 1):
            for name, contender in found.items():
                keys = [f"librilabs/bench/{uuid.uuid4().hex}" for _ in range(count)]
                contender.prepare(keys)
                put = await timed(keys, partial(contender.put, data))
                get = await timed(keys, contender.get)
                await ObjectStore(bucket).delete(keys)
                # The first round makes connections and volumes.
                if turn:
                    times.setdefault((name, "put"), []).append(put)
                    times.setdefault((name, "get"), []).append(get)
    limit = {verb: statistics.median(times["raw HTTP", verb]) for verb in ("put", "get")}
    for (name, verb), took in times.items():
        median = statistics.median(took)
        rate = count / median
        print(
            f"{label} {verb} {name:<17} {rate:8.0f} ops/s {rate * len(data) / 1e6:7.0f} MB/s"
            f"  {limit[verb] / median:5.2f} x raw HTTP"
        )


async def timed(keys: list[str], act: Callable[[str], Awaitable[Any]]) -> float:
    """How long it takes for all keys, `AT_ONCE` at a time."""
    waiting = iter(keys)

    async def work() -> None:
        for key in waiting:
            await act(key)

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return time.perf_counter() - began


@asynccontextmanager
async def contenders(bucket: Bucket, data: bytes) -> AsyncIterator[dict[str, Contender]]:
    """Every client, connected when first used."""
    with ThreadPoolExecutor(AT_ONCE) as threads:
        raw = RawHttp(bucket)
        yield {
            "raw HTTP": Contender(raw.put, raw.get, raw.sign),
            "obstore bare": bare_obstore(bucket),
            "ours": ours(bucket, hashlib.sha256(data).digest()),
            "boto3 in threads": threaded_boto(bucket, threads),
        }
        raw.close()


def ours(bucket: Bucket, expected: bytes) -> Contender:
    """The data path of `store_file` and of a download, without their rows."""
    objects = ObjectStore(bucket)

    async def put(data: bytes, key: str) -> None:
        measured = Measured(data)
        await objects.put_stream(key, aiter(measured), TYPE)
        assert measured.sha256 == expected

    async def get(key: str) -> int:
        measured = Measured(objects.stream(key))
        async for _ in measured:
            pass
        assert measured.sha256 == expected
        return measured.size_bytes

    return Contender(put, get)


def bare_obstore(bucket: Bucket) -> Contender:
    """obstore as we configure it, and nothing around it."""
    store = make_store(bucket)

    async def put(data: bytes, key: str) -> None:
        await obstore.put_async(store, key, data, mode="create", use_multipart=False)

    async def get(key: str) -> int:
        return len(await (await obstore.get_async(store, key)).bytes_async())

    return Contender(put, get)


def threaded_boto(bucket: Bucket, threads: ThreadPoolExecutor) -> Contender:
    """boto3's client, as many threads as connections."""
    boto = client_of(bucket)
    loop = asyncio.get_running_loop()

    def read(key: str) -> int:
        return len(boto.get_object(Bucket=bucket.name, Key=key)["Body"].read())

    async def put(data: bytes, key: str) -> None:
        await loop.run_in_executor(
            threads,
            lambda: boto.put_object(Bucket=bucket.name, Key=key, Body=data, IfNoneMatch="*"),
        )

    async def get(key: str) -> int:
        return await loop.run_in_executor(threads, read, key)

    return Contender(put, get)


class RawHttp:
    """HTTP/1.1 over kept connections and links signed beforehand: no client could do less."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._address = urlsplit(bucket.endpoint or "")
        self._links: dict[tuple[str, str], str] = {}
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    def sign(self, keys: list[str]) -> None:
        """Make the links for these keys, which is not measured."""
        sign = client_of(self._bucket).generate_presigned_url
        for key in keys:
            for method, operation in (("PUT", "put_object"), ("GET", "get_object")):
                link = urlsplit(sign(operation, Params={"Bucket": self._bucket.name, "Key": key}))
                self._links[method, key] = f"{link.path}?{link.query}"

    async def put(self, data: bytes, key: str) -> None:
        """Write an object."""
        await self._ask("PUT", key, data)

    async def get(self, key: str) -> int:
        """Read an object."""
        return await self._ask("GET", key, b"")

    def close(self) -> None:
        """Close the connections."""
        for _, writer in self._idle:
            writer.close()

    async def _ask(self, method: str, key: str, body: bytes) -> int:
        reader, writer = self._idle.pop() if self._idle else await self._connect()
        head = f"{method} {self._links[method, key]} HTTP/1.1\r\nHost: {self._address.netloc}\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode())
        writer.write(body)
        await writer.drain()
        answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        assert answer.startswith("http/1.1 200"), answer
        size_bytes = int(answer.split("content-length:")[1].split("\r\n")[0])
        found = await reader.readexactly(size_bytes)
        self._idle.append((reader, writer))
        return len(found)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(
            self._address.hostname, self._address.port, limit=1 << 20
        )


if __name__ == "__main__":
    sys.exit(main())
