"""`bedplate status`: every service, up or down, where and since when. Answers within 200 ms."""

from datetime import timedelta
from typing import Any

from bedplate.cli.options import Invocation, declare
from bedplate.cli.output import table
from bedplate.cli.process_age import started_at
from bedplate.cli.reach import answers
from bedplate.cli.run_record import read_record
from bedplate.cli.stack import not_running
from bedplate.cli.stand import Stand
from bedplate.servers import client

# The whole answer is to take 200 ms at most.
CONNECT_LIMIT = timedelta(milliseconds=100)
NOT_READY = 3
COLUMNS = ("service", "state", "address", "pid", "since", "version")


@declare("status", "Show which services are up, where, and since when.")
def command(invocation: Invocation) -> int:
    """Print one line per service. Exit status 3 when one that is needed is down."""
    project = invocation.project
    stand = Stand.find(project, invocation.variables)
    state = client.read_state(project) if stand.embeds else None
    if stand.embeds and state is None:
        raise not_running(project)
    rows = _managed_rows(stand)
    if state is not None:
        rows += [
            _row(service.name, service.is_up, service.port, service.pid, service.version)
            for service in state.services
        ]
    rows += [
        _row(child["name"], child["pid"] is not None, child.get("port"), child["pid"])
        for child in read_record(project.state)
    ]
    lines = table([COLUMNS, *([_text(row[column]) for column in COLUMNS] for row in rows)])
    invocation.output.result({"services": rows}, lines)
    return 0 if all(row["state"] != "down" for row in rows) else NOT_READY


def _row(
    name: str, is_up: bool, port: int | None, pid: int | None, version: str = ""
) -> dict[str, Any]:
    return {
        "service": name,
        "state": "up" if is_up else "down",
        "address": f"127.0.0.1:{port}" if port else None,
        "pid": pid,
        "since": _started(pid) if is_up and pid else None,
        "version": version or None,
    }


def _managed_rows(stand: Stand) -> list[dict[str, Any]]:
    return [
        {
            "service": name,
            "state": "managed" if answers(where, within=CONNECT_LIMIT) else "down",
            "address": str(where),
            "pid": None,
            "since": None,
            "version": None,
        }
        for name, where in stand.endpoints().items()
    ]


def _started(pid: int) -> str | None:
    moment = started_at(pid)
    if moment is None:
        return None
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _text(value: Any) -> str:
    return "-" if value is None else str(value)
