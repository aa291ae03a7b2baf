"""The reader's cookie: its name and flags, what is refused, what the database keeps."""

from datetime import timedelta

import pytest
from itsdangerous import TimestampSigner
from pydantic import SecretStr
from starlette.requests import Request

from bedplate.errors import SettingsError
from bedplate.fastapi import Problem, SignedCookie, digest
from bedplate.settings import Settings

SECRET = "dev-only-0123456789abcdef0123456789abcdef"


def request_to(url: str, cookie: str = "") -> Request:
    scheme, _, rest = url.partition("://")
    host, _, path = rest.partition("/")
    return Request(
        {
            "type": "http",
            "method": "GET",
            "scheme": scheme,
            "path": f"/{path}",
            "query_string": b"",
            "server": ("testserver", 80),
            "headers": [(b"host", host.encode()), (b"cookie", cookie.encode())],
        }
    )


def pair_of(header: str) -> str:
    return header.split(";")[0]


def test_cookie_is_host_bound_and_secure() -> None:
    """__Host- makes the browser refuse it for subdomains, other paths and plain HTTP."""
    cookie = SignedCookie("shop", SECRET)
    header = cookie.issue(request_to("https://shop.example/")).header
    assert header.startswith("__Host-shop_session=")
    flags = {part.strip().lower() for part in header.split(";")[1:]}
    assert {"secure", "httponly", "samesite=lax", "path=/"} <= flags
    assert not any(flag.startswith("domain") for flag in flags)


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1:8000", "[::1]:8000"])
def test_cookie_on_loopback_in_development_works_for_curl(host: str) -> None:
    """A Secure cookie would never be sent back over plain HTTP by curl or a script."""
    cookie = SignedCookie("shop", SECRET, is_production=False)
    header = cookie.issue(request_to(f"http://{host}/")).header
    assert header.startswith("shop_session=")
    assert "secure" not in header.lower()
    assert "HttpOnly" in header


@pytest.mark.parametrize(
    ("url", "is_production"),
    [
        ("http://127.0.0.1:8000/", True),
        ("http://shop.example/", False),
        ("https://localhost/", False),
    ],
)
def test_cookie_is_weakened_nowhere_else(url: str, is_production: bool) -> None:
    """The exception holds on plain HTTP, on loopback, in development: all three together."""
    cookie = SignedCookie("shop", SECRET, is_production=is_production)
    assert cookie.issue(request_to(url)).header.startswith("__Host-shop_session=")


def test_token_is_read_back() -> None:
    """What is issued is what is read, and each reader gets a token of its own."""
    cookie = SignedCookie("shop", SECRET)
    first, second = (cookie.issue(request_to("https://shop.example/")) for _ in range(2))
    returned = request_to("https://shop.example/", pair_of(first.header))
    assert cookie.read(returned) == first.token
    assert first.token != second.token
    assert len(first.token) >= 43


def test_no_cookie_is_no_error() -> None:
    """The first request of a reader has none."""
    assert SignedCookie("shop", SECRET).read(request_to("https://shop.example/")) is None


def test_tampered_cookie_is_refused() -> None:
    """Any other token under the same signature is a 401."""
    cookie = SignedCookie("shop", SECRET)
    pair = pair_of(cookie.issue(request_to("https://shop.example/")).header)
    name, _, value = pair.partition("=")
    other = ("A" if value[0] != "A" else "B") + value[1:]
    with pytest.raises(Problem) as refused:
        cookie.read(request_to("https://shop.example/", f"{name}={other}"))
    assert refused.value.status_code == 401


def test_expired_cookie_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cookie that outlives its time in some browser is a 401, and is forgotten there."""
    cookie = SignedCookie("shop", SECRET, max_age=timedelta(hours=1))
    pair = pair_of(cookie.issue(request_to("https://shop.example/")).header)
    now = TimestampSigner(SECRET).get_timestamp()
    monkeypatch.setattr(TimestampSigner, "get_timestamp", lambda _self: now + 3700)
    with pytest.raises(Problem) as refused:
        cookie.read(request_to("https://shop.example/", pair))
    assert refused.value.status_code == 401
    forgotten = (refused.value.headers or {})["Set-Cookie"]
    assert forgotten.startswith('__Host-shop_session=""')
    assert "Max-Age=0" in forgotten
    assert "Secure" in forgotten


def test_cookie_of_another_system_is_refused() -> None:
    """One secret serves all systems, and yet no cookie crosses over."""
    theirs = pair_of(SignedCookie("library", SECRET).issue(request_to("https://a.example/")).header)
    _, _, value = theirs.partition("=")
    with pytest.raises(Problem):
        SignedCookie("shop", SECRET).read(
            request_to("https://a.example/", f"__Host-shop_session={value}")
        )


def test_digest_does_not_show_the_token() -> None:
    """A stolen database must give no usable cookie; the digest fits a VARCHAR(255)."""
    assert digest("token") != "token"
    assert digest("token") == digest("token")
    assert len(digest("token")) == 64


def test_secret_is_asked_for_by_name() -> None:
    """Without a key the cookie would be forgeable: refused with the variable's name."""
    with pytest.raises(SettingsError, match="BEDPLATE_SECRET_KEY"):
        SignedCookie.from_settings("shop", Settings.load(variables={}))


def test_settings_say_where_it_is_weakened() -> None:
    """Production is strict also on loopback."""
    settings = Settings.load(variables={"BEDPLATE_SECRET_KEY": SECRET})
    production = settings.model_copy(update={"env": "production", "secret_key": SecretStr(SECRET)})
    assert not SignedCookie.from_settings("shop", settings).is_production
    assert SignedCookie.from_settings("shop", production).is_production
