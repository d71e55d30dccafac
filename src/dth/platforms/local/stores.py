"""The stores of the hub, in its database."""

import json

from sqlalchemy import Connection, Row, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from dth.core import clock
from dth.core.stores import Store
from dth.hub.stores import exists, missing
from dth.platforms.local.hub_schema import store as table
from dth.platforms.local.sql import SqlDatabase


class LocalStores:
    """`hub.ports.Stores`."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def list(self) -> list[Store]:
        return await self._database.read(_list)

    async def get(self, name: str) -> Store:
        found = await self._database.read(_get, name)
        if found is None:
            raise missing(name)
        return found

    async def add(self, store: Store) -> None:
        await self._database.write(_add, store)

    async def save(self, store: Store) -> None:
        await self._database.write(_save, store)

    async def remove(self, name: str) -> None:
        await self._database.write(_remove, name)


def _list(connection: Connection) -> list[Store]:
    return [_store(row) for row in connection.execute(select(table).order_by(table.c.name))]


def _get(connection: Connection, name: str) -> Store | None:
    row = connection.execute(select(table).where(table.c.name == name)).first()
    return _store(row) if row else None


def _add(connection: Connection, store: Store) -> None:
    try:
        connection.execute(insert(table).values(name=store.name, **_values(store)))
    except IntegrityError:
        raise exists(store.name) from None


def _save(connection: Connection, store: Store) -> None:
    this = update(table).where(table.c.name == store.name)
    if not connection.execute(this.values(**_values(store))).rowcount:
        raise missing(store.name)


def _remove(connection: Connection, name: str) -> None:
    if not connection.execute(delete(table).where(table.c.name == name)).rowcount:
        raise missing(name)


def _values(store: Store) -> dict[str, object]:
    return {"given": json.dumps(store.given()), "updated": clock.now()}


def _store(row: Row[tuple[object, ...]]) -> Store:
    return Store(row.name, **json.loads(row.given), updated=row.updated)
