"""The schema's summary in live_agent's README, made from the metadata.

`python -m tests.systems.live_agent.schema_summary` writes it anew; a test holds it true.
"""

import re
from collections.abc import Iterator

from sqlalchemy import CheckConstraint, Column, Table, UniqueConstraint
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Mapper
from sqlalchemy.sql.ddl import CreateColumn

from bedplate.rows.policies import row_security_of
from systems.live_agent.models import Base
from tests.texts import ROOT

README = ROOT / "systems" / "live_agent" / "README.md"
PLACE = re.compile(r"(<!-- schema -->\n).*?(<!-- end of schema -->)", re.DOTALL)
DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call] # SQLAlchemy has no types for it


def render() -> str:
    """A section for each table, in the order in which they refer to one another."""
    mappers = {mapper.local_table: mapper for mapper in Base.registry.mappers}
    sections = ("\n".join(_section(table, mappers[table])) for table in Base.metadata.sorted_tables)
    return "\n" + "\n\n".join(sections) + "\n\n"


def in_readme(text: str) -> str:
    """The page with the summary in its place."""
    return PLACE.sub(lambda found: f"{found[1]}{render()}{found[2]}", text)


def _section(table: Table, mapper: "Mapper[object]") -> Iterator[str]:
    purpose = (mapper.class_.__doc__ or "").splitlines()[0]
    yield f"**`{table.name}`**: {purpose}"
    yield ""
    yield "| column | type | |"
    yield "|---|---|---|"
    for column in table.columns:
        yield f"| `{column.name}` | {column.type.compile(DIALECT).lower()} | {_notes(column)} |"
    yield ""
    for line in _rules(table, mapper):
        yield f"- {line}"


def _notes(column: "Column[object]") -> str:
    notes = []
    if column.primary_key:
        notes.append("primary key")
    if column.unique:
        notes.append("unique")
    notes += [
        f"→ `{key.target_fullname}`"
        for key in column.foreign_keys
        if len(key.constraint.elements if key.constraint else ()) == 1
    ]
    if column.nullable:
        notes.append("null")
    ddl = str(CreateColumn(column).compile(dialect=DIALECT))
    if found := re.search(r" DEFAULT (\S+)", ddl):
        notes.append(f"default {found[1]}")
    return ", ".join(notes)


def _rules(table: Table, mapper: "Mapper[object]") -> Iterator[str]:
    for constraint in sorted(table.constraints, key=lambda each: str(each.name)):
        if isinstance(constraint, CheckConstraint):
            yield f"check `{constraint.sqltext}`"
        elif isinstance(constraint, UniqueConstraint) and len(constraint.columns) > 1:
            yield f"unique ({', '.join(f'`{each.name}`' for each in constraint.columns)})"
        elif len(getattr(constraint, "elements", ())) > 1:
            columns = ", ".join(f"`{name}`" for name in constraint.column_keys)  # type: ignore[attr-defined] # a foreign key
            yield f"({columns}) → `{constraint.referred_table.name}`"  # type: ignore[attr-defined] # as above
    for name, way in sorted(mapper.relationships.items()):
        several = "many" if way.uselist else "one"
        yield f"relationship `{name}`: {several} `{way.mapper.class_.__name__}`"
    if (table.schema, table.name) in row_security_of(table.metadata).tables:
        yield "row-level security: seen and written by its organization alone"


if __name__ == "__main__":
    README.write_text(in_readme(README.read_text()))
