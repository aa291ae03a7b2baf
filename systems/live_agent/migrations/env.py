"""What Alembic runs: the layer's own, on the metadata of live_agent."""

from bedplate.migrations import env
from systems.live_agent.models import Base

env.run(Base.metadata)
