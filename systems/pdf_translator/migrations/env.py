"""What Alembic runs: the layer's own, on the metadata of pdf_translator."""

from bedplate.migrations import env
from systems.pdf_translator.models import Base

env.run(Base.metadata)
