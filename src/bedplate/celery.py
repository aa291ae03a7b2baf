"""Celery's door: one Celery task, which hands the job that a message names to our worker.

A message can do no more than that: JSON only, no remote control, no results. What a child of the
pool opens, and when, is said in `pool_child.py`. Called by `bedplate worker`.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Sequence

from billiard.process import current_process
from celery import Celery, signals
from kombu.entity import Exchange, Queue

from bedplate.cache import attendance
from bedplate.delivery import intake
from bedplate.delivery.broker import (
    RUN_JOB,
    kombu_url,
    queue_name,
    tls_options,
    transport_options,
)
from bedplate.jobs.tasks import DEFAULT_QUEUE
from bedplate.pool_child import Runtime as Runtime
from bedplate.settings import Settings
from bedplate.system import System

# They say twice what the ledger says of every job; what fails is logged by the worker.
CHATTY = ("celery.worker.strategy", "celery.app.trace")
# Seconds that a pool child may take to begin: many children share few cores at a start.
CHILD_START_SECONDS = 60


def run_worker(
    systems: Sequence[System],
    *,
    settings: Settings | None = None,
    load_settings: Callable[[str], Settings] = Settings.load,
    on_ready: Callable[[], None] | None = None,
) -> int:
    """Work for these systems until told to stop; returns the exit status.

    SIGTERM and SIGINT hand running jobs back and end it. `settings` is what all systems share:
    the broker and the number of children. `on_ready` is called once it takes jobs.
    """
    shared = settings or Settings.load()
    intake.install()
    stop_reader, stop_writer = os.pipe()
    runtime = Runtime(systems, load_settings, stop_reader=stop_reader)
    app = create_celery(shared, systems, runtime)

    def begin_child(**_: object) -> None:
        # Only the parent may hold it open: its end is how the children learn of a stop.
        os.close(stop_writer)
        if getattr(current_process(), "index", 0) == 0:
            runtime.stand_in()

    def begin_stop(**_: object) -> None:
        os.close(stop_writer)

    def be_ready(**_: object) -> None:
        # Health must not miss us while the children open what renews it.
        asyncio.run(attendance.announce({each.name: load_settings(each.name) for each in systems}))
        if on_ready is not None:
            on_ready()

    signals.worker_ready.connect(be_ready, weak=False)
    signals.worker_process_init.connect(begin_child, weak=False)
    signals.worker_process_shutdown.connect(runtime.close, weak=False)
    signals.worker_shutting_down.connect(begin_stop, weak=False)
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    worker = app.Worker(
        pool="prefork",
        concurrency=shared.worker_concurrency,
        loglevel=shared.log_level,
        quiet=True,
        without_mingle=True,
        without_gossip=True,
        without_heartbeat=True,
    )
    worker.start()
    return int(worker.exitcode or 0)


def create_celery(
    settings: Settings, systems: Sequence[System], runtime: Runtime | None = None
) -> Celery:
    """The Celery application with its one task. Connects to nothing."""
    here = runtime or Runtime(systems, Settings.load)
    app = Celery("bedplate", set_as_current=False)
    app.conf.update(
        broker_url=kombu_url(settings.redis()),
        broker_use_ssl=tls_options(settings.redis()),
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options=transport_options(settings.redis()),
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        result_backend=None,
        task_acks_late=False,
        task_queues=_queues(systems),
        task_create_missing_queues=False,
        worker_prefetch_multiplier=1,
        worker_concurrency=settings.worker_concurrency,
        # Whoever reaches Redis could else shut workers down or change what they consume.
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_proc_alive_timeout=CHILD_START_SECONDS,
    )

    def run_job(*arguments: object) -> None:
        here.run(*arguments)

    # Not shared: every other Celery application of this process would get the task, too.
    app.task(run_job, name=RUN_JOB, typing=False, shared=False)
    return app


def _queues(systems: Sequence[System]) -> tuple[Queue, ...]:
    """On the default exchange a queue's name is its address: no binding that Redis could lose."""
    names = {
        queue_name(system.name, queue)
        for system in systems
        for queue in {DEFAULT_QUEUE, *(task.queue for task in system.tasks)}
    }
    return tuple(
        Queue(name, Exchange(""), routing_key=name, no_declare=True) for name in sorted(names)
    )
