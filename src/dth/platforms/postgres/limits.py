"""Rates shared by all processes: one token bucket per row, filled by the database's clock."""

from collections.abc import Mapping

from dth.core import clock
from dth.core.ports.limits import Lease
from dth.platforms.postgres.database import PostgresDatabase, Work

# A full bucket holds a quarter of a second's worth of tokens, as on one machine.
CAPACITY = 0.25


class PostgresLimits:
    """`ports.Limits` over PostgreSQL."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def set_rates(self, rates: Mapping[str, float]) -> None:
        names, values = list(rates), [float(rate) for rate in rates.values()]
        await self._database.change(
            SET_RATES, {"names": names, "rates": values, "now": clock.now(), "held": CAPACITY}
        )

    async def rates(self) -> dict[str, float]:
        return dict(await self._database.rows("SELECT name, rate FROM dth.bucket WHERE task = {n}"))

    async def lease(self, name: str, wanted: float) -> Lease:
        return await self._database.write(_lease, name, wanted, clock.now())


# An existing bucket keeps its tokens, as far as its new size allows.
SET_RATES = """
    INSERT INTO dth.bucket (task, name, tokens, filled, rate)
    SELECT {n}, name, rate * %(held)s::float8, %(now)s::float8, rate
    FROM unnest(%(names)s::text[], %(rates)s::float8[]) AS new (name, rate) ORDER BY name
    ON CONFLICT (task, name) DO UPDATE SET rate = excluded.rate
"""


async def _lease(work: Work, name: str, wanted: float, now: float) -> Lease:
    rows = await work.rows(FIND, (name,))
    if not rows or not rows[0][2]:
        return Lease(wanted, 0.0, 0.0)
    [(left, filled, rate)] = rows
    capacity = rate * CAPACITY
    # A clock that was set back gives nothing for that time; one that was set forward fills the
    # bucket once.
    tokens = min(capacity, left + max(0.0, now - filled) * rate)
    granted = min(wanted, tokens)
    await work.change(TAKE, (tokens - granted, now, name))
    return Lease(granted, min(wanted - granted, capacity) / rate, rate)


FIND = "SELECT tokens, filled, rate FROM dth.bucket WHERE task = {n} AND name = %s FOR UPDATE"
TAKE = (
    "UPDATE dth.bucket SET tokens = %s::float8, filled = %s::float8 WHERE task = {n} AND name = %s"
)
