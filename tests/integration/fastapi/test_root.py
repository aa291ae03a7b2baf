"""The root application: finds the systems, opens their layers, mounts and lists them."""

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from bedplate import health
from bedplate.errors import ProjectError
from bedplate.fastapi.root import create_root
from bedplate.health import ProbeFailure
from bedplate.layer import DataLayer
from bedplate.project import Project

SYSTEM = """
from sqlalchemy import MetaData, text

from bedplate.fastapi import DepUnitOfWork, create_app
from bedplate.system import System


def create(layer):
    app = create_app(layer, title="A shop")

    @app.get("/name")
    async def name(uow: DepUnitOfWork) -> str:
        return (await uow.execute(text("SELECT current_user"))).scalar_one()

    @app.get("/broken")
    async def broken() -> None:
        raise ValueError("s3cret")

    return app


system = System("shop", title="Shop <&> Sons", metadata=MetaData(), create_app=create)
"""


@pytest.fixture
def root(layer: DataLayer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    """The root of a project with one system, on this worker's database."""
    module = f"shop_{tmp_path.name}"
    (tmp_path / f"{module}.py").write_text(SYSTEM)
    (tmp_path / "pyproject.toml").write_text(f'[tool.bedplate.systems]\nshop = "{module}:system"\n')
    monkeypatch.syspath_prepend(tmp_path)
    settings = layer.settings
    variables = {
        "SHOP_DATABASE_URL": settings.database().render(),
        "REDIS_URL": settings.redis(),
        "BEDPLATE_APP_ROLE": settings.serving_role(),
    }
    return create_root(Project.find({}, tmp_path), variables)


async def test_mounted_system_serves_from_its_own_layer(root: FastAPI, layer: DataLayer) -> None:
    """A mounted application's lifespan does not run: the root must have opened the layer."""
    async with client_of(root) as client:
        response = await client.get("/shop/name")
    assert response.json() == layer.settings.serving_role()


async def test_index_lists_the_systems_as_a_page(root: FastAPI) -> None:
    """Where a person arrives: links to each system's documentation and to health."""
    async with client_of(root) as client:
        page = await client.get("/")
        assert page.headers["content-type"].startswith("text/html")
        assert 'href="shop/docs"' in page.text
        assert 'href="shop/openapi.json"' in page.text
        assert (await client.get("/shop/docs")).status_code == 200
        assert (await client.get("/shop/openapi.json")).status_code == 200
        assert (await client.get("/style.css")).headers["content-type"].startswith("text/css")


async def test_index_shows_the_health_of_every_service(
    root: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is down, and why, is seen where a person arrives; the reason is text there, too."""

    async def denied(_layer: DataLayer) -> None:
        raise ProbeFailure("it <said> no")

    monkeypatch.setattr(health, "_probe_relay", denied)
    async with client_of(root) as client:
        page = await client.get("/")
    assert page.status_code == 200
    assert '<tr><td>database</td><td class="up">up</td>' in page.text
    assert '<tr><td>redis</td><td class="up">up</td>' in page.text
    assert '<td class="down">down</td><td>it &lt;said&gt; no</td>' in page.text


async def test_index_is_escaped_and_runs_no_script(root: FastAPI) -> None:
    """Titles are text, and the policy refuses whatever would be inline."""
    async with client_of(root) as client:
        page = await client.get("/")
    assert "Shop &lt;&amp;&gt; Sons" in page.text
    assert "<script" not in page.text
    assert "<style" not in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'self'")
    assert page.headers["x-content-type-options"] == "nosniff"


async def test_index_is_json_for_programs(root: FastAPI) -> None:
    """Scripts find the systems without reading HTML."""
    async with client_of(root) as client:
        listed = (await client.get("/", headers={"accept": "application/json"})).json()
    assert listed["systems"] == [
        {"name": "shop", "title": "Shop <&> Sons", "path": "/shop", "docs": "/shop/docs"}
    ]


async def test_health_sums_up_every_system(root: FastAPI) -> None:
    """One address for a load balancer and for a person."""
    async with client_of(root) as client:
        health = await client.get("/health")
    assert health.status_code == 200
    assert health.json()["systems"]["shop"]["database"]["status"] == "up"


async def test_errors_are_problems_at_the_root_and_below(root: FastAPI) -> None:
    """No path of the process answers an error in another form."""
    async with client_of(root) as client:
        for path, status in (("/nothing", 404), ("/shop/nothing", 404), ("/shop/broken", 500)):
            response = await client.get(path)
            assert response.status_code == status
            assert response.headers["content-type"] == "application/problem+json"
            assert "s3cret" not in response.text


async def test_collector_is_as_before_afterwards(root: FastAPI) -> None:
    """The lifespan freezes the heap for speed; a test run or a reload must not inherit that."""
    before = gc.get_threshold(), gc.get_freeze_count()
    async with root.router.lifespan_context(root):
        assert gc.get_freeze_count() > 0
        assert gc.get_threshold()[0] == 50_000
    assert (gc.get_threshold(), gc.get_freeze_count()) == before


def test_unknown_system_is_named(tmp_path: Path) -> None:
    """A wrong line in pyproject.toml ends the start with that line."""
    (tmp_path / "pyproject.toml").write_text('[tool.bedplate.systems]\nshop = "no_such:system"\n')
    with pytest.raises(ProjectError, match="shop"):
        create_root(Project.find({}, tmp_path), {})


@asynccontextmanager
async def client_of(root: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=root, raise_app_exceptions=False)
    async with (
        root.router.lifespan_context(root),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client,
    ):
        yield client
