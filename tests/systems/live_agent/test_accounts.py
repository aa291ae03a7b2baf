"""Organizations signed up, members in and out, roles, and who is locked out."""

from typing import Any

import pytest
from httpx import AsyncClient

from systems.live_agent.app import MAX_BODY_BYTES
from tests.systems.conftest import Catalogue
from tests.systems.live_agent.asking import PASSWORD, Join, log_in, me, open_session, sign_up


async def test_A16_an_organization_signs_up_with_its_admin(
    client: AsyncClient, catalogue: Catalogue
) -> None:
    """One request, and who made it is the admin, signed in."""
    made = await sign_up(client, "Acme", "Ann@Acme.example")

    assert (made["email"], made["role"], made["is_active"]) == ("ann@acme.example", "admin", True)
    assert made["organization"]["name"] == "Acme"
    assert made["organization"]["id"] == made["organization_id"]
    assert await me(client) == made
    ((hashed,),) = await catalogue("SELECT hashed_password FROM users")
    assert hashed.startswith("$2b$")
    assert hashed not in str(made)


async def test_A16_a_form_that_is_too_long_is_not_read(client: AsyncClient) -> None:
    """Whoever signs up is nobody yet, and must not fill the memory."""
    answer = await client.post("/auth/signup", content=b" " * (MAX_BODY_BYTES + 1))
    assert (answer.status_code, answer.json()["code"]) == (413, "content_too_large")


async def test_A16_login_lets_in_and_logout_ends_it_at_once(
    ann: AsyncClient, stranger: AsyncClient
) -> None:
    """Also for whoever has copied the cookie meanwhile."""
    refused = await stranger.get("/me")
    assert (refused.status_code, refused.json()["code"]) == (401, "not_signed_in")

    answer = await log_in(stranger, " ANN@acme.example ")
    assert answer.status_code == 200
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert await me(stranger) == await me(ann) == answer.json()

    copied = dict(stranger.cookies)
    assert (await stranger.post("/auth/logout")).status_code == 204
    assert not stranger.cookies
    stranger.cookies.update(copied)
    assert (await stranger.get("/me")).status_code == 401
    assert (await ann.get("/me")).status_code == 200


async def test_A16_a_login_begins_a_new_session_and_ends_the_one_before(
    ann: AsyncClient,
) -> None:
    """A token that a stranger has planted is worth nothing after the login."""
    before = dict(ann.cookies)
    assert (await log_in(ann, "ann@acme.example")).status_code == 200
    assert dict(ann.cookies) != before

    after = dict(ann.cookies)
    ann.cookies.update(before)
    assert (await ann.get("/me")).status_code == 401
    ann.cookies.update(after)
    assert (await ann.get("/me")).status_code == 200


async def test_A16_unknown_mistaken_and_deactivated_are_answered_alike(
    ann: AsyncClient, join_acme: Join, stranger: AsyncClient
) -> None:
    """Nobody learns who has an account."""
    member = await join_acme("member")
    email = (await me(member))["email"]
    changed = await ann.patch(f"/members/{(await me(member))['id']}", json={"is_active": False})
    assert changed.status_code == 200

    answers = [
        await log_in(stranger, "nobody@acme.example"),
        await log_in(stranger, "ann@acme.example", "wrong password"),
        await log_in(stranger, email),
    ]

    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.text for answer in answers}) == 1
    assert answers[0].json()["code"] == "login_refused"


async def test_A16_a_deactivated_member_is_out_with_the_next_request(
    ann: AsyncClient, join_acme: Join
) -> None:
    """Not when the session ends by itself, days later; and back in when let in again."""
    member = await join_acme("member")
    who = await me(member)

    changed = await ann.patch(f"/members/{who['id']}", json={"is_active": False})

    assert changed.json()["is_active"] is False
    for path in ("/me", "/members", "/sessions"):
        assert (await member.get(path)).status_code == 401
    assert (await member.post("/sessions", json={"room_name": "r"})).status_code == 401
    await ann.patch(f"/members/{who['id']}", json={"is_active": True})
    assert (await member.get("/me")).status_code == 401
    assert (await log_in(member, who["email"])).status_code == 200
    assert (await me(member))["id"] == who["id"]


