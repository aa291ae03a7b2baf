"""The MetaData of the layer's own tables, all in the schema `bedplate`.

Apart from every system's own `Base.metadata`, so that autogenerate of a system never sees these
tables; our numbered revisions create them. The tables stand with the rooms that own them:
`jobs/table.py` and `delivery/outbox.py`.
"""

from sqlalchemy import DDL, MetaData, Table, event

from bedplate.rows.policies import Policy, declare_policy

LAYER_SCHEMA = "bedplate"

LAYER_METADATA = MetaData(
    schema=LAYER_SCHEMA,
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    },
)

# Rows here are rewritten several times within seconds: room on the page for the next version, and
# vacuum by number of dead rows rather than by a share of a table that may be large.
CHURN = {
    "fillfactor": 70,
    "autovacuum_vacuum_scale_factor": 0.01,
    "autovacuum_vacuum_threshold": 1000,
    "autovacuum_analyze_scale_factor": 0.02,
    "autovacuum_vacuum_cost_delay": 0,
}

# Of `Table.info`: the names of its triggers.
TRIGGERS = "triggers"

# A row of nobody is nobody's, and a tenant's is that tenant's. The function is of revision 0007.
OF_TENANT = "tenant IS NOT DISTINCT FROM bedplate.current_tenant()"


def keep_to_tenant_or_nobody(table: Table) -> None:
    """Declare the policy of a table of ours whose rows may also be nobody's."""
    policy = Policy("tenant", table.name, OF_TENANT, OF_TENANT, schema=LAYER_SCHEMA)
    declare_policy(table.metadata, policy)


def keep_by_trigger(table: Table, name: str, function: str) -> None:
    """Declare the trigger that refuses wrong rows of a table of ours; a revision has its function.

    It does what CHECK constraints would, which cost every statement several times as much.
    """
    table.info.setdefault(TRIGGERS, set()).add(name)
    create = DDL(  # type: ignore[no-untyped-call]  # SQLAlchemy's
        f"CREATE TRIGGER {name} BEFORE INSERT OR UPDATE ON {table.fullname}"
        f" FOR EACH ROW EXECUTE FUNCTION {LAYER_SCHEMA}.{function}()"
    )
    event.listen(table, "after_create", create)
