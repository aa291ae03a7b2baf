"""Sign-in with a real OpenID provider on loopback, and the sessions that it begins."""

import asyncio
import uuid
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from httpx import ASGITransport, AsyncClient, Response
from redis.asyncio import Redis

from bedplate.accounts.openid import GOOGLE, Identity
from bedplate.errors import SettingsError
from bedplate.layer import DataLayer
from bedplate.settings import Settings
from bedplate.system import System
from systems.pdf_translator.repositories import Users
from systems.pdf_translator.settings import GoogleSettings
from tests.integration.accounts.provider import (
    CLIENT_ID,
    CLIENT_SECRET,
    REDIRECT,
    LocalProvider,
)
from tests.systems.conftest import BASE_URL, Catalogue, assert_problem
from tests.systems.pdf_translator.conftest import COOKIE

USERS = "SELECT id, google_id, email, name FROM users ORDER BY created_at"
SESSIONS = "pdf_translator:session:*"


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalProvider]:
    """Stands where Google is, with this application registered."""
    with LocalProvider() as provider:
        monkeypatch.setenv("GOOGLE_CLIENT_ID", CLIENT_ID)
        monkeypatch.setenv("GOOGLE_CLIENT_SECRET", CLIENT_SECRET)
        monkeypatch.setenv("GOOGLE_REDIRECT_URI", REDIRECT)
        monkeypatch.setenv("GOOGLE_ISSUER", provider.issuer)
        yield provider


@pytest.fixture
async def redis(layer: DataLayer) -> Redis:
    """The Redis that sessions are in."""
    return layer.redis.client()


async def begin(client: AsyncClient, next_path: str = "/") -> str:
    """Click on "sign in": the address at the provider."""
    login = await client.get("/auth/google/login", params={"next": next_path})
    assert login.status_code == 307, login.text
    return login.headers["location"]


async def visit(address: str) -> str:
    """What the provider sends the browser back to."""
    async with AsyncClient() as outside:
        return (await outside.get(address)).headers["location"]


async def sign_in(client: AsyncClient, next_path: str = "/") -> Response:
    """The whole way of a browser."""
    return await client.get(await visit(await begin(client, next_path)))


async def test_P20_a_user_signs_in_is_known_and_signs_out(
    nobody: AsyncClient, provider: LocalProvider, catalogue: Catalogue
) -> None:
    """Login, provider, callback with code, state, nonce and PKCE; then /me, then logout."""
    assert assert_problem(await nobody.get("/me"), 401) == "not_signed_in"
    address = await begin(nobody, "/docs")
    asked = parse_qs(urlsplit(address).query)
    assert asked["response_type"] == ["code"]
    assert asked["code_challenge_method"] == ["S256"]
    assert asked["scope"] == ["openid email profile"]
    assert all(len(asked[name][0]) >= 43 for name in ("state", "nonce", "code_challenge"))

    answer = await nobody.get(await visit(address))

    assert (answer.status_code, answer.headers["location"]) == (307, "/docs")
    me = (await nobody.get("/me")).json()
    assert (me["email"], me["name"]) == ("ada@example.org", "Ada Lovelace")
    (row,) = await catalogue(USERS)
    assert (str(row["id"]), row["google_id"]) == (me["id"], provider.person.subject)
    assert (await nobody.post("/auth/logout")).status_code == 204
    assert_problem(await nobody.get("/me"), 401)


async def test_P20_a_second_sign_in_finds_the_same_user_by_google_id(
    nobody: AsyncClient, provider: LocalProvider, catalogue: Catalogue
) -> None:
    """Name and address are what the provider says today; the row stays."""
    await sign_in(nobody)
    (first,) = await catalogue(USERS)
    provider.person.email, provider.person.name = "Ada.King@example.org", "Ada King"
    await sign_in(nobody)
    (second,) = await catalogue(USERS)
    assert second["id"] == first["id"]
    assert (second["email"], second["name"]) == ("ada.king@example.org", "Ada King")


