"""Who asks: the reader behind a request."""

from typing import Annotated

from fastapi import Depends, Request, Response
from starlette.requests import HTTPConnection

from bedplate.fastapi import DepLayer, Identity, SignedCookie, digest, get_layer
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


async def identity_of(connection: HTTPConnection) -> Identity:
    """The same as the layer asks it: nobody before the first cookie was given."""
    layer = await get_layer(connection)
    token = SignedCookie.from_settings(COOKIE, layer.settings).read(connection)
    return Identity() if token is None else Identity(actor=digest(token))


DepReader = Annotated[Reader, Depends(identify)]
