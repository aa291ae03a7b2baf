"""What the pages say of errors, public names and tables is what the code says."""

from sqlalchemy import Column, ForeignKey, Integer, MetaData, String, Table

from tests.docs import generated
from tests.docs.generated import DIAGRAM


def test_pages_say_what_the_code_says() -> None:
    """Write them anew with: python -m tests.docs.generated."""
    stale = [
        path.name
        for path, text in generated.pages().items()
        if path.read_text(encoding="utf-8") != text
    ]
    assert stale == []


def test_every_system_has_its_diagram() -> None:
    """The layer's tables, and those of each system."""
    page = (generated.DOCS / "database.md").read_text(encoding="utf-8")
    assert set(DIAGRAM.findall(page)) == set(generated.diagrams())


def test_a_diagram_has_tables_columns_and_relations() -> None:
    """As Mermaid writes them: keys marked, what may be null said."""
    metadata = MetaData()
    Table("users", metadata, Column("id", Integer, primary_key=True))
    Table(
        "notes",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("user_id", ForeignKey("users.id"), nullable=False),
        Column("text", String(20)),
    )
    assert generated.draw(metadata) == (
        "erDiagram\n"
        "    notes {\n"
        "        integer id PK\n"
        "        integer user_id FK\n"
        '        varchar_20 text "or null"\n'
        "    }\n"
        "    users ||--o{ notes : user_id\n"
        "    users {\n"
        "        integer id PK\n"
        "    }\n"
    )


def test_every_error_says_when_and_most_what_to_do() -> None:
    """A class without a sentence, or a hint, is of no help to who meets it."""
    page = generated.render_errors()
    classes = generated.error_classes()
    assert [each.__name__ for each in classes if not each.__doc__] == []
    assert sum(f"**{each.__name__}**" in page for each in classes) > len(classes) / 2
