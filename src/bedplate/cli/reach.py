"""Whether something accepts connections at an address. Called by `status` and `wait`."""

import socket
from datetime import timedelta

from bedplate.cli.stand import Endpoint

CONNECT_LIMIT = timedelta(seconds=1)


def answers(where: Endpoint, *, within: timedelta = CONNECT_LIMIT) -> bool:
    """Whether a connection is accepted in time. Nothing is said over it."""
    seconds = within.total_seconds()
    try:
        if where.port is None:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(seconds)
                connection.connect(where.host)
        else:
            socket.create_connection((where.host, where.port), timeout=seconds).close()
    except OSError:
        return False
    return True
