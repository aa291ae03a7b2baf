"""What is rendered as SQL text."""

from bedplate.migrations.grants import quote_identifier, render_grants, render_protection
from bedplate.migrations.layer_schema import layer_head, layer_revisions, render_layer

# Kept for a change that was not needed. The numbers after it are applied, so it stays free.
UNUSED = ["0006"]


def test_layer_revisions_are_numbered_without_gaps() -> None:
    """A gap would be a file that was forgotten, a double one that two people wrote."""
    numbers = [each.number for each in layer_revisions()]
    wanted = [f"{index:04}" for index in range(1, len(numbers) + len(UNUSED) + 1)]
    assert sorted([*numbers, *UNUSED]) == wanted
    assert layer_head() == numbers[-1]


def test_layer_script_records_each_revision() -> None:
    """A database made by the script must not be migrated a second time."""
    script = render_layer()
    assert script.startswith("BEGIN;")
    for each in layer_revisions():
        assert f"VALUES ('{each.number}', '{each.title}');" in script


def test_role_is_quoted_in_names_and_in_texts() -> None:
    """A database called o'hara gives a role that must not end a string."""
    script = render_grants("o'hara_app")
    assert 'TO "o\'hara_app";' in script
    assert "'o''hara_app'" in script
    assert render_protection("x").endswith('FROM "x";')
    assert quote_identifier('a"b') == '"a""b"'
