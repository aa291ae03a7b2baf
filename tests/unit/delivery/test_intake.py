"""What counts as a wake-up, whoever wrote it."""

import base64
import json
from typing import Any
from uuid import UUID

import pytest

from bedplate.delivery.broker import RUN_JOB, WakeUp, body_of, headers_of
from bedplate.delivery.intake import dropped, read

JOB = UUID("01a200db-0024-72c5-badc-5c62b87f3859")
WAKE_UP = WakeUp("shop", "mail", JOB)


def item(body: str | None = None, **more: Any) -> dict[str, Any]:
    """An item of Redis as our broker writes it, but for what is given."""
    return {
        "body": base64.b64encode((body or body_of(WAKE_UP)).encode()).decode(),
        "content-type": "application/json",
        "headers": headers_of(WAKE_UP, "test"),
        **more,
    }


def test_what_the_broker_writes_is_read() -> None:
    """The two ends must mean the same."""
    assert read(item(), "shop.mail") == WAKE_UP


@pytest.mark.parametrize(
    ("forged", "queue"),
    [
        (None, "shop.mail"),
        ([], "shop.mail"),
        ({}, "shop.mail"),
        (item(headers=None), "shop.mail"),
        (item(headers={"task": "os.system"}), "shop.mail"),
        (item(headers={"task": [RUN_JOB]}), "shop.mail"),
        (item(body="no json"), "shop.mail"),
        (item(body="[" * 3000), "shop.mail"),
        (item(body=json.dumps([["shop"], {}, {}])), "shop.mail"),
        (item(body=json.dumps([["shop", "no id"], {}, {}])), "shop.mail"),
        (item(body=json.dumps([[1, 2], {}, {}])), "shop.mail"),
        (item(body=json.dumps([["shop", str(JOB), "x" * 9999], {}, {}])), "shop.mail"),
        (item(**{"content-type": "application/x-python-serialize"}), "shop.mail"),
        ({**item(), "body": "*** no base64 ***"}, "shop.mail"),
        ({**item(), "body": 7}, "shop.mail"),
        (item(), "bank.mail"),
    ],
)
def test_everything_else_is_no_wake_up(forged: Any, queue: str) -> None:
    """Anyone who reaches Redis may write there, and nothing of it may end a worker."""
    assert read(forged, queue) is None


def test_reading_counts_nothing() -> None:
    """Only what is dropped is counted, where it is dropped."""
    before = dropped.total()
    read({}, "shop.mail")
    assert dropped.total() == before
