"""The tests of librilabs run on the stand that was asked for, and say which server that is."""

import os
from collections.abc import Callable

from sqlalchemy import text

from bedplate.layer import DataLayer
from bedplate.settings import Settings
from bedplate.testing.stack import POOLED, Servers
from bedplate.urls import DatabaseUrl

USUAL_POSTGRES = "18"


async def test_L22_the_suite_runs_on_the_stand_that_was_asked_for(
    layer: DataLayer,
    librilabs_settings: Settings,
    stack: Servers,
    record_property: Callable[[str, object], None],
) -> None:
    """A variable that is not heeded would have the same server tested twice, and nobody notice."""
    async with layer.reading() as session:
        version = str(await session.scalar(text("SHOW server_version")))
        port = await session.scalar(text("SELECT inet_server_port()"))
    record_property("server_version", version)

    named = os.environ.get("TEST_DATABASE_URL")
    is_pooled = os.environ.get("TEST_STAND") == POOLED
    if named:
        assert stack.state is None
        assert port == DatabaseUrl.parse(named).port
    else:
        assert stack.state is not None
        assert version.split(".")[0] == (os.environ.get("TEST_POSTGRES") or USUAL_POSTGRES)
    assert librilabs_settings.is_behind_pooler == is_pooled
    assert librilabs_settings.direct_database().port == port
    assert (librilabs_settings.database().port != port) == is_pooled
