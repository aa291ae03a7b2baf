"""What Celery and cashews are made to do in `failure_cases.py`, in the peers' environment.

python failure_peers.py worker            one worker with acks_late and a visibility timeout
python failure_peers.py send              send a task for each line of its input
python failure_peers.py commit-then-send  commit a row, and die before its task is sent
python failure_peers.py stale-copies      fill a cache while rows change; print how many are stale
"""

import asyncio
import os
import sys
from functools import partial

import psycopg
from cashews import Cache
from celery import Celery
from redis import Redis

REDIS = os.environ["REDIS_URL"]
NOTES = "bench:notes"
BOOKS = 100

app = Celery("plain", broker=REDIS, set_as_current=False)
app.conf.update(
    task_ignore_result=True,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    broker_transport_options={"visibility_timeout": 5},
    worker_concurrency=1,
)


def note(tag: str) -> None:
    """The effect of a task."""
    Redis.from_url(REDIS).rpush(NOTES, tag)


app.task(note, name="plain.note", shared=False)


def commit_then_send() -> None:
    """As most services do it; the process dies in between."""
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        connection.execute("INSERT INTO failure_rows (who) VALUES ('theirs')")
    os._exit(9)
    app.send_task("plain.note", ["committed"])


async def keep_stale_copies() -> int:
    """Committed, then deleted from the cache, while somebody who has read before fills it."""
    cache = Cache()
    cache.setup(REDIS)
    address = os.environ["DATABASE_URL"]
    async with await psycopg.AsyncConnection.connect(address, autocommit=True) as connection:

        async def read(number: int) -> str:
            rows = await connection.execute(
                "SELECT title FROM failure_books WHERE id = %s", (number,)
            )
            return str((await rows.fetchone())[0])

        async def read_slowly(
            number: int, has_read: asyncio.Event, is_deleted: asyncio.Event
        ) -> str:
            title = await read(number)
            has_read.set()
            await is_deleted.wait()
            return title

        stale = 0
        for number in range(BOOKS):
            has_read, is_deleted = asyncio.Event(), asyncio.Event()

            load = partial(read_slowly, number, has_read, is_deleted)

            key = f"failure:theirs:{number}"
            reading = asyncio.create_task(cache.get_or_set(key, load, expire="1h"))
            await has_read.wait()
            await connection.execute(
                "UPDATE failure_books SET title = 'new' WHERE id = %s", (number,)
            )
            await cache.delete(key)
            is_deleted.set()
            await reading
            stale += await cache.get_or_set(key, load, expire="1h") != await read(number)
    await cache.close()
    return stale


if __name__ == "__main__":
    what = sys.argv[1]
    if what == "worker":
        app.worker_main(["worker", "--without-mingle", "--without-gossip", "-l", "ERROR"])
    elif what == "send":
        for line in sys.stdin:
            app.send_task("plain.note", [line.strip()])
    elif what == "stale-copies":
        print(asyncio.run(keep_stale_copies()))
    else:
        commit_then_send()
