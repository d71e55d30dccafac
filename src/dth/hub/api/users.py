"""Users of the hub, and API tokens."""

import time
from typing import Any

from dth.errors import UsageError
from dth.hub.api.door import Answer, Call, mutation, query
from dth.hub.api.text import iso
from dth.hub.model import Role
from dth.hub.ports import TokenInfo, User, Users
from dth.hub.tokens import DEFAULT_DAYS

MAX_TOKEN_DAYS = 3650.0


@query()
async def who_am_i(call: Call) -> Answer:
    return {"name": call.caller.name, "role": call.caller.role.value, "via": call.caller.via}


@query(Role.ADMIN)
async def list_users(call: Call) -> Answer:
    return [_user(user) for user in await _users(call).list()]


@mutation(Role.ADMIN)
async def create_user(call: Call, *, name: str, password: str, role: str, email: str | None = None) -> Answer:
    await _users(call).add(name, password, Role(role), email or "", must_change=True)
    return await _user_named(call, name)


@mutation(Role.ADMIN)
async def set_user_password(call: Call, *, name: str, password: str) -> Answer:
    await _users(call).set_password(name, password, must_change=name != call.caller.name)
    return True


@mutation(Role.ADMIN)
async def set_user_role(call: Call, *, name: str, role: str) -> Answer:
    await _users(call).set_role(name, Role(role))
    return await _user_named(call, name)


@mutation(Role.ADMIN)
async def delete_user(call: Call, *, name: str) -> Answer:
    await _users(call).remove(name)
    return True


def _users(call: Call) -> Users:
    if call.ports.users is None:
        raise UsageError("users are kept by the external issuer; change them there")
    return call.ports.users


async def _user_named(call: Call, name: str) -> Answer:
    return next(_user(user) for user in await _users(call).list() if user.name == name)


def _user(user: User) -> dict[str, Any]:
    return {
        "name": user.name,
        "role": user.role.value,
        "email": user.email,
        "createdAt": iso(user.created),
        "lastLoginAt": iso(user.last_login),
        "mustChangePassword": user.must_change,
    }


@query(Role.ADMIN)
async def list_tokens(call: Call) -> Answer:
    return [_token(token) for token in await call.ports.tokens.list()]


@mutation(Role.ADMIN)
async def create_token(call: Call, *, name: str, role: str, expires_in_days: float | None = None) -> Answer:
    days = DEFAULT_DAYS if expires_in_days is None else expires_in_days
    if not 0 < days <= MAX_TOKEN_DAYS:
        raise UsageError(f"expiresInDays: above 0 and at most {MAX_TOKEN_DAYS:g}")
    expires = time.time() + days * 86_400
    caller = call.caller
    info, token = await call.ports.tokens.create(name, Role(role), expires, caller.name, caller.user)
    return {"token": token, "info": _token(info)}


@mutation(Role.ADMIN)
async def revoke_token(call: Call, *, id: str) -> Answer:
    await call.ports.tokens.revoke(id)
    return True


def _token(token: TokenInfo) -> dict[str, Any]:
    return {
        "id": token.id,
        "name": token.name,
        "role": token.role.value,
        "createdAt": iso(token.created),
        "expiresAt": iso(token.expires),
        "lastUsedAt": iso(token.last_used),
        "createdBy": token.created_by,
    }
