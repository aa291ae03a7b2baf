"""bedplate: rows, jobs, cache invalidations and files in one transaction.

The public names, each loaded on first use: importing SQLAlchemy and the drivers with the package
would cost every command line a second. `from bedplate import DataLayer` works as usual, and type
checkers see the names.
"""

# By this name checkers take it as true. From `typing` it would double what the import costs.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from bedplate.cache.connections import RedisPool, get_redis_client
    from bedplate.errors import BedplateError
    from bedplate.jobs.run import JobRun
    from bedplate.jobs.tasks import Task, task
    from bedplate.layer import DataLayer
    from bedplate.rows.database import Database
    from bedplate.rows.ids import new_id
    from bedplate.rows.models import Model, Timestamps, UUIDKey, new_metadata
    from bedplate.rows.pagination import Page
    from bedplate.rows.repository import Repository
    from bedplate.settings import Settings
    from bedplate.system import System
    from bedplate.unit_of_work import UnitOfWork

__version__ = "0.1.0"

_ROOMS = {
    "BedplateError": "bedplate.errors",
    "DataLayer": "bedplate.layer",
    "Database": "bedplate.rows.database",
    "JobRun": "bedplate.jobs.run",
    "Model": "bedplate.rows.models",
    "Page": "bedplate.rows.pagination",
    "RedisPool": "bedplate.cache.connections",
    "Repository": "bedplate.rows.repository",
    "Settings": "bedplate.settings",
    "System": "bedplate.system",
    "Task": "bedplate.jobs.tasks",
    "Timestamps": "bedplate.rows.models",
    "UUIDKey": "bedplate.rows.models",
    "UnitOfWork": "bedplate.unit_of_work",
    "get_redis_client": "bedplate.cache.connections",
    "new_id": "bedplate.rows.ids",
    "new_metadata": "bedplate.rows.models",
    "task": "bedplate.jobs.tasks",
}

__all__ = [
    "BedplateError",
    "DataLayer",
    "Database",
    "JobRun",
    "Model",
    "Page",
    "RedisPool",
    "Repository",
    "Settings",
    "System",
    "Task",
    "Timestamps",
    "UUIDKey",
    "UnitOfWork",
    "__version__",
    "get_redis_client",
    "new_id",
    "new_metadata",
    "task",
]


def __getattr__(name: str) -> object:
    room = _ROOMS.get(name)
    if room is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found: object = getattr(import_module(room), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __all__
