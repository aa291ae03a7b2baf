"""What Alembic runs: the layer's own, on the metadata of sme."""

from bedplate.migrations import env
from systems.sme.models import Base

env.run(Base.metadata)
