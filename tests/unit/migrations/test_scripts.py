"""What is rendered as SQL text."""

from bedplate.migrations.grants import quote_identifier, render_grants, render_protection
from bedplate.migrations.layer_schema import layer_head, layer_revisions, render_layer


def test_layer_revisions_are_numbered_once_each() -> None:
    """A double number would be one that two people wrote; each is applied by its own number."""
    numbers = [each.number for each in layer_revisions()]
    assert numbers == sorted(set(numbers))
    assert all(number == f"{int(number):04}" for number in numbers)
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
