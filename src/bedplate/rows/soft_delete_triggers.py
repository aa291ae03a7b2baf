"""What the database holds of soft delete, whoever sends the statement: triggers beside the tables.

A present row is not removed. A row that belongs to another is deleted and restored with it: what
both share is the moment of the deletion, so that what was deleted before on its own stays so.
Called when a model is declared.
"""

from sqlalchemy import Table

from bedplate.rows.triggers import Function, Trigger, declare_function, declare_trigger, quoted

# For people who mean it: BEGIN; SET LOCAL bedplate.hard_delete = 'on'; DELETE …
HARD_DELETE = "bedplate.hard_delete"

# One function for all tables. TRUNCATE and DROP are no accidents, and are not asked.
REFUSE_DELETE = Function(
    name="refuse_delete_of_present_row",
    body=f"""
        BEGIN
            IF OLD.deleted_at IS NULL
               AND coalesce(current_setting('{HARD_DELETE}', true), '') <> 'on' THEN
                RAISE EXCEPTION 'a row of % that is not deleted by its deleted_at is not removed',
                    TG_TABLE_NAME
                    USING ERRCODE = 'restrict_violation',
                          HINT = 'SET deleted_at, or SET LOCAL {HARD_DELETE} = ''on''';
            END IF;
            RETURN OLD;
        END;
    """,
)

# Fires on the parent. A child that was deleted on its own has another moment, and stays deleted.
_TAKE = """
    BEGIN
        IF NEW.deleted_at IS DISTINCT FROM OLD.deleted_at THEN
            UPDATE {child}
               SET deleted_at = NEW.deleted_at
             WHERE {column} = NEW.{key}
               AND deleted_at IS NOT DISTINCT FROM OLD.deleted_at;
        END IF;
        RETURN NULL;
    END;
"""

# Fires on the child. FOR SHARE: a deletion of the parent that is under way is waited for, and then
# seen; else it would not see this row, nor this one it.
_FOLLOW = """
    BEGIN
        IF NEW.deleted_at IS NULL THEN
            SELECT deleted_at INTO NEW.deleted_at
              FROM {parent}
             WHERE {key} = NEW.{column}
               FOR SHARE;
        END IF;
        RETURN NEW;
    END;
"""


def declare_refusal(table: Table) -> None:
    """Rows of the table are removed only after they were deleted by `deleted_at`."""
    name = f"{table.name}_refuse_delete"
    _declare(table, table.name, table.schema, name, REFUSE_DELETE, "BEFORE DELETE")


def declare_cascade(table: Table, column: str) -> None:
    """Rows of the table are deleted and restored with the row that `column` names."""
    (foreign_key,) = table.c[column].foreign_keys
    *schemas, parent, key = foreign_key.target_fullname.split(".")
    schema = schemas[0] if schemas else None
    names = {
        "child": _qualified(table.schema, table.name),
        "parent": _qualified(schema, parent),
        "column": quoted(column),
        "key": quoted(key),
    }
    take = Function(f"delete_{table.name}_with_{parent}", _TAKE.format(**names))
    follow = Function(f"delete_{table.name}_of_deleted_{parent}", _FOLLOW.format(**names))
    _declare(
        table, parent, schema, f"{parent}_delete_{table.name}", take, "AFTER UPDATE OF deleted_at"
    )
    _declare(
        table,
        table.name,
        table.schema,
        f"{table.name}_follow_{parent}",
        follow,
        "BEFORE INSERT OR UPDATE OF deleted_at",
    )


def _declare(
    beside: Table, table: str, schema: str | None, name: str, function: Function, event: str
) -> None:
    declare_function(beside.metadata, function)
    declare_trigger(beside.metadata, Trigger(name, table, function.name, event, schema))


def _qualified(schema: str | None, name: str) -> str:
    return f"{quoted(schema)}.{quoted(name)}" if schema else quoted(name)
