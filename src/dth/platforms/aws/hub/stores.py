"""The stores of the hub: one item for each, in the hub's table."""

import json
import time

from dth.core.stores import Store
from dth.hub.stores import exists, missing
from dth.platforms.aws.dynamo import Dynamo
from dth.platforms.aws.items import Item


class AwsStores:
    """`hub.ports.Stores`."""

    def __init__(self, dynamo: Dynamo) -> None:
        self._dynamo = dynamo

    async def list(self) -> list[Store]:
        items = self._dynamo.query("hub", "#pk = :pk", {"pk": "store"})
        return [_store(item) async for item in items]

    async def get(self, name: str) -> Store:
        item = await self._dynamo.get("hub", _key(name))
        if not item:
            raise missing(name)
        return _store(item)

    async def add(self, store: Store) -> None:
        if not await self._dynamo.put("hub", _item(store), "attribute_not_exists(#pk)"):
            raise exists(store.name)

    async def save(self, store: Store) -> None:
        if not await self._dynamo.put("hub", _item(store), "attribute_exists(#pk)"):
            raise missing(store.name)

    async def remove(self, name: str) -> None:
        await self.get(name)
        await self._dynamo.delete("hub", _key(name))


def _key(name: str) -> Item:
    return {"pk": "store", "sk": name[:100] or "-"}


def _item(store: Store) -> Item:
    return {**_key(store.name), "given": json.dumps(store.given()), "updated": time.time()}


def _store(item: Item) -> Store:
    return Store(item["sk"], **json.loads(item["given"]), updated=float(item["updated"]))
