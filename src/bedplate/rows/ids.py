"""Ids of rows and jobs: UUIDv7, so that rows made one after another lie beside each other.

Made in Python, before the INSERT, so that a row's id is known while its unit of work is open. They
tell their time of making: links that strangers get use random tokens instead.
"""

import sys
import uuid

if sys.version_info >= (3, 14):
    from uuid import uuid7
else:
    from uuid_utils.compat import uuid7


def new_id() -> uuid.UUID:
    """A new UUIDv7. Ids of one process rise; those of a forked child differ from its parent's."""
    return uuid7()
