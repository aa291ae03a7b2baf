"""Who asks: the reader behind a request."""

from typing import Annotated

from fastapi import Depends, Request, Response

from bedplate.fastapi import DepLayer, SignedCookie
from systems.librilabs.readers import Reader

COOKIE = "librilabs"


async def identify(request: Request, response: Response, layer: DepLayer) -> Reader:
    """The holder of the cookie; without one, a reader who is new and gets one with the answer.

    A forged or expired cookie is answered by a 401.
    """
    cookie = SignedCookie.from_settings(COOKIE, layer.settings)
    token = cookie.read(request)
    if token is None:
        issued = cookie.issue(request)
        response.headers.append("Set-Cookie", issued.header)
        token = issued.token
    return Reader.of_token(token)


DepReader = Annotated[Reader, Depends(identify)]
