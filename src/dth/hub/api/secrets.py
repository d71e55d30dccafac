"""Named secrets. Values go in, and never out."""

from typing import Any

from dth.errors import NotFound
from dth.hub.api.door import Answer, Call, mutation, query
from dth.hub.api.text import iso
from dth.hub.model import Role
from dth.hub.ports import SecretInfo


@query()
async def list_secrets(call: Call) -> Answer:
    return [_secret(secret) for secret in await call.ports.secrets.list()]


@mutation(Role.OPERATOR)
async def create_secret(call: Call, *, name: str, value: str, description: str | None = None) -> Answer:
    await call.ports.secrets.create(name, value, description or "")
    return await _secret_named(call, name)


@mutation(Role.OPERATOR)
async def update_secret(
    call: Call, *, name: str, value: str | None = None, description: str | None = None
) -> Answer:
    await call.ports.secrets.update(name, value, description)
    return await _secret_named(call, name)


@mutation(Role.OPERATOR)
async def delete_secret(call: Call, *, name: str) -> Answer:
    found = await _secret_named(call, name)
    await call.ports.secrets.delete(name)
    return found


async def _secret_named(call: Call, name: str) -> Answer:
    for secret in await call.ports.secrets.list():
        if secret.name == name:
            return _secret(secret)
    raise NotFound(f"there is no secret {name!r}")


def _secret(secret: SecretInfo) -> dict[str, Any]:
    return {"name": secret.name, "description": secret.description, "updatedAt": iso(secret.updated)}
