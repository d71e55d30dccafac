"""Users of the hub, and API tokens."""

from typing import Self

from dth.core import clock
from dth.core.errors import UsageError
from dth.hub.api.answers import answers
from dth.hub.api.resolve import Call, mutation, query
from dth.hub.api.text import iso
from dth.hub.model import Role
from dth.hub.names import canonical
from dth.hub.ports import Invitation, Invitations, InvitationState, TokenInfo, User, Users
from dth.hub.tokens import DEFAULT_DAYS

MAX_TOKEN_DAYS = 3650.0
# Whoever has the link becomes a user.
INVITATION_DAYS, MAX_INVITATION_DAYS = 7.0, 30.0


@answers("Identity")
class IdentityAnswer:
    name: str
    role: Role
    via: str


@answers("User")
class UserAnswer:
    name: str
    role: Role
    email: str
    created_at: str | None
    last_login_at: str | None
    must_change_password: bool

    @classmethod
    def of(cls, user: User) -> Self:
        return cls(
            name=user.name,
            role=user.role,
            email=user.email,
            created_at=iso(user.created),
            last_login_at=iso(user.last_login),
            must_change_password=user.must_change,
        )


@answers("ApiToken")
class ApiToken:
    id: str
    name: str
    role: Role
    created_at: str | None
    expires_at: str | None
    last_used_at: str | None
    created_by: str

    @classmethod
    def of(cls, token: TokenInfo) -> Self:
        return cls(
            id=token.id,
            name=token.name,
            role=token.role,
            created_at=iso(token.created),
            expires_at=iso(token.expires),
            last_used_at=iso(token.last_used),
            created_by=token.created_by,
        )


@answers("NewApiToken")
class NewApiToken:
    token: str
    info: ApiToken


@answers("Invitation")
class InvitationAnswer:
    id: str
    role: Role
    email: str
    created_at: str | None
    created_by: str
    expires_at: str | None
    state: InvitationState
    used_by: str

    @classmethod
    def of(cls, invitation: Invitation) -> Self:
        return cls(
            id=invitation.id,
            role=invitation.role,
            email=invitation.email,
            created_at=iso(invitation.created),
            created_by=invitation.created_by,
            expires_at=iso(invitation.expires),
            state=invitation.state,
            used_by=invitation.used_by,
        )


@answers("NewInvitation")
class NewInvitation:
    id: str
    url: str
    expires_at: str | None


@query()
async def who_am_i(call: Call) -> IdentityAnswer:
    return IdentityAnswer(call.caller.name, call.caller.role, call.caller.via)


@query(Role.ADMIN)
async def list_users(call: Call) -> list[UserAnswer]:
    return [UserAnswer.of(user) for user in await _users(call).list()]


@mutation(Role.ADMIN)
async def create_user(
    call: Call, *, name: str, password: str, role: str, email: str | None = None
) -> UserAnswer:
    return UserAnswer.of(
        await _users(call).add(name, password, Role(role), email or "", must_change=True)
    )


@mutation(Role.ADMIN)
async def set_user_password(call: Call, *, name: str, password: str) -> bool:
    own = canonical(name) == canonical(call.caller.name)
    await _users(call).set_password(name, password, must_change=not own)
    return True


@mutation(Role.ADMIN)
async def set_user_role(call: Call, *, name: str, role: str) -> UserAnswer:
    return UserAnswer.of(await _users(call).set_role(name, Role(role)))


@mutation(Role.ADMIN)
async def delete_user(call: Call, *, name: str) -> bool:
    await _users(call).remove(name)
    return True


def _users(call: Call) -> Users:
    if call.ports.users is None:
        raise UsageError("users are kept by the external issuer; change them there")
    return call.ports.users


@query(Role.ADMIN)
async def list_invitations(call: Call) -> list[InvitationAnswer]:
    return [InvitationAnswer.of(each) for each in await _invitations(call).list()]


@mutation(Role.ADMIN)
async def create_invitation(
    call: Call, *, role: str, email: str | None = None, expires_in_days: float | None = None
) -> NewInvitation:
    days = INVITATION_DAYS if expires_in_days is None else expires_in_days
    if not 0 < days <= MAX_INVITATION_DAYS:
        raise UsageError(f"expiresInDays: above 0 and at most {MAX_INVITATION_DAYS:g}")
    caller = call.caller
    made, url = await _invitations(call).create(
        Role(role), email or "", clock.now() + days * 86_400, caller.name, caller.user
    )
    return NewInvitation(made.id, url, iso(made.expires))


@mutation(Role.ADMIN)
async def withdraw_invitation(call: Call, *, id: str) -> bool:
    await _invitations(call).withdraw(id)
    return True


def _invitations(call: Call) -> Invitations:
    if call.ports.invitations is None:
        _users(call)  # which says where there are no users
        raise UsageError("this hub makes no invitations; createUser sends them a first password")
    return call.ports.invitations


@query(Role.ADMIN)
async def list_tokens(call: Call) -> list[ApiToken]:
    return [ApiToken.of(token) for token in await call.ports.tokens.list()]


@mutation(Role.ADMIN)
async def create_token(
    call: Call, *, name: str, role: str, expires_in_days: float | None = None
) -> NewApiToken:
    days = DEFAULT_DAYS if expires_in_days is None else expires_in_days
    if not 0 < days <= MAX_TOKEN_DAYS:
        raise UsageError(f"expiresInDays: above 0 and at most {MAX_TOKEN_DAYS:g}")
    expires = clock.now() + days * 86_400
    caller = call.caller
    info, token = await call.ports.tokens.create(
        name, Role(role), expires, caller.name, caller.user
    )
    return NewApiToken(token, ApiToken.of(info))


@mutation(Role.ADMIN)
async def revoke_token(call: Call, *, id: str) -> bool:
    await call.ports.tokens.revoke(id)
    return True
