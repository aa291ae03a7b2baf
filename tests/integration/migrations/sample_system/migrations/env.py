"""Alembic's entry: everything is in `bedplate.migrations.env`."""

from bedplate.migrations import env
from tests.integration.migrations.sample_system.models import Base

env.run(Base.metadata)
