"""schemathesis against one system: what its OpenAPI says is asked for, right, wrong and in order.

The application is served by uvicorn over a socket, on a layer of the test's own; schemathesis runs
as its command, in a process beside it. Called by `test_openapi.py` of each system.
"""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI

# What an answer must keep to; the others judge what a schema should say of a refusal.
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
# A stream ends with its job, and none runs here.
STREAMS = "/events$"
EXAMPLES = 12
LONGEST_LINE = 16 << 20
# A traceback of its own may be longer than any report of ours.
LONGEST = 20_000


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[str]:
    """The application's address for the time of the block. Its layer is open already."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(
            app,
            lifespan="off",
            log_level="error",
            access_log=False,
            # A longer line is refused by the server, before there is an application to ask.
            h11_max_incomplete_event_size=LONGEST_LINE,
        )
        server = uvicorn.Server(config)
        running = asyncio.create_task(server.serve([listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await running


async def findings(
    address: str, folder: Path, cookies: Mapping[str, str], *, without: str = STREAMS
) -> str | None:
    """What schemathesis found; nothing when the application keeps to its word."""
    program = Path(sys.executable).parent / "schemathesis"
    arguments = ["run", f"{address}/openapi.json"]
    arguments += ["--url", address, "--checks", ",".join(CHECKS), "--seed", "7", "--no-color"]
    arguments += ["--max-examples", str(EXAMPLES), "--max-failures", "20", "--warnings", "off"]
    arguments += ["--exclude-path-regex", without, "--max-redirects", "0"]
    arguments += ["--generation-database", "none", "--suppress-health-check", "all", "--no-shrink"]
    if cookies:
        joined = "; ".join(f"{name}={value}" for name, value in cookies.items())
        arguments += ["-H", f"Cookie: {joined}"]
    process = await asyncio.create_subprocess_exec(
        program,
        *arguments,
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    text = said.decode()
    if process.returncode == 0:
        # It ends well, too, when there was nothing to try.
        assert "Test cases:" in text, text
        return None
    return text[:LONGEST]
