"""What plain Celery is made to do in `failure_cases.py`, by the Python of the peers' environment.

python failure_peers.py worker            one worker with acks_late and a visibility timeout
python failure_peers.py send              send a task for each line of its input
python failure_peers.py commit-then-send  commit a row, and die before its task is sent
"""

import os
import sys

import psycopg
from celery import Celery
from redis import Redis

REDIS = os.environ["REDIS_URL"]
NOTES = "bench:notes"

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


if __name__ == "__main__":
    what = sys.argv[1]
    if what == "worker":
        app.worker_main(["worker", "--without-mingle", "--without-gossip", "-l", "ERROR"])
    elif what == "send":
        for line in sys.stdin:
            app.send_task("plain.note", [line.strip()])
    else:
        commit_then_send()
