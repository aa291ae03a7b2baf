"""What autogenerate finds and writes, and its operations applied, without files."""

from typing import Any

from alembic.autogenerate import compare_metadata, produce_migrations
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, MetaData

from bedplate.rows.database import Database


async def run(database: Database, work: Any) -> Any:
    """Run synchronous work on a connection, committed."""
    async with database.engine.begin() as connection:
        return await connection.run_sync(work)


def migration(connection: Connection, metadata: MetaData) -> tuple[list[Any], list[Any]]:
    """What autogenerate would write: the operations up and down."""
    script = produce_migrations(MigrationContext.configure(connection), metadata)
    assert script.upgrade_ops is not None
    assert script.downgrade_ops is not None
    return list(script.upgrade_ops.ops), list(script.downgrade_ops.ops)


def kinds(operations: list[Any]) -> list[str]:
    """The names of the operations."""
    return [type(operation).__name__ for operation in operations]


def differences(connection: Connection, metadata: MetaData) -> list[Any]:
    """What `alembic check` would list."""
    return list(compare_metadata(MigrationContext.configure(connection), metadata))


def apply(connection: Connection, operations: list[Any]) -> None:
    """Run the operations, as a revision does."""
    runner = Operations(MigrationContext.configure(connection))
    for operation in operations:
        if hasattr(operation, "ops"):
            apply(connection, operation.ops)
        else:
            runner.invoke(operation)
