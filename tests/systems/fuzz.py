"""schemathesis against one system: what its OpenAPI says is asked for, right, wrong and in order.

The application is served over a socket (`served(app, **SERVER)`), on a layer of the test's own;
schemathesis runs as its command, in a process beside it. For `test_openapi.py` of each system.
"""

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
# A longer line is refused by the server, before there is an application to ask.
SERVER: dict[str, Any] = {"h11_max_incomplete_event_size": 16 << 20}
# A traceback of its own may be longer than any report of ours.
LONGEST = 20_000


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
