"""Has clients that the layer did not make ask the guard: redis-py's, Celery's tasks, kombu's.

Only where the guard raises, in development and tests: their methods are wrapped once per process,
and a wrapped one costs a look at a context variable. Where it logs, in production, nothing of a
library is changed: Celery says by itself what it publishes, and the layer's own clients ask.
What is not imported is not watched, and nothing is imported here. Called at each transaction.
"""

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

from bedplate import current
from bedplate.guard import BROKER_HINT, Mode, check, check_redis, check_redis_pipeline

Watch = Callable[[Any], None]


def watch(mode: Mode) -> None:
    """Watch what has been imported since the last time."""
    waiting = _waiting.get(mode)
    if not waiting:
        return
    for name in [name for name in waiting if name in sys.modules]:
        waiting.pop(name)(sys.modules[name])


def _wrap(owner: type, name: str, ask: Callable[..., None]) -> None:
    """Call `ask` with a method's arguments before the method, where the guard raises."""
    method = owner.__dict__.get(name)
    if method is None:
        return

    @wraps(method)
    def asking(self: Any, *arguments: Any, **options: Any) -> Any:
        if _mode_here() == "raise":
            ask(self, *arguments, **options)
        return method(self, *arguments, **options)

    setattr(owner, name, asking)


def _watch_redis(module: Any) -> None:
    """`redis.client` and `redis.asyncio.client` have classes of the same names."""
    _wrap(module.Redis, "execute_command", _ask_of_command)
    _wrap(module.Pipeline, "immediate_execute_command", _ask_of_command)
    _wrap(module.Pipeline, "execute", _ask_of_pipeline)


def _watch_redis_cluster(module: Any) -> None:
    _wrap(module.RedisCluster, "execute_command", _ask_of_command)
    # Already when it is told: how it keeps its commands is its own.
    _wrap(module.ClusterPipeline, "execute_command", _ask_of_command)


def _watch_tasks(module: Any) -> None:
    """Also of an application whose tasks run at once, and are sent nowhere."""

    def ask(task: Any, *_arguments: Any, **_options: Any) -> None:
        check(f"Celery task {task.name}", BROKER_HINT)

    _wrap(module.Task, "apply_async", ask)


def _watch_producer(module: Any) -> None:
    def ask(_producer: Any, *_arguments: Any, **options: Any) -> None:
        check(f"publishing to {options.get('routing_key') or 'a broker'}", BROKER_HINT)

    _wrap(module.Producer, "publish", ask)


def _listen_to_tasks(module: Any) -> None:
    """A signal's receiver cannot raise, and need not."""

    def told(sender: object = None, **_: object) -> None:
        if _mode_here() == "log":
            check(f"Celery task {sender}", BROKER_HINT)

    module.before_task_publish.connect(told, weak=False)


def _ask_of_pipeline(pipeline: Any, *_arguments: Any, **_options: Any) -> None:
    check_redis_pipeline(pipeline)


def _mode_here() -> Mode | None:
    unit_of_work = current.surrounding()
    return None if unit_of_work is None else unit_of_work.guard


def _ask_of_command(_client: object, *command: object, **_options: object) -> None:
    check_redis(command)


_waiting: dict[Mode, dict[str, Watch]] = {
    "raise": {
        "redis.client": _watch_redis,
        "redis.asyncio.client": _watch_redis,
        "redis.cluster": _watch_redis_cluster,
        "redis.asyncio.cluster": _watch_redis_cluster,
        "celery.app.task": _watch_tasks,
        "kombu.messaging": _watch_producer,
    },
    "log": {"celery.signals": _listen_to_tasks},
}
