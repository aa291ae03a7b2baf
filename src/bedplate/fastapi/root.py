"""The application that `bedplate run` serves: every system of the project under its name.

Opens each system's layer (a mounted application's lifespan does not run), sums up their health
and lists them on an index page (`index_page.py`), as HTML or JSON.
"""

import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.responses import Response

from bedplate.environment import read_environment
from bedplate.errors import PendingMigrationError
from bedplate.fastapi import index_page
from bedplate.fastapi.health import Probes
from bedplate.fastapi.hosts import AllowedHosts
from bedplate.fastapi.lifespan import lifespan
from bedplate.fastapi.problems import install_problems
from bedplate.fastapi.schema_gate import SchemaGate
from bedplate.health import probe_worker
from bedplate.layer import DataLayer
from bedplate.migrations.readiness import SchemaReadiness
from bedplate.project import Project
from bedplate.settings import Settings
from bedplate.system import System, load_system

log = logging.getLogger("bedplate.fastapi")


@dataclass(frozen=True)
class _Mounted:
    system: System
    layer: DataLayer
    schema: SchemaReadiness


def create_root(
    project: Project | None = None, variables: Mapping[str, str] | None = None
) -> FastAPI:
    """The root application of a project, by default the one found upward of the current folder."""
    variables = read_environment() if variables is None else variables
    project = project or Project.find(variables)
    mounted = _load(project, variables)
    root = FastAPI(
        title=project.name,
        lifespan=_lifespan(mounted),
        openapi_url=None,
    )
    root.state.layers = [each.layer for each in mounted]
    install_problems(root)
    if mounted:
        root.add_middleware(AllowedHosts, settings=mounted[0].layer.settings)
    probes = Probes(
        {each.layer.name: each.layer for each in mounted},
        {each.layer.name: each.schema for each in mounted},
        {each.layer.name: {"worker": probe_worker} for each in mounted if each.system.tasks},
    )
    root.include_router(probes.router())
    _add_index(root, [each.system for each in mounted], probes)
    for each in mounted:
        app = each.system.create_app(each.layer)
        app.state.layer = each.layer
        app.add_middleware(SchemaGate, schema=each.schema)
        root.mount(f"/{each.layer.name}", app, name=each.layer.name)
    return root


def _lifespan(mounted: Sequence[_Mounted]) -> Callable[[Any], AbstractAsyncContextManager[None]]:
    opens_layers = lifespan(*(each.layer for each in mounted))

    @asynccontextmanager
    async def open_and_look(app: FastAPI) -> AsyncIterator[None]:
        async with opens_layers(app):
            for each in mounted:
                await _look_at_schema(each)
            yield

    return open_and_look


async def _look_at_schema(each: _Mounted) -> None:
    """Say at the start what requests would be told; who migrates may do it while we serve."""
    try:
        await each.schema.require_current()
    except PendingMigrationError as error:
        log.warning("Requests are refused: %s. %s", error.message, error.hint)


def _load(project: Project, variables: Mapping[str, str]) -> list[_Mounted]:
    return [
        _mount(load_system(project, entry), entry.name, Settings.load(entry.name, variables))
        for entry in project.systems
        if entry.target is not None
    ]


def _mount(system: System, name: str, settings: Settings) -> _Mounted:
    return _Mounted(system, DataLayer(settings, name=name), SchemaReadiness(system, settings))


def _add_index(root: FastAPI, systems: Sequence[System], probes: Probes) -> None:
    listed = [index_page.describe(system) for system in systems]

    @root.get("/")
    async def index(request: Request) -> Response:
        if _wants_json(request.headers.get("accept", "")):
            return JSONResponse(
                {"systems": listed, "health": "/health"}, headers=index_page.HEADERS
            )
        page = index_page.render(root.title, systems, await probes.reports())
        return HTMLResponse(page, headers=index_page.HEADERS)

    @root.get("/style.css")
    async def style() -> Response:
        return Response(index_page.STYLE, media_type="text/css", headers=index_page.HEADERS)


def _wants_json(accept: str) -> bool:
    return "application/json" in accept and "text/html" not in accept
