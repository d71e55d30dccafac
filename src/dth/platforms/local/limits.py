"""Rates shared by all processes: one token bucket per row."""

import time
from collections.abc import Mapping
from sqlite3 import Connection

from dth.core.ports.limits import Lease
from dth.platforms.local.database import TaskDatabase

# A full bucket holds a quarter of a second's worth of tokens. So the tokens granted in any ten
# seconds stay within the rate plus 2.5 per cent, and data in transit when they are granted has the
# rest of the five per cent by which a cap may be exceeded.
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
    now = time.time()
    connection.executemany(
        SET_RATE, [(name, rate * CAPACITY, now, rate) for name, rate in rates.items()]
    )


# An existing bucket keeps its tokens, as far as its new size allows.
SET_RATE = """
    INSERT INTO bucket (name, tokens, filled, rate) VALUES (?, ?, ?, ?)
    ON CONFLICT (name) DO UPDATE SET rate = excluded.rate
"""


def _rates(connection: Connection) -> dict[str, float]:
    return dict(connection.execute("SELECT name, rate FROM bucket").fetchall())


def _lease(connection: Connection, name: str, wanted: float) -> Lease:
    now = time.time()
    row = connection.execute(
        "SELECT tokens, filled, rate FROM bucket WHERE name = ?", (name,)
    ).fetchone()
    if row is None or not row[2]:
        return Lease(wanted, 0.0, 0.0)
    left, filled, rate = row
    capacity = rate * CAPACITY
    # A clock that was set back gives nothing for that time; one that was set forward fills the
    # bucket once.
    tokens = min(capacity, left + max(0.0, now - filled) * rate)
    granted = min(wanted, tokens)
    connection.execute(
        "UPDATE bucket SET tokens = ?, filled = ? WHERE name = ?", (tokens - granted, now, name)
    )
    return Lease(granted, min(wanted - granted, capacity) / rate, rate)
