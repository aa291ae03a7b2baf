"""Whom rows belong to."""

import hashlib
import uuid

import pytest

from systems.librilabs.models import Document
from systems.librilabs.readers import OwnerMissingError, Reader


def test_a_token_is_known_by_its_hash_alone() -> None:
    """A stolen database must not open anybody's session."""
    reader = Reader.of_token("secret")

    assert reader.session_id == hashlib.sha256(b"secret").hexdigest()
    assert "secret" not in repr(reader)


@pytest.mark.parametrize("nobody", [Reader(), Reader(session_id="")])
def test_nobody_can_neither_read_nor_write(nobody: Reader) -> None:
    """A query without an owner would show everybody's rows."""
    with pytest.raises(OwnerMissingError):
        nobody.owns(Document)
    with pytest.raises(OwnerMissingError):
        nobody.columns()


def test_a_signed_in_reader_makes_rows_of_the_user() -> None:
    """They must stay the user's when the session ends."""
    user_id = uuid.uuid4()

    assert Reader(user_id, "session").columns() == {"user_id": user_id, "session_id": None}
    assert Reader(None, "session").columns() == {"user_id": None, "session_id": "session"}
