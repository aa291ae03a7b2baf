"""What of an error is kept in the ledger."""

from bedplate.jobs.run import LONGEST_MESSAGE, describe


def test_type_and_first_line_are_kept() -> None:
    """Enough to know what happened."""
    assert describe(ValueError("no such language: tlh")) == "ValueError: no such language: tlh"


def test_an_error_without_message_is_its_type() -> None:
    """No trailing colon."""
    assert describe(TimeoutError()) == "TimeoutError"


def test_values_below_the_first_line_are_left_out() -> None:
    """PostgreSQL's DETAIL and pydantic's input stand there."""
    assert "secret" not in describe(ValueError("duplicate key\nDETAIL: Key (mail)=(secret)"))


def test_passwords_in_urls_are_masked() -> None:
    """A driver may name the URL that it could not reach."""
    described = describe(OSError("cannot reach postgresql://u:hunter2@h/db"))
    assert "hunter2" not in described
    assert "postgresql://u:***@h/db" in described


def test_a_long_message_is_cut() -> None:
    """A row is no place for a document."""
    assert len(describe(ValueError("x" * 10_000))) < LONGEST_MESSAGE + 20


def test_a_nul_is_left_out() -> None:
    """No text in PostgreSQL holds one: the error would be lost with it."""
    assert describe(ValueError("a\0b")) == "ValueError: ab"
