"""The tables of live_agent; importing this registers all of them."""

from systems.live_agent.models.base import Base

__all__ = ["Base"]
