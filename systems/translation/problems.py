"""What a route answers when the engine cannot translate what is asked for."""

from bedplate.fastapi import Problem
from systems.translation.engines import (
    Engine,
    EngineDeniedError,
    EngineError,
    EngineMissingError,
    PairUnavailableError,
)


async def require_pair(engine: Engine, source: str, target: str) -> None:
    """Ask the engine before a job is made. Raises a `Problem`."""
    if source == target:
        raise Problem(
            422, f"The document is already in {target!r}.", code="language_pair_unavailable"
        )
    try:
        await engine.check_pair(source, target)
    except PairUnavailableError as error:
        raise Problem(422, str(error), code="language_pair_unavailable") from error
    except EngineMissingError as error:
        raise Problem(503, str(error), code="engine_missing") from error
    except EngineDeniedError as error:
        raise Problem(503, str(error), code="engine_denied") from error
    except EngineError as error:
        raise Problem(503, str(error), code="engine_failed") from error
