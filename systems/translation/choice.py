"""The engine that a configuration names."""

from datetime import timedelta
from typing import assert_never

from systems.translation.apertium import Apertium
from systems.translation.engines import Engine, EngineName, NoEngine


def create_engine(name: EngineName, timeout: timedelta) -> Engine:
    """An engine by its name; `timeout` bounds one chunk."""
    match name:
        case "none":
            return NoEngine()
        case "apertium":
            return Apertium(timeout=timeout)
        case _:
            assert_never(name)
