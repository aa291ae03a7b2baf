"""The application that `bedplate run` serves: every system of the project under its name.

Opens each system's layer (a mounted application's lifespan does not run), sums up their health
and lists them on an index page, as HTML or JSON.
"""

import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from html import escape
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.responses import Response

from bedplate.environment import read_environment
from bedplate.errors import PendingMigrationError
from bedplate.fastapi.health import health_router
from bedplate.fastapi.hosts import AllowedHosts
from bedplate.fastapi.lifespan import lifespan
from bedplate.fastapi.problems import install_problems
from bedplate.fastapi.schema_gate import SchemaGate
from bedplate.layer import DataLayer
from bedplate.migrations.readiness import SchemaReadiness
from bedplate.project import Project
from bedplate.settings import Settings
from bedplate.system import System, load_system

log = logging.getLogger("bedplate.fastapi")

_SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Vary": "Accept",
}
_STYLE = """\
:root { color-scheme: light dark; font: 1rem/1.6 system-ui, sans-serif; }
body { max-width: 40rem; margin: 4rem auto; padding: 0 1.5rem; }
h1 { font-weight: 600; letter-spacing: -0.02em; }
li { margin: 0.6rem 0; }
nav a { margin-right: 1rem; }
"""
_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<link rel="stylesheet" href="style.css">
</head>
<body>
<h1>{title}</h1>
<ul>
{systems}
</ul>
<nav><a href="health">health</a><a href="health/ready">ready</a></nav>
</body>
</html>
"""
_LINE = '<li><strong>{title}</strong> <a href="{name}/docs">{name}/docs</a></li>'


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
    root.include_router(
        health_router(
            {each.layer.name: each.layer for each in mounted},
            {each.layer.name: each.schema for each in mounted},
        )
    )
    _add_index(root, [each.system for each in mounted])
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


def _add_index(root: FastAPI, systems: Sequence[System]) -> None:
    page = _render(root.title, systems)
    listed = [_described(system) for system in systems]

    @root.get("/")
    async def index(request: Request) -> Response:
        if _wants_json(request.headers.get("accept", "")):
            return JSONResponse({"systems": listed, "health": "/health"}, headers=_SECURITY_HEADERS)
        return HTMLResponse(page, headers=_SECURITY_HEADERS)

    @root.get("/style.css")
    async def style() -> Response:
        return Response(_STYLE, media_type="text/css", headers=_SECURITY_HEADERS)


def _wants_json(accept: str) -> bool:
    return "application/json" in accept and "text/html" not in accept


def _described(system: System) -> dict[str, str]:
    return {
        "name": system.name,
        "title": system.title,
        "path": f"/{system.name}",
        "docs": f"/{system.name}/docs",
    }


def _render(title: str, systems: Sequence[System]) -> str:
    lines = [_LINE.format(title=escape(each.title), name=escape(each.name)) for each in systems]
    return _PAGE.format(title=escape(title), systems="\n".join(lines))
