"""The door: what a FastAPI application takes from bedplate.

`import fastapi` inside this package is the real one: imports are absolute.
"""

from bedplate.fastapi.application import create_app
from bedplate.fastapi.body_limit import BodyLimit
from bedplate.fastapi.cookies import HostCookie, IssuedCookie, SignedCookie, digest
from bedplate.fastapi.dependencies import (
    DepLayer,
    DepRedis,
    DepSession,
    DepUnitOfWork,
    get_db,
    get_layer,
    get_redis,
    unit_of_work,
)
from bedplate.fastapi.events import EventStream, follow_job
from bedplate.fastapi.health import health_router
from bedplate.fastapi.identity import Identify, Identity
from bedplate.fastapi.lifespan import lifespan
from bedplate.fastapi.origin import SameOrigin
from bedplate.fastapi.pages import PageOut
from bedplate.fastapi.problem import Problem
from bedplate.fastapi.problems import install_problems
from bedplate.fastapi.routing import Route, Router
from bedplate.fastapi.sockets import Socket, SocketLimits, open_socket
from bedplate.fastapi.texts import Line, Text

__all__ = [
    "BodyLimit",
    "DepLayer",
    "DepRedis",
    "DepSession",
    "DepUnitOfWork",
    "EventStream",
    "HostCookie",
    "Identify",
    "Identity",
    "IssuedCookie",
    "Line",
    "PageOut",
    "Problem",
    "Route",
    "Router",
    "SameOrigin",
    "SignedCookie",
    "Socket",
    "SocketLimits",
    "Text",
    "create_app",
    "digest",
    "follow_job",
    "get_db",
    "get_layer",
    "get_redis",
    "health_router",
    "install_problems",
    "lifespan",
    "open_socket",
    "unit_of_work",
]
