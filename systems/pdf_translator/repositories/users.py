"""Users by Google's number for them."""

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from bedplate.accounts.openid import Identity
from bedplate.errors import SignInRefusedError
from bedplate.rows.repository import Repository
from systems.pdf_translator.models import User

LONGEST_NAME = 255


class Users(Repository[User]):
    """All users: for the sign-in, and for each user's own row."""

    model = User

    async def sign_in(self, identity: Identity) -> User:
        """The user of this identity, with today's name and address; made when there is none.

        Addresses change hands: a new person with another user's address is refused, since signing
        them in there would give away an account; an old one keeps the address from before.
        Raises `SignInRefusedError`.
        """
        email, name = identity.email.strip().lower(), identity.name[:LONGEST_NAME]
        user = await self._find(identity.subject)
        if user is None:
            return await self._make(identity.subject, email, name)
        user.name = name
        if user.email != email and not await self._is_taken(email):
            user.email = email
        await self.session.flush()
        return user

    async def _make(self, google_id: str, email: str, name: str) -> User:
        # Of two first sign-ins at once one waits here for the other, and finds its row.
        values = {"google_id": google_id, "email": email, "name": name}
        await self.session.execute(insert(User).values(**values).on_conflict_do_nothing())
        user = await self._find(google_id)
        if user is None:
            raise SignInRefusedError(
                "Another account here has this email address already.",
                hint="Sign in with the Google account that you used first.",
                reason="email_taken",
            )
        return user

    async def _find(self, google_id: str) -> User | None:
        statement = self.visible().where(User.google_id == google_id).with_for_update()
        return (await self.session.scalars(statement)).one_or_none()

    async def _is_taken(self, email: str) -> bool:
        return await self.session.scalar(select(User.id).where(User.email == email)) is not None
