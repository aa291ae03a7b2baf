"""How rows are read and written: those of the transaction's organization, and one lookup."""

from systems.live_agent.repositories.logins import Login, find_login
from systems.live_agent.repositories.organizations import Organizations
from systems.live_agent.repositories.sessions import Sessions
from systems.live_agent.repositories.users import Users

__all__ = ["Login", "Organizations", "Sessions", "Users", "find_login"]
