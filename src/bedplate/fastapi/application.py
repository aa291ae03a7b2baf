"""An application that stands on one layer, put together from this room's parts.

Nothing here is needed: each part can be installed on an application of one's own.
"""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any

from fastapi import FastAPI

from bedplate.fastapi.health import health_router
from bedplate.fastapi.identity import Identify
from bedplate.fastapi.lifespan import lifespan
from bedplate.fastapi.problem import PROBLEM_RESPONSES
from bedplate.fastapi.problems import install_problems
from bedplate.fastapi.routing import Route
from bedplate.health import NEEDED, Probe
from bedplate.layer import DataLayer


def create_app(
    layer: DataLayer,
    *,
    identify: Identify | None = None,
    probes: Mapping[str, Probe] = MappingProxyType({}),
    needed: Collection[str] = (),
    **options: Any,
) -> FastAPI:
    """A `FastAPI(**options)` with the layer, its lifespan, problem details and /health.

    `identify` says whose a request is: the tenant and actor of its unit of work. `probes` are asked
    by its /health too, which is 503 when one of the services `needed` is down, beside the database.

    Its own routes (`@app.get`) may take a unit of work; routers included into it must be
    `bedplate.fastapi.Router`.
    """
    options.setdefault("lifespan", lifespan(layer))
    options.setdefault("responses", PROBLEM_RESPONSES)
    app = FastAPI(**options)
    app.state.layer = layer
    app.state.identify = identify
    app.router.route_class = Route
    install_problems(app)
    app.include_router(
        health_router({layer.name: layer}, also={layer.name: probes}, needed={*NEEDED, *needed})
    )
    return app
