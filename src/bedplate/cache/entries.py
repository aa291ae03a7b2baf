"""What an entry says of itself, and values as JSON: checked when read, never executed.

    <fresh until> <gone after> <shape> <versions of its tags, with commas>\n<JSON>

Times are the server's, in milliseconds. The shape is a digest of the type's JSON schema: after a
deploy that changed a model its old entries are misses. What does not decode is a miss, too.
"""

import functools
import hashlib
import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import Any, Generic, TypeVar, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError
from pydantic_core import PydanticSerializationError

from bedplate.errors import CacheTypeError

T = TypeVar("T")

SHAPE_LENGTH = 12


@dataclass(frozen=True, slots=True)
class Shape(Generic[T]):
    """How values of one type are written and read."""

    adapter: TypeAdapter[T]
    digest: str

    def encode(self, value: T) -> bytes:
        """As JSON. Raises `CacheTypeError` when the value is not of the type."""
        try:
            return self.adapter.dump_json(value, warnings="error")
        except PydanticSerializationError as error:
            raise CacheTypeError(
                f"a {type(value).__name__} cannot be cached: {error}",
                hint="Return what the loader's annotation says, and what JSON can hold.",
            ) from error

    def decode(self, text: bytes) -> T:
        """The value. Raises `ValueError` when the text is none of this type."""
        try:
            return self.adapter.validate_json(text)
        except ValidationError as error:
            raise ValueError("not of the type") from error


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry as it was found, not decoded yet."""

    fresh_until_ms: int
    gone_after_ms: int
    shape: str
    tag_versions: tuple[str, ...]
    text: bytes


def pack(digest: str, tag_versions: Sequence[str], text: bytes) -> bytes:
    """What follows the times, which the script writes."""
    return f"{digest} {','.join(tag_versions)}\n".encode() + text


def unpack(raw: bytes) -> Entry | None:
    """None when it is no entry of ours."""
    head, _, text = raw.partition(b"\n")
    try:
        fresh, gone, shape, versions = head.decode("ascii").split(" ")
        return Entry(
            int(fresh), int(gone), shape, tuple(versions.split(",")) if versions else (), text
        )
    except ValueError:
        return None


def shape_of(load: Callable[..., Any], given: Any) -> Shape[Any]:
    """The shape of what a loader returns, by `type=` or by its annotation.

    Raises `CacheTypeError` when there is neither, or JSON cannot hold the type.
    """
    return shape_of_type(given if given is not None else _return_type(load))


def _return_type(load: Callable[..., Any]) -> Any:
    while isinstance(load, functools.partial):
        load = load.func
    function = inspect.unwrap(load)
    function = getattr(function, "__func__", function)
    if not isinstance(function, FunctionType):
        function = getattr(type(function), "__call__", function)  # noqa: B004 - its annotations
    annotations = getattr(function, "__annotations__", None) or {}
    found = annotations.get("return")
    if isinstance(found, str):
        found = _resolved(function)
    if found is None and "return" not in annotations:
        raise CacheTypeError(
            "the loader does not say what it returns",
            hint="Annotate its return type, or pass as_type=…",
        )
    return _awaited(found)


def _resolved(function: Any) -> Any:
    try:
        return get_type_hints(function)["return"]
    except NameError as error:
        raise CacheTypeError(
            f"the loader's annotation cannot be resolved: {error}",
            hint="Pass as_type=…, or annotate with a name of the module.",
        ) from error


def _awaited(annotation: Any) -> Any:
    """T of Awaitable[T] and Coroutine[Any, Any, T], for functions that are not `async def`."""
    origin = get_origin(annotation)
    if inspect.isclass(origin) and hasattr(origin, "__await__"):
        return get_args(annotation)[-1]
    return annotation


def shape_of_type(annotation: Any) -> Shape[Any]:
    """The shape of a type's values. Raises `CacheTypeError` when JSON cannot hold it."""
    return _shape(annotation)


@functools.lru_cache(maxsize=1024)
def _shape(annotation: Any) -> Shape[Any]:
    try:
        adapter = annotation if isinstance(annotation, TypeAdapter) else TypeAdapter(annotation)
        schema = adapter.json_schema(mode="serialization")
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        raise CacheTypeError(
            f"{annotation!r} cannot be cached: JSON does not hold it",
            hint="Return a pydantic model, a dataclass, a TypedDict or plain JSON.",
        ) from error
    text = json.dumps(schema, sort_keys=True, default=str)
    return Shape(adapter, hashlib.sha256(text.encode()).hexdigest()[:SHAPE_LENGTH])