async def test_P20_a_wrong_state_is_refused(
    nobody: AsyncClient, provider: LocalProvider, catalogue: Catalogue, redis: Redis
) -> None:
    """A callback that this browser did not begin signs nobody in."""
    back = httpx.URL(await visit(await begin(nobody)))
    wrong = back.copy_set_param("state", "made-up")
    assert assert_problem(await nobody.get(str(wrong)), 403) == "sign_in_refused"
    await _nobody_is_in(nobody, catalogue, redis)


async def test_P20_an_expired_code_is_refused(
    nobody: AsyncClient, provider: LocalProvider, catalogue: Catalogue, redis: Redis
) -> None:
    """The provider has forgotten the code when it is exchanged."""
    back = await visit(await begin(nobody))
    provider._codes.clear()
    answer = await nobody.get(back)
    assert assert_problem(answer, 403) == "sign_in_refused"
    assert "code" in answer.json()["detail"]
    await _nobody_is_in(nobody, catalogue, redis)


async def test_P20_an_unverified_email_is_refused(
    nobody: AsyncClient, provider: LocalProvider, catalogue: Catalogue, redis: Redis
) -> None:
    """Anybody can write another's address into a profile."""
    provider.person.email_verified = False
    answer = await sign_in(nobody)
    assert assert_problem(answer, 403) == "sign_in_refused"
    assert "verified" in answer.json()["detail"]
    await _nobody_is_in(nobody, catalogue, redis)


@pytest.mark.parametrize(
    "claims", [{"nonce": "of another"}, {"aud": "another"}, {"exp": 1}, {"azp": "another"}]
)
async def test_P20_a_token_that_does_not_hold_is_refused(
    nobody: AsyncClient,
    provider: LocalProvider,
    catalogue: Catalogue,
    redis: Redis,
    claims: dict[str, object],
) -> None:
    """Each has signed strangers in somewhere; the layer's own tests try all of them."""
    provider.claims.update(claims)
    assert_problem(await sign_in(nobody), 403)
    await _nobody_is_in(nobody, catalogue, redis)


async def test_P1_another_issuer_is_refused(
    nobody: AsyncClient, provider: LocalProvider, catalogue: Catalogue, redis: Redis
) -> None:
    """A `sub` means something only with the issuer that gave it."""
    provider.claims["iss"] = "https://evil.example"
    assert_problem(await sign_in(nobody), 403)
    await _nobody_is_in(nobody, catalogue, redis)


