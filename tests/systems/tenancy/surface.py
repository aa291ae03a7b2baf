"""Everything that a system offers over the network, read from the application itself.

Nobody lists routes here: one that is added tomorrow is found tomorrow. A body is made from its
schema in the OpenAPI document; a parameter that nobody knows a value for fails the test.
"""

import json
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIWebSocketRoute
from httpx import AsyncClient, Response
from starlette.routing import BaseRoute
from starlette.types import Message

METHODS = ("get", "post", "put", "patch", "delete")
# What changes least comes first, so that the last ones still find what they are to try.
ORDER = {"GET": 0, "WS": 1, "POST": 2, "PUT": 3, "PATCH": 4, "DELETE": 5}
UUIDS = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
EMAIL = "new-{}@example.org"


@dataclass(frozen=True)
class Operation:
    """One method of one path, as the OpenAPI document has it; "WS" is a WebSocket."""

    method: str
    path: str
    spec: Mapping[str, Any]
    components: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters of its path."""
        return tuple(re.findall(r"{(\w+)}", self.path))

    @property
    def is_stream(self) -> bool:
        """Whether its answer may have no end."""
        return "text/event-stream" in json.dumps(self.spec.get("responses", {}))

    def at(self, ids: Mapping[str, Any]) -> str:
        """Its address, with these ids."""
        missing = set(self.names) - set(ids)
        assert not missing, f"{self}: say in owners.py which {missing} an owner has"
        return re.sub(r"{(\w+)}", lambda found: ids[found[1]], self.path)

    def options(self, ids: Mapping[str, Any]) -> dict[str, Any]:
        """Query and body, made from their schemas; ids that they ask for are these."""
        query = {
            each["name"]: example(each["schema"], self.components, ids, each["name"])
            for each in self.spec.get("parameters", ())
            if each["in"] == "query" and (each.get("required") or each["name"] == "q")
        }
        body = self.spec.get("requestBody", {}).get("content", {})
        found: dict[str, Any] = {"params": query} if query else {}
        if "application/json" in body:
            schema = body["application/json"]["schema"]
            found["json"] = example(schema, self.components, ids, "")
        for form in ("multipart/form-data", "application/x-www-form-urlencoded"):
            if form in body:
                fields = example(body[form]["schema"], self.components, ids, "")
                files = {name: value for name, value in fields.items() if isinstance(value, tuple)}
                found["data"] = {name: fields[name] for name in fields if name not in files}
                if files:
                    found["files"] = files
        return found


def operations(app: FastAPI) -> list[Operation]:
    """Every one of an application, its WebSockets among them."""
    document = app.openapi()
    components = document.get("components", {}).get("schemas", {})
    found = [
        Operation(method.upper(), path, spec, components)
        for path, methods in document["paths"].items()
        for method, spec in methods.items()
        if method in METHODS
    ]
    routes = list(flat(app.routes))
    found += [
        Operation("WS", route.path, {}, components)
        for route in routes
        if isinstance(route, APIWebSocketRoute)
    ]
    hidden = {str(getattr(route, "path", route)) for route in routes}
    hidden -= {each.path for each in found} | _OWN
    assert not hidden, f"routes that no OpenAPI document names: {hidden}"
    return sorted(found, key=lambda each: (ORDER[each.method], "logout" in each.path, each.path))


# FastAPI's own pages, which know nobody.
_OWN = {"/openapi.json", "/docs", "/docs/oauth2-redirect", "/redoc"}


def flat(routes: Sequence[BaseRoute]) -> Iterator[BaseRoute]:
    """All routes, those of included routers as well."""
    for route in routes:
        included = getattr(route, "original_router", None)
        if included is None:
            yield route
        else:
            yield from flat(included.routes)


def example(
    schema: Mapping[str, Any], components: Mapping[str, Any], ids: Mapping[str, Any], name: str
) -> Any:
    """A value that fits a schema; what it calls by a known name is that owner's."""
    if "$ref" in schema:
        return example(components[schema["$ref"].rpartition("/")[2]], components, ids, name)
    choices = next((schema[each] for each in ("anyOf", "oneOf", "allOf") if each in schema), None)
    if choices is not None:
        return example(choices[0], components, ids, name)
    if schema.get("type") == "object":
        return {
            key: example(value, components, ids, key)
            for key, value in schema.get("properties", {}).items()
        }
    if schema.get("type") == "array":
        return [example(schema["items"], components, ids, name)]
    return _known(name, ids) or _given(schema) or _made(schema)


def _known(name: str, ids: Mapping[str, Any]) -> Any:
    if name.startswith("target_lang"):
        return "es"
    return ids.get(name)


def _given(schema: Mapping[str, Any]) -> Any:
    for each in ("const", "default"):
        if schema.get(each) is not None:
            return schema[each]
    for each in ("enum", "examples"):
        for given in schema.get(each, ()):
            if isinstance(given, str) and "@" in given:
                return EMAIL.format(uuid.uuid4().hex)
            return given
    return None


def _made(schema: Mapping[str, Any]) -> Any:
    match schema.get("type"):
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return True
        case "string":
            return _text(schema)
    return None


def _text(schema: Mapping[str, Any]) -> Any:
    if schema.get("format") == "binary" or "contentMediaType" in schema:
        return ("new.txt", b"a text that is new", "text/plain")
    text = uuid.uuid4()
    if schema.get("format") == "uuid":
        return str(text)
    return f"new {text.hex}"[: schema.get("maxLength", 99)].ljust(schema.get("minLength", 0), "x")


async def ask(client: AsyncClient, operation: Operation, ids: Mapping[str, Any]) -> Response:
    """Do it over HTTP, or by a WebSocket's handshake, which answers as HTTP does."""
    address = operation.at(ids)
    if operation.method == "WS":
        return await shake_hands(client, address)
    return await client.request(operation.method, address, **operation.options(ids))


async def shake_hands(client: AsyncClient, address: str) -> Response:
    """A WebSocket's handshake, and a leave: 101 when it was accepted, with all that it said."""
    transport: Any = client._transport
    cookies = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    scope = {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": "ws",
        "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 1),
        "root_path": "",
        "path": address,
        "raw_path": address.encode(),
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1"), (b"cookie", cookies.encode())],
        "subprotocols": [],
        "state": {},
        "extensions": {"websocket.http.response": {}},
    }
    sent: list[Message] = []
    coming: list[Message] = [
        {"type": "websocket.connect"},
        {"type": "websocket.disconnect", "code": 1001},
    ]

    async def receive() -> Message:
        return coming.pop(0) if len(coming) > 1 else coming[0]

    async def send(message: Message) -> None:
        sent.append(message)

    await transport.app(scope, receive, send)
    if sent and sent[0]["type"] == "websocket.http.response.start":
        body = b"".join(each.get("body", b"") for each in sent[1:])
        return Response(sent[0]["status"], headers=sent[0]["headers"], content=body)
    is_accepted = bool(sent) and sent[0]["type"] == "websocket.accept"
    texts = "".join(str(each.get("text", "")) for each in sent)
    return Response(101 if is_accepted else 403, text=texts)
