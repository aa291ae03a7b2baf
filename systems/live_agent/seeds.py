"""An organization and its admin for development, by a password that everybody can read here.

`python -m systems.live_agent.seeds`, or `make seed`. Idempotent: what is there is left as it is.
Refuses to run in production.
"""

import sys
from collections.abc import Sequence

from bedplate.accounts.passwords import Passwords
from bedplate.environment import read_environment
from bedplate.errors import ProductionRefusedError
from bedplate.seeds import run
from bedplate.unit_of_work import UnitOfWork
from systems.live_agent.models import Organization, Role, User
from systems.live_agent.repositories import Organizations, Users
from systems.live_agent.settings import LiveAgentSettings

ORGANIZATION = "Test Organization"
EMAIL = "admin@test.com"
PASSWORD = "password123"  # noqa: S105 - as specified, and refused in production


async def seed(uow: UnitOfWork) -> Sequence[str]:
    """Make what is missing, as the schema's owner. Returns a line for each: created or skipped.

    Raises `ProductionRefusedError`.
    """
    if read_environment().get("BEDPLATE_ENV") == "production":
        raise ProductionRefusedError(
            f"live_agent's seed makes {EMAIL} with a password that everybody knows",
            hint="Sign an organization up instead: POST /live_agent/organizations.",
        )
    organizations, users = Organizations(uow.session), Users(uow.session)
    organization = await organizations.find_by_name(ORGANIZATION)
    lines = [f"{'skipped' if organization else 'created'} organization {ORGANIZATION}"]
    if organization is None:
        organization = await organizations.add(Organization(name=ORGANIZATION))
    user = await users.find_by_email(EMAIL)
    lines.append(f"{'skipped' if user else 'created'} user {EMAIL}")
    if user is None:
        hashed = await Passwords(rounds=LiveAgentSettings.load().bcrypt_rounds).hash(PASSWORD)
        await users.add(
            User(
                email=EMAIL,
                hashed_password=hashed,
                organization_id=organization.id,
                role=Role.ADMIN,
            )
        )
    return lines


if __name__ == "__main__":
    sys.exit(run("live_agent", seed))