async def test_A16_a_deactivated_member_is_out_though_the_session_was_not_ended(
    join_acme: Join, catalogue: Catalogue
) -> None:
    """Each request reads the row: Redis may have been down when the session was to end."""
    member = await join_acme("member")
    await catalogue("UPDATE users SET is_active = false WHERE role = 'member'")
    assert (await member.get("/me")).status_code == 401


ROUTES = (
    ("viewer", "GET", "/me", None),
    ("viewer", "GET", "/members", None),
    ("viewer", "GET", "/sessions", None),
    ("viewer", "GET", "/sessions/{session}", None),
    ("member", "POST", "/sessions", {"room_name": "another"}),
    ("member", "POST", "/sessions/{session}/start", None),
    ("member", "POST", "/sessions/{session}/end", None),
    ("admin", "POST", "/members", {"email": "new@acme.example", "password": PASSWORD}),
    ("admin", "PATCH", "/members/{member}", {"role": "viewer"}),
)


@pytest.mark.parametrize("role", ["viewer", "member", "admin"])
async def test_A16_a_role_may_do_what_it_is_for_and_nothing_more(
    ann: AsyncClient, join_acme: Join, role: str
) -> None:
    """A viewer reads, a member runs sessions, an admin manages members."""
    ranks = ["viewer", "member", "admin"]
    session = await open_session(ann, "room")
    other = await me(await join_acme("member"))
    browser = await join_acme(role)

    for needed, method, path, body in ROUTES:
        url = path.format(session=session, member=other["id"])
        answer = await browser.request(method, url, json=body)
        is_allowed = ranks.index(role) >= ranks.index(needed)
        assert answer.is_success == is_allowed, f"{role} {method} {path}: {answer.text}"
        if not is_allowed:
            assert (answer.status_code, answer.json()["code"]) == (403, "role_missing")


async def test_A16_a_changed_role_counts_at_once_and_wants_a_new_login(
    ann: AsyncClient, join_acme: Join
) -> None:
    """A session that was stolen from a viewer is not an admin's tomorrow."""
    viewer = await join_acme("viewer")
    who = await me(viewer)
    changed = await ann.patch(f"/members/{who['id']}", json={"role": "admin"})
    assert changed.json()["role"] == "admin"
    assert (await viewer.get("/me")).status_code == 401
    await log_in(viewer, who["email"])
    assert (await viewer.patch(f"/members/{who['id']}", json={})).status_code == 200


async def test_A16_an_organization_keeps_one_active_admin(
    ann: AsyncClient, join_acme: Join
) -> None:
    """Else nobody could let anybody in again."""
    own = f"/members/{(await me(ann))['id']}"
    for change in ({"role": "member"}, {"is_active": False}):
        answer = await ann.patch(own, json=change)
        assert (answer.status_code, answer.json()["code"]) == (409, "last_admin")
    await join_acme("admin")
    assert (await ann.patch(own, json={"role": "member"})).status_code == 200


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("x" * 73, "request_invalid"),
        ("ä" * 37, "password_unusable"),
        ("abc\0defgh", "password_unusable"),
        ("seven77", "request_invalid"),
    ],
)
async def test_A13_passwords_that_bcrypt_would_cut_are_refused(
    ann: AsyncClient, stranger: AsyncClient, password: str, code: str
) -> None:
    """Two passwords that differ behind the cut would be one."""
    wanted: dict[str, Any] = {"email": "new@acme.example", "password": password}
    for answer in (
        await ann.post("/members", json=wanted),
        await stranger.post("/organizations", json={**wanted, "name": "New"}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (422, code)
        assert password not in answer.text
    if code == "password_unusable":
        assert (await log_in(stranger, "ann@acme.example", password)).status_code == 422
        assert (await log_in(stranger, "nobody@acme.example", password)).status_code == 422


async def test_A16_passwords_are_not_tried_without_end(
    ann: AsyncClient, stranger: AsyncClient
) -> None:
    """The sixth try is refused, with the right password, too, and alike for who is unknown."""
    for email in ("ann@acme.example", "nobody@acme.example"):
        answers = [await log_in(stranger, email, "wrong password") for _ in range(5)]
        assert {answer.status_code for answer in answers} == {401}
        answer = await log_in(stranger, email)
        assert (answer.status_code, answer.json()["code"]) == (429, "too_many_attempts")
        assert 0 < int(answer.headers["retry-after"]) <= 900
    assert (await ann.get("/me")).status_code == 200
