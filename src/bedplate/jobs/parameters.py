"""What a task takes: how its arguments are bound to its signature, checked, and made JSON.

The first parameter is the `JobRun`, and is none of them. Raises `ArgumentsError` for a signature
that cannot be stored by name; `tasks.py`, which calls it, says of which task arguments do not fit.
"""

import inspect
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.fields import FieldInfo

from bedplate.errors import ArgumentsError

_BINDABLE = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
# Made once: json.dumps makes one for each call with options, which costs more than the rest.
_STRICT = json.JSONEncoder(allow_nan=False, ensure_ascii=False)


@dataclass(frozen=True)
class Parameters:
    """A task function's parameters after the first: to bind a call, to check and render it."""

    signature: inspect.Signature
    model: type[BaseModel]


@cache
def parameters_of(function: Callable[..., Any]) -> Parameters:
    """Read once for each function, and not before its module is whole: hints may name it."""
    _, *parameters = inspect.signature(function).parameters.values()
    hints = _hints(function, {each.name for each in parameters})
    # By alias, because a field may not be called `copy` or `_x`, and a parameter may.
    fields: dict[str, Any] = {
        f"argument_{each.name}": (
            hints.get(each.name, Any),
            Field(
                ... if each.default is inspect.Parameter.empty else each.default, alias=each.name
            ),
        )
        for each in parameters
    }
    # Infinity and NaN as they are, to be refused: null would be another value.
    config = ConfigDict(extra="forbid", ser_json_inf_nan="constants")
    model = create_model(function.__name__, __config__=config, **fields)
    return Parameters(inspect.Signature(parameters), model)


def fields_of(model: BaseModel) -> Iterable[tuple[str, FieldInfo]]:
    """The fields of a call's model; each has its parameter's name as its alias."""
    return type(model).model_fields.items()


class _Annotations:
    """Carries the annotations of some parameters to `get_type_hints`."""


def _hints(function: Callable[..., Any], names: set[str]) -> dict[str, Any]:
    # The first parameter is left out: JobRun is often imported for the type checker alone.
    carrier = _Annotations()
    carrier.__annotations__ = {
        name: hint for name, hint in function.__annotations__.items() if name in names
    }
    return get_type_hints(
        carrier, getattr(inspect.unwrap(function), "__globals__", {}), include_extras=True
    )


def check_signature(function: Callable[..., Any]) -> None:
    """Raises `ArgumentsError` when its arguments cannot be stored by name."""
    parameters = list(inspect.signature(function).parameters.values())
    where = f"{function.__module__}.{function.__qualname__}"
    if not inspect.iscoroutinefunction(function):
        raise ArgumentsError(f"task {where} is no async function", hint="Write `async def`.")
    if not parameters or parameters[0].kind not in {
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    }:
        raise ArgumentsError(f"task {where} has no first parameter for its JobRun")
    for each in parameters[1:]:
        if each.kind not in _BINDABLE:
            raise ArgumentsError(
                f"task {where} has the parameter {each}",
                hint="Arguments are stored by name: no *args, **kwargs or positional-only ones.",
            )


def first_reason(error: ValidationError) -> str:
    """Which argument does not fit, and why; without its value."""
    first = error.errors(include_input=False, include_context=False, include_url=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"


def refuse_unstorable(encoded: dict[str, Any]) -> None:
    """Raises `ValueError` for NaN, lone surrogates, NUL: JSON or jsonb cannot hold them."""
    rendered = _STRICT.encode(encoded)
    rendered.encode()
    if "\\u0000" in rendered.replace("\\\\", ""):
        raise ValueError("a text holds the character NUL, which PostgreSQL cannot store")
