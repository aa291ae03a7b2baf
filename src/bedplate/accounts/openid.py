"""Sign-in with an OpenID provider such as Google: authorization code, PKCE, state, nonce.

`begin` gives the address to send the browser to; `finish` takes what the provider sent back and
says who it is. Between the two, the attempt is kept in Redis for ten minutes, once, under the
SHA-256 of `state`, and bound to the browser by a cookie that the caller sets. The provider's word
is believed only as a signed id_token of the issuer, for this client, with this nonce.
"""

import hashlib
import json
import secrets
import time
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx2
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from redis.asyncio import Redis
from redis.exceptions import RedisError

from bedplate.errors import ProviderUnreachableError, RedisUnreachableError, SignInRefusedError

GOOGLE = "https://accounts.google.com"
ATTEMPT = timedelta(minutes=10)
TIMEOUT = timedelta(seconds=10)
# Never `none`, and never HMAC: a public key is no secret.
ALGORITHMS = ["RS256", "ES256"]
CLOCK_SKEW = timedelta(seconds=60)
METADATA_AGE = timedelta(hours=1)
LONGEST = 4096


@dataclass(frozen=True, slots=True)
class Provider:
    """Who signs people in, and whom it knows us as. `redirect_uri` is registered there."""

    issuer: str
    client_id: str
    client_secret: str
    redirect_uri: str

    def __repr__(self) -> str:
        return f"<Provider {self.issuer}>"


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom the provider vouches for: `subject` is forever, the address and the name may change."""

    issuer: str
    subject: str
    email: str
    name: str


@dataclass(frozen=True, slots=True)
class Begun:
    """Where to send the browser, and the secret that it must bring back in a cookie."""

    url: str
    browser: str


@dataclass(frozen=True, slots=True)
class _Attempt:
    nonce: str
    verifier: str
    browser: str
    next: str


class OpenIdSignIn:
    """Sign-ins of one system with one provider."""

    def __init__(self, redis: Redis, system: str, provider: Provider) -> None:
        self._redis = redis
        self._system = system
        self._provider = provider
        self._metadata: dict[str, Any] | None = None
        self._metadata_until = 0.0

    async def begin(self, next_path: str = "/") -> Begun:
        """A new attempt; afterwards the browser goes on to `next_path`, a path of ours.

        Raises `ProviderUnreachableError`, `RedisUnreachableError`.
        """
        metadata = await self._discover()
        state, nonce, verifier, browser = (secrets.token_urlsafe(32) for _ in range(4))
        attempt = _Attempt(nonce, verifier, _digest(browser), own_path(next_path))
        try:
            seconds = int(ATTEMPT.total_seconds())
            await self._redis.set(self._key(state), json.dumps(asdict(attempt)), ex=seconds)
        except (RedisError, OSError) as error:
            raise _no_redis() from error
        async with self._client() as client:
            url, _ = client.create_authorization_url(
                metadata["authorization_endpoint"],
                state=state,
                nonce=nonce,
                code_verifier=verifier,
                prompt="select_account",
            )
        return Begun(url, browser)

    async def finish(self, *, state: str, code: str, browser: str | None) -> tuple[Identity, str]:
        """Who signed in, and the path to go on to. Each attempt counts once.

        Raises `SignInRefusedError`, `ProviderUnreachableError`, `RedisUnreachableError`.
        """
        attempt = await self._take(state, browser)
        metadata = await self._discover()
        token = await self._exchange(metadata, code[:LONGEST], attempt.verifier)
        claims = await self._verify(metadata, token, attempt.nonce)
        if claims.get("email_verified") is not True or not claims.get("email"):
            raise _refused("email_unverified", "The provider has not verified the email.")
        identity = Identity(
            issuer=self._provider.issuer,
            subject=str(claims["sub"]),
            email=str(claims["email"]),
            name=str(claims.get("name") or claims["email"]),
        )
        return identity, attempt.next

    async def _take(self, state: str, browser: str | None) -> _Attempt:
        try:
            found = await self._redis.getdel(self._key(state[:LONGEST]))
        except (RedisError, OSError) as error:
            raise _no_redis() from error
        if found is None:
            raise _refused("state", "This sign-in is not known here, or too old.")
        attempt = _Attempt(**json.loads(found))
        if not secrets.compare_digest(attempt.browser, _digest(browser or "")):
            raise _refused("browser", "This sign-in was begun in another browser.")
        return attempt

    async def _exchange(self, metadata: dict[str, Any], code: str, verifier: str) -> str:
        async with self._client() as client:
            try:
                answer = await client.fetch_token(
                    metadata["token_endpoint"], code=code, code_verifier=verifier
                )
            except AuthlibBaseError as error:
                raise _refused("code", "The provider refused the code.") from error
            except (httpx2.HTTPError, ValueError) as error:
                raise self._unreachable(error) from error
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise _refused("id_token", "The provider sent no id_token.")
        return token

    async def _verify(self, metadata: dict[str, Any], token: str, nonce: str) -> dict[str, Any]:
        keys = await self._fetch(metadata["jwks_uri"])
        try:
            decoded = jwt.decode(
                token, KeySet.import_key_set({"keys": keys["keys"]}), algorithms=ALGORITHMS
            )
            _registry(self._provider).validate(decoded.claims)
        except (JoseError, ValueError, KeyError) as error:
            raise _refused("id_token", f"The id_token does not hold: {error}") from error
        claims = decoded.claims
        if not secrets.compare_digest(str(claims.get("nonce", "")), nonce):
            raise _refused("nonce", "The id_token belongs to another sign-in.")
        audience = claims["aud"]
        is_shared = isinstance(audience, list) and len(audience) > 1
        if (is_shared or "azp" in claims) and claims.get("azp") != self._provider.client_id:
            raise _refused("id_token", "The id_token was given to another application.")
        return claims

    async def _discover(self) -> dict[str, Any]:
        """The provider's endpoints, asked once an hour. They must be where the issuer says."""
        if self._metadata is None or time.monotonic() > self._metadata_until:
            base = self._provider.issuer.rstrip("/")
            metadata = await self._fetch(f"{base}/.well-known/openid-configuration")
            if metadata.get("issuer") != self._provider.issuer:
                raise ProviderUnreachableError(
                    f"{base} says that it is {str(metadata.get('issuer'))[:200]!r}",
                    hint="Name the provider's issuer exactly as it names itself.",
                )
            self._metadata = metadata
            self._metadata_until = time.monotonic() + METADATA_AGE.total_seconds()
        return self._metadata

    async def _fetch(self, url: str) -> dict[str, Any]:
        async with httpx2.AsyncClient(timeout=TIMEOUT.total_seconds()) as client:
            try:
                answer = await client.get(url)
                answer.raise_for_status()
                found = answer.json()
            except (httpx2.HTTPError, ValueError) as error:
                raise self._unreachable(error) from error
        if not isinstance(found, dict):
            raise self._unreachable(ValueError("no JSON object"))
        return found

    def _client(self) -> AsyncOAuth2Client:
        return AsyncOAuth2Client(
            self._provider.client_id,
            self._provider.client_secret,
            redirect_uri=self._provider.redirect_uri,
            scope="openid email profile",
            code_challenge_method="S256",
            timeout=TIMEOUT.total_seconds(),
        )

    def _unreachable(self, error: Exception) -> ProviderUnreachableError:
        return ProviderUnreachableError(
            f"the sign-in at {self._provider.issuer} cannot be reached: {type(error).__name__}",
            hint="Try again in a moment.",
        )

    def _key(self, state: str) -> str:
        return f"{self._system}:sign_in:{_digest(state)}"


