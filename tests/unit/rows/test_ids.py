"""Ids: UUIDv7, rising within a process, apart between a process and its forks."""

import os
import uuid

from bedplate.rows.ids import new_id


def test_an_id_is_a_standard_uuid_of_version_7() -> None:
    """Drivers and JSON encoders know uuid.UUID, and no look-alike."""
    made = new_id()
    assert type(made) is uuid.UUID
    assert made.version == 7


def test_ids_made_one_after_another_rise() -> None:
    """Rows made together lie together in the index; pages by id follow the time of making."""
    made = [new_id() for _ in range(5000)]
    assert made == sorted(set(made))


def test_a_forked_child_makes_other_ids_than_its_parent() -> None:
    """Celery's pool forks: a generator whose state were copied would give two rows one id."""
    new_id()
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write_end, b"".join(new_id().bytes for _ in range(100)))
        os._exit(0)
    ours = {new_id().bytes[8:] for _ in range(100)}
    os.waitpid(child, 0)
    raw = os.read(read_end, 1600)
    os.close(read_end)
    os.close(write_end)
    # Only the random half: the first has the time, which may differ by itself.
    theirs = {raw[start + 8 : start + 16] for start in range(0, 1600, 16)}
    assert len(theirs) == 100
    assert not ours & theirs
