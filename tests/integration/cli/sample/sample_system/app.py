"""The sample's declaration, as `[tool.bedplate.systems]` names it."""

from collections.abc import Sequence

from fastapi import FastAPI
from sqlalchemy import MetaData, text

from bedplate.layer import DataLayer
from bedplate.system import System
from bedplate.unit_of_work import UnitOfWork


def create_app(layer: DataLayer) -> FastAPI:
    """One route."""
    app = FastAPI(title=layer.name)

    @app.get("/hello")
    async def hello() -> dict[str, str]:
        return {"hello": layer.name}

    return app


async def seed(uow: UnitOfWork) -> Sequence[str]:
    """Create nothing, and say who looked."""
    found = await uow.session.scalar(text("SELECT current_user"))
    return [f"skipped a row, as {found}"]


system = System(
    name="sample", title="A sample", metadata=MetaData(), create_app=create_app, seed=seed
)