def own_path(path: str) -> str:
    """The path, if it is one of ours; else /. `//evil` and `/\\evil` are other people's hosts."""
    parts = urlsplit(path)
    is_ours = path.startswith("/") and not path.startswith(("//", "/\\"))
    is_plain = not parts.scheme and not parts.netloc and path.isprintable() and "\\" not in path
    return path if is_ours and is_plain and len(path) < LONGEST else "/"


def _registry(provider: Provider) -> jwt.JWTClaimsRegistry:
    # Google names itself with and without the scheme, says its documentation.
    issuers = [provider.issuer]
    if provider.issuer == GOOGLE:
        issuers.append(GOOGLE.removeprefix("https://"))
    return jwt.JWTClaimsRegistry(
        leeway=int(CLOCK_SKEW.total_seconds()),
        iss={"essential": True, "values": issuers},
        aud={"essential": True, "value": provider.client_id},
        exp={"essential": True},
        iat={"essential": True},
        sub={"essential": True},
    )


def _refused(reason: str, message: str) -> SignInRefusedError:
    return SignInRefusedError(message, hint="Start again at the sign-in.", reason=reason)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _no_redis() -> RedisUnreachableError:
    return RedisUnreachableError(
        "nobody can sign in: Redis does not answer",
        hint="Start Redis, or check REDIS_URL.",
    )
