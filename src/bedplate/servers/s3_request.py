"""One signed request to our own S3 on this machine: enough to make a bucket and ask for it.

Importing an S3 client takes longer than a warm start of the server; this is 2 ms. Signature
version 4, as in https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html
"""

import hashlib
import hmac
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

from bedplate.servers.state import S3Keys

ALGORITHM = "AWS4-HMAC-SHA256"
ANSWER_SECONDS = 2.0


@dataclass(frozen=True)
class Answer:
    """What the server said. Names of headers are in small letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def request(
    method: str,
    port: int,
    path: str,
    keys: S3Keys,
    *,
    region: str,
    query: Mapping[str, str] | None = None,
    body: bytes = b"",
) -> Answer:
    """Ask and wait for the whole answer. Raises `OSError`, `ValueError` for what is no HTTP."""
    found = "&".join(
        f"{quote(name, safe='')}={quote(value, safe='')}"
        for name, value in sorted((query or {}).items())
    )
    headers = {
        "host": f"127.0.0.1:{port}",
        "x-amz-content-sha256": hashlib.sha256(body).hexdigest(),
        "x-amz-date": f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}",
    }
    headers["authorization"] = authorization(
        method, quote(path), found, headers, keys, region=region
    )
    lines = [f"{method} {quote(path)}{'?' if found else ''}{found} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"content-length: {len(body)}", "connection: close", "", ""]
    with socket.create_connection(("127.0.0.1", port), ANSWER_SECONDS) as link:
        link.sendall("\r\n".join(lines).encode() + body)
        with link.makefile("rb") as reader:
            return _parsed(reader.read())


def authorization(
    method: str, path: str, query: str, headers: Mapping[str, str], keys: S3Keys, *, region: str
) -> str:
    """The header that proves who asks; path and query are encoded already, the latter sorted."""
    names = ";".join(sorted(headers))
    canonical = "\n".join(
        [
            method,
            path,
            query,
            *(f"{name}:{headers[name]}" for name in sorted(headers)),
            "",
            names,
            headers["x-amz-content-sha256"],
        ]
    )
    moment = headers["x-amz-date"]
    scope = f"{moment[:8]}/{region}/s3/aws4_request"
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    key = f"AWS4{keys.secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signed = hmac.digest(key, f"{ALGORITHM}\n{moment}\n{scope}\n{hashed}".encode(), "sha256")
    return (
        f"{ALGORITHM} Credential={keys.key_id}/{scope}, SignedHeaders={names}, "
        f"Signature={signed.hex()}"
    )


def _parsed(raw: bytes) -> Answer:
    head, separator, body = raw.partition(b"\r\n\r\n")
    first, *rest = head.decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if not separator or len(words) < 2 or not words[0].startswith("HTTP/1."):
        raise ValueError("the answer is no HTTP")
    pairs = (line.partition(":") for line in rest)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    return Answer(int(words[1]), headers, body)
