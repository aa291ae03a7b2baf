"""The tests of every system run on the stand that was asked for, and say which server that is."""

import os
from collections.abc import Callable

import pytest
from sqlalchemy import text

from bedplate.layer import DataLayer
from bedplate.project import Project
from bedplate.settings import Settings
from bedplate.testing.stack import POOLED, Servers
from bedplate.urls import DatabaseUrl
from tests.stands import USUAL
from tests.texts import ROOT


@pytest.fixture(params=[entry.name for entry in Project.find({}, ROOT).systems])
def bedplate_system_name(request: pytest.FixtureRequest) -> str:
    """Each of them."""
    return str(request.param)


async def test_the_system_is_on_the_stand_that_was_asked_for(
    layer: DataLayer,
    bedplate_settings: Settings,
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
        assert version.split(".")[0] == (os.environ.get("TEST_POSTGRES") or USUAL)
    assert bedplate_settings.is_behind_pooler == is_pooled
    assert bedplate_settings.direct_database().port == port
    assert (bedplate_settings.database().port != port) == is_pooled
