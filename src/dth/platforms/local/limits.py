"""Rates shared by all processes: one token bucket a row."""

import time
from collections.abc import Mapping

from sqlalchemy import Connection, select, update
from sqlalchemy.dialects import sqlite

from dth.platforms.local.database import TaskDatabase
from dth.platforms.local.schema import bucket
from dth.platforms.ports import Lease

# A full bucket holds a quarter of a second's worth: then what any ten seconds grant stays within the rate and 2.5 per
# cent, and what is on its way when it is granted has the rest of the five per cent that a cap may be off.
CAPACITY = 0.25


class LocalLimits:
    """`ports.Limits` over SQLite."""

    def __init__(self, database: TaskDatabase) -> None:
        self._database = database

    async def set_rates(self, rates: Mapping[str, float]) -> None:
        await self._database.write(_set_rates, rates)

    async def rates(self) -> dict[str, float]:
        return await self._database.read(_rates)

    async def lease(self, name: str, wanted: float) -> Lease:
        return await self._database.write(_lease, name, wanted)


def _set_rates(connection: Connection, rates: Mapping[str, float]) -> None:
    for name, rate in rates.items():
        # A bucket that is there keeps what is in it, as far as its new size holds it.
        values = {"name": name, "tokens": rate * CAPACITY, "filled": time.time(), "rate": rate}
        connection.execute(
            sqlite.insert(bucket)
            .values(values)
            .on_conflict_do_update(index_elements=["name"], set_={"rate": rate})
        )


def _rates(connection: Connection) -> dict[str, float]:
    return {row.name: row.rate for row in connection.execute(select(bucket.c.name, bucket.c.rate))}


def _lease(connection: Connection, name: str, wanted: float) -> Lease:
    now = time.time()
    row = connection.execute(select(bucket).where(bucket.c.name == name)).first()
    if row is None or not row.rate:
        return Lease(wanted, 0.0, 0.0)
    rate, capacity = row.rate, row.rate * CAPACITY
    # A clock that was set back gives nothing for that time; one set forward fills the bucket, once.
    tokens = min(capacity, row.tokens + max(0.0, now - row.filled) * rate)
    granted = min(wanted, tokens)
    connection.execute(
        update(bucket).where(bucket.c.name == name).values(tokens=tokens - granted, filled=now)
    )
    return Lease(granted, min(wanted - granted, capacity) / rate, rate)
