"""What Alembic runs: the layer's own, on the metadata of librilabs."""

from bedplate.migrations import env
from systems.librilabs.models import Base

env.run(Base.metadata)
