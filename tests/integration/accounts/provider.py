"""An OpenID provider on loopback: real HTTP, real signatures, and the lies that a test asks for."""

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import uvicorn
from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from bedplate.accounts.openid import Provider

CLIENT_ID = "bedplate-tests"
CLIENT_SECRET = "secret-of-the-tests"
REDIRECT = "http://127.0.0.1/auth/google/callback"


@dataclass
class Person:
    """Who signs in at the provider when the browser comes by."""

    subject: str = "108204268033311374519"
    email: str = "ada@example.org"
    name: str = "Ada Lovelace"
    email_verified: bool = True


@dataclass
class LocalProvider:
    """Use as a context manager. `claims` and `header` are changed in the next id_tokens."""

    person: Person = field(default_factory=Person)
    claims: dict[str, Any] = field(default_factory=dict)
    dropped: set[str] = field(default_factory=set)
    sign_with: str = "RS256"
    named: str | None = None
    redirect: str = REDIRECT

    def __post_init__(self) -> None:
        self._key = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"}, auto_kid=False)
        self._codes: dict[str, dict[str, str]] = {}
        routes = [
            Route("/.well-known/openid-configuration", self._configuration),
            Route("/authorize", self._authorize),
            Route("/token", self._token, methods=["POST"]),
            Route("/keys", self._keys),
        ]
        config = uvicorn.Config(Starlette(routes=routes), port=0, log_level="error", lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def __enter__(self) -> "LocalProvider":
        self._thread.start()
        deadline = time.monotonic() + 20
        while not self._server.started:
            assert time.monotonic() < deadline, "the provider did not start"
            self._thread.join(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(20)

    @property
    def issuer(self) -> str:
        """Where it is, and how it names itself."""
        host, port = self._server.servers[0].sockets[0].getsockname()[:2]
        return f"http://{host}:{port}"

    def client(self) -> Provider:
        """What an application that is registered there knows of it."""
        return Provider(self.issuer, CLIENT_ID, CLIENT_SECRET, self.redirect)

    async def _configuration(self, _request: Request) -> Response:
        return JSONResponse(
            {
                "issuer": self.named or self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/keys",
            }
        )

    async def _authorize(self, request: Request) -> Response:
        asked = dict(request.query_params)
        assert asked["client_id"] == CLIENT_ID
        assert asked["redirect_uri"] == self.redirect
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(16)
        self._codes[code] = asked
        return RedirectResponse(
            f"{self.redirect}?{urlencode({'code': code, 'state': asked['state']})}"
        )

    async def _token(self, request: Request) -> Response:
        form = {key: values[0] for key, values in parse_qs((await request.body()).decode()).items()}
        asked = self._codes.pop(form.get("code", ""), None)
        if asked is None or not _is_challenge(form.get("code_verifier", ""), asked):
            return JSONResponse({"error": "invalid_grant"}, 400)
        if request.headers.get("authorization") != _basic(CLIENT_ID, CLIENT_SECRET):
            return JSONResponse({"error": "invalid_client"}, 401)
        token = self._signed(asked["nonce"])
        return JSONResponse({"access_token": "unused", "token_type": "Bearer", "id_token": token})

    async def _keys(self, _request: Request) -> Response:
        return JSONResponse({"keys": [self._key.as_dict(private=False)]})

    def _signed(self, nonce: str) -> str:
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "sub": self.person.subject,
            "email": self.person.email,
            "email_verified": self.person.email_verified,
            "name": self.person.name,
            "nonce": nonce,
            "iat": now,
            "exp": now + 300,
            **self.claims,
        }
        kept = {key: value for key, value in claims.items() if key not in self.dropped}
        if self.sign_with == "none":
            unsigned = _b64(json.dumps({"alg": "none"}).encode())
            return f"{unsigned}.{_b64(json.dumps(kept).encode())}."
        if self.sign_with == "HS256":  # with the public key as the secret
            # By hand: joserfc knows this attack and would not help with it.
            header = _b64(json.dumps({"alg": "HS256", "kid": "one"}).encode())
            signed = f"{header}.{_b64(json.dumps(kept).encode())}"
            public = self._key.as_pem(private=False)
            return f"{signed}.{_b64(hmac.digest(public, signed.encode(), 'sha256'))}"
        if self.sign_with == "another key":
            other = RSAKey.generate_key(2048, {"kid": "one"}, auto_kid=False)
            return jwt.encode({"alg": "RS256", "kid": "one"}, kept, other)
        return jwt.encode({"alg": "RS256", "kid": "one"}, kept, self._key)


def code_and_state(location: str) -> tuple[str, str]:
    """What the provider's answer brings back to us."""
    query = parse_qs(urlsplit(location).query)
    return query["code"][0], query["state"][0]


def _is_challenge(verifier: str, asked: dict[str, str]) -> bool:
    return _b64(hashlib.sha256(verifier.encode()).digest()) == asked["code_challenge"]


def _b64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
