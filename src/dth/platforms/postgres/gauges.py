"""The reports of a task's processes about themselves."""

from dataclasses import asdict, fields

from dth.core import clock
from dth.core.ports.gauges import Gauge
from dth.platforms.postgres.database import PostgresDatabase, Work
from dth.platforms.postgres.encoding import to_line

# Seconds: a process that has not reported for a day does not come back.
FORGET_AFTER = 86_400.0


class PostgresGauges:
    """`ports.Gauges` over PostgreSQL."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def report(self, gauge: Gauge) -> None:
        await self._database.change(WRITE, asdict(gauge) | {"note": to_line(gauge.note)})
        await self._database.change(FORGET, (clock.now() - FORGET_AFTER,))

    async def all(self) -> list[Gauge]:
        return await read_gauges(self._database)


async def read_gauges(work: Work | PostgresDatabase) -> list[Gauge]:
    return [Gauge(*row) for row in await work.rows(READ)]


NAMES = [field.name for field in fields(Gauge)]
READ = f"SELECT {', '.join(NAMES)} FROM dth.gauge WHERE task = {{n}} ORDER BY process"
WRITE = f"""
    INSERT INTO dth.gauge (task, {", ".join(NAMES)}) VALUES ({{n}}, {", ".join(f"%({name})s" for name in NAMES)})
    ON CONFLICT (task, process) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in NAMES)}
"""
FORGET = "DELETE FROM dth.gauge WHERE task = {n} AND at < %s::float8"
