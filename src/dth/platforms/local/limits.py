"""Rates shared by all processes: one token bucket a row."""

import time

from sqlalchemy import Connection, select
from sqlalchemy.dialects import sqlite

from dth.platforms.local.database import TaskDatabase
from dth.platforms.local.schema import bucket

# A full bucket holds a quarter of a second's worth: then what any ten seconds grant stays within the rate and 2.5 per
# cent, and what is on its way when it is granted has the rest of the five per cent that a cap may be off.
CAPACITY = 0.25


class LocalLimits:
    """`ports.Limits` over SQLite."""

    def __init__(self, database: TaskDatabase) -> None:
        self._database = database

    async def lease(self, name: str, wanted: float, rate: float) -> tuple[float, float]:
        return await self._database.write(_lease, name, wanted, rate)


def _lease(connection: Connection, name: str, wanted: float, rate: float) -> tuple[float, float]:
    now = time.time()
    capacity = rate * CAPACITY
    row = connection.execute(select(bucket.c.tokens, bucket.c.filled).where(bucket.c.name == name)).first()
    # A clock that was set back gives nothing for that time; one set forward fills the bucket, once.
    tokens = min(capacity, row.tokens + max(0.0, now - row.filled) * rate) if row else capacity
    granted = min(wanted, tokens)
    values = {"name": name, "tokens": tokens - granted, "filled": now}
    connection.execute(
        sqlite.insert(bucket).values(values).on_conflict_do_update(index_elements=["name"], set_=values)
    )
    missing = min(wanted - granted, capacity)
    return granted, missing / rate
