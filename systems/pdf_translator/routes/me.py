"""/me: who is signed in."""

from bedplate.fastapi import DepLayer, Problem, Router
from systems.pdf_translator.accounts import DepUser
from systems.pdf_translator.repositories import Users
from systems.pdf_translator.schemas import UserOut

router = Router(tags=["accounts"])


@router.get("/me")
async def me(user_id: DepUser, layer: DepLayer) -> UserOut:
    """You, as Google has described you at your last sign-in."""
    async with layer.reading() as session:
        user = await Users(session).find(user_id)
        if user is None:
            raise Problem(401, "This account is gone: sign in again.", code="not_signed_in")
        return UserOut.model_validate(user)
