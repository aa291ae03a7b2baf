"""The engine that a configuration names."""

import shutil
from datetime import timedelta
from typing import assert_never

from systems.translation.apertium import PROGRAM, Apertium
from systems.translation.engines import Engine, EngineMissingError, EngineName, NoEngine
from systems.translation.glossary import GlossaryEngine
from systems.translation.libretranslate import LibreTranslate, LibreTranslateServer


def create_engine(
    name: EngineName, timeout: timedelta, server: LibreTranslateServer | None = None
) -> Engine:
    """An engine by its name; `timeout` bounds one chunk. Raises `EngineMissingError`."""
    match name:
        case "none":
            return NoEngine()
        case "glossary":
            return GlossaryEngine()
        case "apertium":
            return Apertium(timeout=timeout)
        case "libretranslate":
            if server is None:
                raise EngineMissingError("no address of a LibreTranslate server is configured")
            return LibreTranslate(server, timeout)
        case _:
            assert_never(name)


def usual_engine() -> EngineName:
    """What translates where nobody has chosen: Apertium if it is installed, else the glossary."""
    return "apertium" if shutil.which(PROGRAM) else "glossary"
