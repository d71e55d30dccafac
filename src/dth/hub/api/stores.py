"""Stores, which tasks name instead of an endpoint with everything that belongs to it."""

from dataclasses import fields
from typing import Any, Self

from dth.core.stores import Store
from dth.hub import stores, tasks
from dth.hub.api.answers import answers, snake
from dth.hub.api.door import Call, mutation, query
from dth.hub.api.jobs import JobAnswer, look
from dth.hub.api.text import iso
from dth.hub.model import Role


@answers("Store")
class StoreAnswer:
    name: str
    kind: str
    endpoint: str
    region: str
    secret: str
    profile: str
    role_arn: str
    external_id: str
    addressing_style: str
    ca_bundle: str
    proxy: str
    checksum_mode: str
    anonymous: bool
    description: str
    updated_at: str | None
    tasks: int

    @classmethod
    def of(cls, store: Store, tasks: int = 0) -> Self:
        values = {
            each.name: getattr(store, each.name) for each in fields(Store) if each.name != "updated"
        }
        return cls(**values, updated_at=iso(store.updated), tasks=tasks)


@query()
async def list_stores(call: Call) -> list[StoreAnswer]:
    used = await stores.uses(call.ports)
    return [StoreAnswer.of(each, used.get(each.name, 0)) for each in await call.ports.stores.list()]


@query()
async def get_store(call: Call, *, name: str) -> StoreAnswer:
    found = await call.ports.stores.get(name)
    return StoreAnswer.of(found, (await stores.uses(call.ports)).get(name, 0))


@mutation(Role.OPERATOR)
async def create_store(call: Call, *, name: str, input: dict[str, Any]) -> StoreAnswer:
    await stores.create(call.ports, Store.read(name, _fields(input)))
    return StoreAnswer.of(await call.ports.stores.get(name))


@mutation(Role.OPERATOR)
async def update_store(call: Call, *, name: str, input: dict[str, Any]) -> StoreAnswer:
    changed = await tasks.change_store(call.ports, name, _fields(input))
    return StoreAnswer.of(changed, (await stores.uses(call.ports)).get(name, 0))


@mutation(Role.OPERATOR)
async def delete_store(call: Call, *, name: str) -> StoreAnswer:
    return StoreAnswer.of(await stores.delete(call.ports, name))


@mutation(Role.OPERATOR)
async def test_store(call: Call, *, name: str) -> JobAnswer:
    store, chosen = await call.ports.stores.get(name), stores.keeper_of_stores()
    settings = chosen.store_settings(store, stores.SIDE)
    given = [{"ParameterKey": key, "ParameterValue": value} for key, value in settings.items()]
    return await look(call, "buckets", {"type": chosen.type, "parameters": given}, stores.SIDE)


def _fields(input: dict[str, Any]) -> dict[str, Any]:
    """The fields of a StoreInput that are not null, without blanks around them."""
    return {
        snake(name): value.strip() if isinstance(value, str) else value
        for name, value in input.items()
        if value is not None
    }
