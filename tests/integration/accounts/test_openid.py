"""Sign-in by an OpenID provider: the one way that holds, and every way that must not."""

import time
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from redis.asyncio import Redis

from bedplate.accounts.openid import Begun, Identity, OpenIdSignIn, own_path
from bedplate.errors import ProviderUnreachableError, SignInRefusedError
from tests.integration.accounts.provider import LocalProvider, code_and_state


async def visit(begun: Begun) -> tuple[str, str]:
    """Go where the browser is sent; come back with code and state."""
    async with httpx2.AsyncClient() as browser:
        answer = await browser.get(begun.url)
    assert answer.is_redirect
    return code_and_state(answer.headers["location"])


async def sign_in(door: OpenIdSignIn, next_path: str = "/") -> tuple[Identity, str]:
    begun = await door.begin(next_path)
    code, state = await visit(begun)
    return await door.finish(state=state, code=code, browser=begun.browser)


@pytest.fixture
def door(redis: Redis, provider: LocalProvider) -> OpenIdSignIn:
    """The sign-in of a system at the local provider."""
    return OpenIdSignIn(redis, "shop", provider.client())


async def test_who_signs_in_is_known_by_issuer_and_subject(
    door: OpenIdSignIn, provider: LocalProvider
) -> None:
    """Through a real provider: discovery, code, PKCE, signed id_token."""
    identity, next_path = await sign_in(door, "/translations?page=2")
    assert identity == Identity(
        provider.issuer, "108204268033311374519", "ada@example.org", "Ada Lovelace"
    )
    assert next_path == "/translations?page=2"


async def test_another_address_of_the_same_person_is_the_same_subject(
    door: OpenIdSignIn, provider: LocalProvider
) -> None:
    """Addresses change hands; subjects do not."""
    first, _ = await sign_in(door)
    provider.person.email = "ada.king@example.org"
    second, _ = await sign_in(door)
    assert second.subject == first.subject
    assert second.email != first.email


async def test_a_sign_in_counts_once(door: OpenIdSignIn) -> None:
    """What is replayed, from a history or a log, finds nothing."""
    begun = await door.begin()
    code, state = await visit(begun)
    await door.finish(state=state, code=code, browser=begun.browser)
    with pytest.raises(SignInRefusedError) as refused:
        await door.finish(state=state, code=code, browser=begun.browser)
    assert refused.value.data["reason"] == "state"


async def test_an_unknown_state_is_refused(door: OpenIdSignIn) -> None:
    """A callback that nobody here began: login CSRF."""
    with pytest.raises(SignInRefusedError) as refused:
        await door.finish(state="made up", code="made up", browser="x")
    assert refused.value.data["reason"] == "state"


async def test_an_attempt_is_forgotten_after_ten_minutes(door: OpenIdSignIn, redis: Redis) -> None:
    """By Redis itself."""
    await door.begin()
    (key,) = [key async for key in redis.scan_iter("shop:sign_in:*")]
    assert 590 < await redis.ttl(key) <= 600


@pytest.mark.parametrize("brought", [None, "", "of another browser"])
async def test_another_browser_cannot_finish_a_sign_in(
    door: OpenIdSignIn, brought: str | None
) -> None:
    """Who is sent a link with a foreign code would be signed in as its owner."""
    begun = await door.begin()
    code, state = await visit(begun)
    with pytest.raises(SignInRefusedError) as refused:
        await door.finish(state=state, code=code, browser=brought)
    assert refused.value.data["reason"] == "browser"


async def test_a_used_or_foreign_code_is_refused(door: OpenIdSignIn) -> None:
    """The provider says so; PKCE has it refuse a code that was stolen on its way."""
    begun, other = await door.begin(), await door.begin()
    stolen, _ = await visit(other)
    _, state = await visit(begun)
    with pytest.raises(SignInRefusedError) as refused:
        await door.finish(state=state, code=stolen, browser=begun.browser)
    assert refused.value.data["reason"] == "code"


def changed(**claims: Any) -> Callable[[LocalProvider], None]:
    return lambda provider: provider.claims.update(claims)


def signed_with(what: str) -> Callable[[LocalProvider], None]:
    return lambda provider: setattr(provider, "sign_with", what)


def without(*claims: str) -> Callable[[LocalProvider], None]:
    return lambda provider: provider.dropped.update(claims)


LIES = {
    "another nonce": (changed(nonce="of another sign-in"), "nonce"),
    "no nonce": (without("nonce"), "nonce"),
    "another audience": (changed(aud="another application"), "id_token"),
    "no audience": (without("aud"), "id_token"),
    "shared with another": (changed(aud=["bedplate-tests", "x"], azp="x"), "id_token"),
    "another issuer": (changed(iss="https://evil.example"), "id_token"),
    "no issuer": (without("iss"), "id_token"),
    "expired": (changed(exp=int(time.time()) - 3600), "id_token"),
    "without end": (without("exp"), "id_token"),
    "from the future": (changed(iat=int(time.time()) + 3600), "id_token"),
    "nobody": (without("sub"), "id_token"),
    "unsigned": (signed_with("none"), "id_token"),
    "signed with the public key": (signed_with("HS256"), "id_token"),
    "signed by a stranger": (signed_with("another key"), "id_token"),
    "email not verified": (changed(email_verified=False), "email_unverified"),
    "email verified as a word": (changed(email_verified="true"), "email_unverified"),
    "no email": (without("email"), "email_unverified"),
}


@pytest.mark.parametrize("lie", LIES)
async def test_an_id_token_that_does_not_hold_is_refused(
    door: OpenIdSignIn, provider: LocalProvider, lie: str
) -> None:
    """Each of them has signed strangers in somewhere."""
    tell, reason = LIES[lie]
    tell(provider)
    with pytest.raises(SignInRefusedError) as refused:
        await sign_in(door)
    assert refused.value.data["reason"] == reason


async def test_a_provider_that_is_another_than_it_says_is_refused(
    redis: Redis, provider: LocalProvider
) -> None:
    """Mix-up: the configuration of one provider served by another."""
    provider.named = "https://accounts.google.com"
    with pytest.raises(ProviderUnreachableError, match="says that it is"):
        await OpenIdSignIn(redis, "shop", provider.client()).begin()


async def test_a_provider_that_is_away_is_said_to_be(redis: Redis) -> None:
    """And no secret of ours is part of the sentence."""
    with LocalProvider() as provider:
        gone = provider.client()
    with pytest.raises(ProviderUnreachableError, match="cannot be reached") as raised:
        await OpenIdSignIn(redis, "shop", gone).begin()
    assert gone.client_secret not in str(raised.value) + repr(gone)


@pytest.mark.parametrize(
    "path",
    [
        "//evil.example",
        "/\\evil.example",
        "https://evil.example",
        "\\/evil",
        "javascript:alert(1)",
        "/a\nSet-Cookie: x",
        "",
        "evil",
        "/" + "x" * 5000,
    ],
)
def test_the_way_on_leads_to_nobody_else(path: str) -> None:
    """An open redirect after a sign-in is how people are led to a false one."""
    assert own_path(path) == "/"


def test_the_way_on_is_kept_when_it_is_ours() -> None:
    """With its query, as the reader left it."""
    assert own_path("/translations?page=2#3") == "/translations?page=2#3"
