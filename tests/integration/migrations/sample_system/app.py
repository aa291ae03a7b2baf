"""The smallest system that has migrations, one of them outside a transaction."""

from pathlib import Path

from fastapi import FastAPI

from bedplate.system import System
from tests.integration.migrations.sample_system.models import Base

system = System(
    "sample",
    title="A sample",
    create_app=lambda _layer: FastAPI(),
    metadata=Base.metadata,
    migrations=Path(__file__).parent,
)
