"""Asks the API whether it is ready, with nothing but the standard library. Called by `run`."""

import asyncio
import contextlib
import json
from typing import Any

LOOK_AGAIN_SECONDS = 0.1
ANSWER_SECONDS = 5.0


async def wait_until_healthy(port: int) -> None:
    """Return once /health/ready answers 200. For ever, if it never does."""
    while (await _get(port, "/health/ready"))[0] != 200:  # noqa: ASYNC110 - another process' state
        await asyncio.sleep(LOOK_AGAIN_SECONDS)


async def describe_unhealthy(port: int) -> str:
    """Which services /health calls down, and why."""
    status, body = await _get(port, "/health")
    if status == 0:
        return "the API does not answer"
    down = [
        f"{system}: {name} is down ({service.get('reason') or 'no reason given'})"
        for system, services in body.get("systems", {}).items()
        for name, service in services.items()
        if service.get("status") != "up"
    ]
    return "; ".join(down) or f"/health/ready answers {status}"


async def _get(port: int, path: str) -> tuple[int, dict[str, Any]]:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(
                    f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
                    "Accept: application/json\r\nConnection: close\r\n\r\n".encode()
                )
                answer = await reader.read()
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError):
        return 0, {}
    head, _, body = answer.partition(b"\r\n\r\n")
    try:
        return int(head.split(b" ", 2)[1]), json.loads(body)
    except (IndexError, ValueError):
        return 0, {}
