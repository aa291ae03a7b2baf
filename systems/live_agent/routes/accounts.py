"""/organizations, /auth and /me: signing an organization up, in, out, and who one is."""

from fastapi import Request, Response

from bedplate.accounts.attempts import Attempts
from bedplate.errors import ConflictError
from bedplate.fastapi import DepLayer, DepUnitOfWork, Problem, Router
from bedplate.layer import DataLayer
from bedplate.rows.ids import new_id
from systems.live_agent.models import Organization, Role, User
from systems.live_agent.repositories import Login, Organizations, Users, find_login
from systems.live_agent.routes.identity import BROWSERS, ORGANIZATION, DepPasswords, DepViewer
from systems.live_agent.schemas import LogIn, MeOut, SignUp

router = Router(tags=["accounts"])


@router.post("/organizations", status_code=201)
async def sign_up(
    wanted: SignUp, request: Request, response: Response, layer: DepLayer, passwords: DepPasswords
) -> MeOut:
    """Make an organization with its first admin, who is signed in."""
    # No unit of work of the request: which tenant it is for is known when its id is made.
    attempts = Attempts(layer.redis.client(), "live_agent:sign_up")
    await attempts.begin(wanted.email, _address(request))
    async with layer.reading() as session:
        if await find_login(session, wanted.email) is not None:
            raise ConflictError("such a User exists already (uq_users_email)")
    hashed = await passwords.hash(wanted.password)
    organization = Organization(id=new_id(), name=wanted.name)
    admin = User(
        id=new_id(),
        email=wanted.email,
        hashed_password=hashed,
        full_name=wanted.full_name,
        organization_id=organization.id,
        role=Role.ADMIN,
    )
    async with layer.transaction(tenant=str(organization.id), actor=str(admin.id)) as uow:
        await Organizations(uow.session).found(organization, admin)
    login = Login(admin.id, hashed, organization.id, is_active=True)
    return await _let_in(login, request, response, layer)


@router.post("/auth/login")
async def log_in(
    wanted: LogIn, request: Request, response: Response, layer: DepLayer, passwords: DepPasswords
) -> MeOut:
    """Sign in. Unknown, deactivated and mistaken are answered alike, and take as long."""
    attempts = Attempts(layer.redis.client(), "live_agent:login")
    await attempts.begin(wanted.email, _address(request))
    async with layer.reading() as session:
        login = await find_login(session, wanted.email)
    is_right = await passwords.matches(
        wanted.password, None if login is None else login.hashed_password
    )
    if login is None or not is_right or not login.is_active:
        raise Problem(401, "The address or the password is not right.", code="login_refused")
    await attempts.succeed(wanted.email, _address(request))
    return await _let_in(login, request, response, layer)


@router.post("/auth/logout", status_code=204)
async def log_out(request: Request, layer: DepLayer) -> Response:
    """Sign out, here and at once. Who is not signed in is told the same."""
    return Response(status_code=204, headers={"Set-Cookie": await BROWSERS.end(request, layer)})


@router.get("/me")
async def me(user: DepViewer, uow: DepUnitOfWork) -> MeOut:
    """Who you are, and of which organization."""
    organization = await Organizations(uow.session).get(user.organization_id)
    return _me(user, organization)


async def _let_in(login: Login, request: Request, response: Response, layer: DataLayer) -> MeOut:
    async with layer.reading(tenant=str(login.organization_id)) as session:
        user = await Users(session).get(login.user_id)
        answer = _me(user, await Organizations(session).get(login.organization_id))
    values = {ORGANIZATION: str(login.organization_id)}
    cookie = await BROWSERS.begin(request, layer, str(login.user_id), values)
    response.headers.append("Set-Cookie", cookie)
    return answer


def _me(user: User, organization: Organization) -> MeOut:
    # By name: the relationship is never loaded by itself.
    columns = {column.key: getattr(user, column.key) for column in _SHOWN}
    return MeOut.model_validate({**columns, "organization": organization})


_SHOWN = [column for column in User.__table__.columns if column.key in MeOut.model_fields]


def _address(request: Request) -> str:
    return "" if request.client is None else request.client.host
