"""The signed cookie by which an anonymous reader is known, and the digest that is stored of it.

The cookie holds a random token and its signature with a time. The database keeps
`digest(token)` only, so a stolen database opens nobody's session. Its name is
`__Host-<system>_session`, with Secure, HttpOnly, SameSite=Lax and Path=/; on plain HTTP on
loopback in development it is `<system>_session` without Secure, so that curl and scripts work.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta
from http.cookies import SimpleCookie

from itsdangerous import BadSignature, TimestampSigner
from starlette.requests import HTTPConnection

from bedplate.errors import SettingsError
from bedplate.fastapi.problem import Problem
from bedplate.settings import Settings

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_TOKEN_BYTES = 32
YEAR = timedelta(days=365)


@dataclass(frozen=True)
class HostCookie:
    """A cookie of one system: its name, its attributes, and how it is forgotten.

    `purpose` tells a system's cookies apart; a session's is `session`.
    """

    system: str
    max_age: timedelta
    is_production: bool = True
    purpose: str = "session"

    def name(self, request: HTTPConnection) -> str:
        """The cookie's name for this request."""
        prefix = "" if self._is_plain_loopback(request) else "__Host-"
        return f"{prefix}{self.system}_{self.purpose}"

    def read(self, request: HTTPConnection) -> str | None:
        """What the browser brought; None without one."""
        return request.cookies.get(self.name(request))

    def header(self, request: HTTPConnection, value: str) -> str:
        """The `Set-Cookie` header that has the browser keep this value."""
        return self._header(request, value, self.max_age)

    def forget(self, request: HTTPConnection) -> str:
        """The `Set-Cookie` header that has the browser forget it."""
        return self._header(request, "", timedelta(0))

    def _header(self, request: HTTPConnection, value: str, max_age: timedelta) -> str:
        name = self.name(request)
        cookie = SimpleCookie({name: value})
        attributes = cookie[name]
        attributes["path"] = "/"
        attributes["max-age"] = str(int(max_age.total_seconds()))
        attributes["httponly"] = True
        attributes["samesite"] = "Lax"
        if name.startswith("__Host-"):
            attributes["secure"] = True
        return attributes.OutputString()

    def _is_plain_loopback(self, request: HTTPConnection) -> bool:
        if self.is_production:
            return False
        return request.url.scheme in ("http", "ws") and request.url.hostname in _LOOPBACK


@dataclass(frozen=True)
class IssuedCookie:
    """A token that was made now, and the `Set-Cookie` header that gives it to the reader."""

    token: str
    header: str


class SignedCookie:
    """One system's session cookie: made, and read back if it is ours and young enough."""

    def __init__(
        self, system: str, secret: str, *, max_age: timedelta = YEAR, is_production: bool = True
    ) -> None:
        self.system = system
        self.max_age = max_age
        self.is_production = is_production
        self._cookie = HostCookie(system, max_age, is_production)
        # The salt keeps one system's cookie from being read by another with the same secret.
        self._signer = TimestampSigner(
            secret, salt=f"bedplate.cookie.{system}", digest_method=hashlib.sha256
        )

    @classmethod
    def from_settings(
        cls, system: str, settings: Settings, *, max_age: timedelta = YEAR
    ) -> "SignedCookie":
        """Signed with BEDPLATE_SECRET_KEY. Raises `SettingsError` when it is not set."""
        if settings.secret_key is None:
            raise SettingsError(
                "BEDPLATE_SECRET_KEY is not set",
                hint='Start with `bedplate run`, or: eval "$(bedplate env)"',
                variable="BEDPLATE_SECRET_KEY",
            )
        return cls(
            system,
            settings.secret_key.get_secret_value(),
            max_age=max_age,
            is_production=settings.env == "production",
        )

    def issue(self, request: HTTPConnection) -> IssuedCookie:
        """A new random token (256 bits) and its header."""
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        signed = self._signer.sign(token).decode()
        return IssuedCookie(token, self._cookie.header(request, signed))

    def read(self, request: HTTPConnection) -> str | None:
        """The reader's token; None without a cookie.

        Raises a 401 on a forged or expired one, which has the browser forget it: it would else
        be refused for ever.
        """
        signed = self._cookie.read(request)
        if signed is None:
            return None
        try:
            seconds = int(self.max_age.total_seconds())
            return self._signer.unsign(signed, max_age=seconds).decode()
        except (BadSignature, UnicodeError):
            raise Problem(
                401,
                "The session cookie is not valid, or no longer.",
                code="session_invalid",
                headers={"Set-Cookie": self._cookie.forget(request)},
            ) from None

    def name(self, request: HTTPConnection) -> str:
        """The cookie's name for this request."""
        return self._cookie.name(request)


def digest(token: str) -> str:
    """What the database keeps of a token: its SHA-256, 64 hexadecimal digits."""
    return hashlib.sha256(token.encode()).hexdigest()
