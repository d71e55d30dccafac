"""The reports of a task's processes about themselves."""

from dataclasses import fields
from sqlite3 import Connection

from dth.core.ports.gauges import Gauge
from dth.platforms.local.database import TaskDatabase
from dth.platforms.local.encoding import to_line

# Seconds: a process that has not reported for a day does not come back.
FORGET_AFTER = 86_400.0


class LocalGauges:
    """`ports.Gauges` over SQLite."""

    def __init__(self, database: TaskDatabase) -> None:
        self._database = database

    async def report(self, gauge: Gauge) -> None:
        await self._database.write(_report, gauge)

    async def all(self) -> list[Gauge]:
        return await self._database.read(read_gauges)


def _report(connection: Connection, report: Gauge) -> None:
    values = {name: getattr(report, name) for name in NAMES}
    connection.execute(WRITE, values | {"note": to_line(report.note)})
    connection.execute("DELETE FROM gauge WHERE at < ?", (report.at - FORGET_AFTER,))


def read_gauges(connection: Connection) -> list[Gauge]:
    return [Gauge(*row) for row in connection.execute(READ)]


NAMES = [field.name for field in fields(Gauge)]
READ = f"SELECT {', '.join(NAMES)} FROM gauge ORDER BY process"
WRITE = (
    f"INSERT OR REPLACE INTO gauge ({', '.join(NAMES)}) VALUES "
    f"({', '.join(f':{name}' for name in NAMES)})"
)
