"""What the relay does for each kind of message: the other server is told here.

An action gets messages of its kind, oldest first, in one call, and bears being told again. It
raises `UnreachableError`, or what redis-py raises of a connection, when its destination is away.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from bedplate.delivery import outbox
from bedplate.delivery.outbox import Message
from bedplate.layer import DataLayer

Action = Callable[[DataLayer, Sequence[Message]], Awaitable[None]]


async def invalidate(layer: DataLayer, messages: Sequence[Message]) -> None:
    """Have the cache forget keys and tags: doing it twice is doing it once."""
    if layer.settings.redis_url is None:
        return  # nothing is cached that another process could have
    await layer.cache.tell(outbox.invalidations(messages))


async def publish(layer: DataLayer, messages: Sequence[Message]) -> None:
    """Say it once more on its channel: whoever committed it may have died before it did."""
    if layer.settings.redis_url is None:
        return  # nobody can listen
    for publication in outbox.publications(messages):
        await layer.channels.publish(publication)


ACTIONS: Mapping[str, Action] = {
    outbox.INVALIDATE: invalidate,
    outbox.INVALIDATE_TAG: invalidate,
    outbox.PUBLISH: publish,
}