def test_P1_in_production_the_issuer_is_google(
    bedplate_system: System, provider: LocalProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable that is left over must not let another provider sign people in."""
    layer = DataLayer(_production(), name="pdf_translator")
    with pytest.raises(SettingsError, match="GOOGLE_ISSUER"):
        bedplate_system.create_app(layer)
    monkeypatch.delenv("GOOGLE_ISSUER")
    with pytest.raises(SettingsError, match="GOOGLE_REDIRECT_URI"):
        bedplate_system.create_app(layer)
    monkeypatch.setenv("GOOGLE_REDIRECT_URI", "https://pdf.example/auth/google/callback")
    assert bedplate_system.create_app(layer)
    found = GoogleSettings.load().provider
    assert found is not None
    assert found.issuer == GOOGLE == "https://accounts.google.com"


async def test_P1_a_new_person_does_not_get_an_account_by_its_address(
    nobody: AsyncClient, provider: LocalProvider, catalogue: Catalogue, redis: Redis
) -> None:
    """Addresses change hands: who has one now is not who had it when the account was made."""
    await sign_in(nobody)
    await nobody.post("/auth/logout")
    provider.person.subject = "another person"
    answer = await sign_in(nobody)
    assert assert_problem(answer, 403) == "sign_in_refused"
    assert "address" in answer.json()["detail"]
    assert len(await catalogue(USERS)) == 1
    assert not [key async for key in redis.scan_iter(SESSIONS)]


async def test_P1_who_takes_over_an_address_keeps_an_account_of_their_own(
    nobody: AsyncClient, provider: LocalProvider, catalogue: Catalogue
) -> None:
    """Signed in as before, with the address from before, while another row has the new one."""
    await sign_in(nobody)
    provider.person.subject, provider.person.email = "2", "bob@example.org"
    await sign_in(nobody)
    provider.person.email = "ADA@example.org"
    assert (await sign_in(nobody)).status_code == 307
    assert [row["email"] for row in await catalogue(USERS)] == [
        "ada@example.org",
        "bob@example.org",
    ]
    assert (await nobody.get("/me")).json()["email"] == "bob@example.org"


async def test_P1_two_first_sign_ins_at_once_are_one_user(
    layer: DataLayer, catalogue: Catalogue
) -> None:
    """Two tabs come back from the provider in the same moment: the second finds the first's row."""
    ada = Identity(GOOGLE, "1", "ada@example.org", "Ada")

    async def come() -> uuid.UUID:
        async with layer.transaction() as uow:
            return (await Users(uow.session).sign_in(ada)).id

    found = await asyncio.gather(*(asyncio.create_task(come()) for _ in range(8)))
    assert len(set(found)) == 1
    assert len(await catalogue(USERS)) == 1


async def test_P8_a_login_survives_a_restart_of_the_api(
    nobody: AsyncClient,
    provider: LocalProvider,
    bedplate_settings: Settings,
    bedplate_system: System,
) -> None:
    """The session is in Redis, and a new process finds it there."""
    await sign_in(nobody)
    kept = {COOKIE: nobody.cookies[COOKIE]}
    async with DataLayer(bedplate_settings, name="pdf_translator") as anew:
        transport = ASGITransport(bedplate_system.create_app(anew))
        async with AsyncClient(transport=transport, base_url=BASE_URL, cookies=kept) as client:
            assert (await client.get("/me")).status_code == 200


async def test_P8_a_logout_ends_the_session_at_once(
    nobody: AsyncClient, provider: LocalProvider, redis: Redis
) -> None:
    """For every copy of the cookie, not only in the browser that was told to forget it."""
    await sign_in(nobody)
    stolen = nobody.cookies[COOKIE]
    assert [key async for key in redis.scan_iter(SESSIONS)]
    await nobody.post("/auth/logout")
    assert not [key async for key in redis.scan_iter(SESSIONS)]
    nobody.cookies.set(COOKIE, stolen)
    assert_problem(await nobody.get("/me"), 401)


@pytest.mark.parametrize("end", ["idle", "longest"])
async def test_P8_the_server_enforces_the_expiry(
    nobody: AsyncClient, provider: LocalProvider, redis: Redis, end: str
) -> None:
    """Whatever the browser keeps: idle for a week, or 30 days old, the session is over."""
    await sign_in(nobody)
    (key,) = [key async for key in redis.scan_iter(SESSIONS)]
    assert 0 < await redis.ttl(key) <= 7 * 86_400
    if end == "idle":
        assert await redis.expireat(key, 1)
    else:
        (seconds, _) = await redis.time()
        await redis.hset(key, "ends", str(seconds - 1))
    assert_problem(await nobody.get("/me"), 401)
    assert not await redis.exists(key)


async def test_a_session_whose_user_is_gone_is_nobodys(
    client: AsyncClient, catalogue: Catalogue
) -> None:
    """The row was deleted; what the cookie opens is asked for again."""
    await catalogue("DELETE FROM users")
    assert assert_problem(await client.get("/me"), 401) == "not_signed_in"


async def test_without_googles_variables_the_sign_in_says_so(nobody: AsyncClient) -> None:
    """A 503 that names them; the rest of the application is there."""
    answer = await nobody.get("/auth/google/login")
    assert assert_problem(answer, 503) == "sign_in_missing"
    assert "GOOGLE_CLIENT_ID" in answer.json()["detail"]


def _production() -> Settings:
    return Settings.model_validate({"BEDPLATE_ENV": "production"})


async def _nobody_is_in(client: AsyncClient, catalogue: Catalogue, redis: Redis) -> None:
    assert await catalogue(USERS) == []
    assert not [key async for key in redis.scan_iter(SESSIONS)]
    assert_problem(await client.get("/me"), 401)
