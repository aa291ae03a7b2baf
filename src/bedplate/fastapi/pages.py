"""A page of a list, as it goes out over HTTP."""

from typing import Generic, TypeVar

from pydantic import BaseModel

T = TypeVar("T")


class PageOut(BaseModel, Generic[T]):
    """Some items in order; `next` is the `cursor` of the page that follows, if there is one."""

    items: list[T]
    next: str | None
