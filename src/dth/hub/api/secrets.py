"""Named secrets. The API accepts values but never returns them."""

from typing import Self

from dth.core.errors import NotFound
from dth.hub.api.answers import answers
from dth.hub.api.door import Call, mutation, query
from dth.hub.api.text import iso
from dth.hub.model import Role
from dth.hub.ports import SecretInfo


@answers("Secret")
class SecretAnswer:
    name: str
    description: str
    updated_at: str | None
    hosts: list[str]

    @classmethod
    def of(cls, secret: SecretInfo) -> Self:
        return cls(secret.name, secret.description, iso(secret.updated), list(secret.hosts))


@query()
async def list_secrets(call: Call) -> list[SecretAnswer]:
    return [SecretAnswer.of(secret) for secret in await call.ports.secrets.list()]


@mutation(Role.OPERATOR)
async def create_secret(
    call: Call,
    *,
    name: str,
    value: str,
    description: str | None = None,
    hosts: list[str] | None = None,
) -> SecretAnswer:
    await call.ports.secrets.create(name, value, description or "", hosts or ())
    return await _named(call, name)


@mutation(Role.OPERATOR)
async def update_secret(
    call: Call, *, name: str, value: str | None = None, description: str | None = None
) -> SecretAnswer:
    await call.ports.secrets.update(name, value, description)
    return await _named(call, name)


@mutation(Role.ADMIN)
async def bind_secret(call: Call, *, name: str, hosts: list[str]) -> SecretAnswer:
    await call.ports.secrets.bind(name, hosts)
    return await _named(call, name)


@mutation(Role.OPERATOR)
async def delete_secret(call: Call, *, name: str) -> SecretAnswer:
    found = await _named(call, name)
    await call.ports.secrets.delete(name)
    return found


async def _named(call: Call, name: str) -> SecretAnswer:
    for secret in await call.ports.secrets.list():
        if secret.name == name:
            return SecretAnswer.of(secret)
    raise NotFound(f"there is no secret {name!r}")
