"""What live_agent reads from the environment beside the layer's variables.

The layer's `Settings` (database, Redis, hosts) are read by the layer; LIVE_AGENT_DATABASE_URL wins
over DATABASE_URL there. Both take the process' environment, then a `.env` sought upward.
"""

from typing import ClassVar

from pydantic import Field

from bedplate.accounts.passwords import ROUNDS
from bedplate.errors import ProductionRefusedError
from bedplate.system_settings import SystemSettings, settings_config

# OWASP's least cost for bcrypt.
LEAST_ROUNDS = 10


class LiveAgentSettings(SystemSettings):
    """How passwords are kept."""

    model_config = settings_config("LIVE_AGENT_")
    hint: ClassVar[str] = "See systems/live_agent/.env.example."

    bcrypt_rounds: int = Field(
        ROUNDS, ge=4, le=20, description="The cost of a password's hash: each one more doubles it."
    )

    def check_production(self) -> None:
        """Raise `ProductionRefusedError` for what is fit for tests alone."""
        if self.bcrypt_rounds < LEAST_ROUNDS:
            raise ProductionRefusedError(
                f"LIVE_AGENT_BCRYPT_ROUNDS is {self.bcrypt_rounds}: such hashes are guessed",
                hint=f"Set it to {LEAST_ROUNDS} or more, or leave it out.",
                variable="LIVE_AGENT_BCRYPT_ROUNDS",
            )
